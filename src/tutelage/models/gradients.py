"""Integrated gradients: what each token of a text added to the logits of a network.

In: a sequence classifier and the tokens of a text. Out: contributions of its words. Each token's
embedding goes on a straight line from one that says nothing (`blank_vector`) to its own, and the
gradients of a logit along the line, times the way, are summed; over all tokens they add up to the
difference of the logits at both ends, up to an error of the sum that is measured and told.

Source: Sundararajan, Taly, Yan 2017 (arXiv:1703.01365), with captum and its Gauss-Legendre points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import MissingExtra
from tutelage.models.contributions import Contributions, Span, by_word, word_spans

STEPS = (16, 32, 64, 128, 256, 512)
"""Points on the line: the first number that is complete enough."""
TOLERANCE, RELATIVE_TOLERANCE = 0.01, 0.01
"""Of a class's residual: in logits, or as a share of the difference between text and baseline."""
TOKENS_AT_ONCE = 4096


def has_gradients(model: Any, tokenizer: Any) -> bool:
    """Whether they are to be had: float32 weights, and a tokenizer that tells where tokens stand.

    Of fewer digits than float32, sums do not come out.
    """
    plain = all(weight.dtype == torch.float32 for weight in model.parameters())
    return plain and bool(getattr(tokenizer, "is_fast", False))


@torch.no_grad()
def blank_vector(model: Any, tokenizer: Any) -> Tensor:
    """The embedding of a word that says nothing, [E]: that of the mask token, which stands for
    hidden words in training; where there is none, the mean of all embeddings.

    Zeros, and padding, which often is of zeros, will not do: networks that first normalise an
    embedding see the same vector all along the line from there, and a jump at its end.
    """
    layer, mask = model.get_input_embeddings(), tokenizer.mask_token_id
    device = next(model.parameters()).device
    rows = layer.weight.shape[0]
    if mask is not None and mask < rows:
        own = layer(torch.tensor([mask], device=device))[0]
        if own.any():
            return own
    ids = torch.arange(rows, device=device).split(TOKENS_AT_ONCE)
    return torch.stack([layer(part).double().sum(0) for part in ids]).sum(0).float() / rows


def integrated_gradients(
    model: Any, ids: Sequence[int], places: Sequence[Span], text: str, *, blank: Tensor
) -> Contributions:
    """What each word of a text added to the logits of every class.

    Steps are added until the residual of every class is within `TOLERANCE` or
    `RELATIVE_TOLERANCE`; after the last number of `STEPS` it stays as it is, and is told.

    Args:
        model: A sequence classifier in evaluation mode, float32.
        ids: The T tokens that it reads.
        places: Where each stands in the text; an empty span marks what is no part of it (special
            tokens, a template), which stays as it is on the whole line.
        text: The text.
        blank: The other end of the line, see `blank_vector`.

    Raises:
        MissingExtra: captum is not installed.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise MissingExtra(
            "captum", extra="explain", purpose="explaining by gradients (--method gradients)"
        ) from error
    spans = word_spans(text)
    layer, device = model.get_input_embeddings(), next(model.parameters()).device
    ids_1T = torch.tensor([list(ids)], device=device)

    def scores(embeddings: Tensor) -> Tensor:
        """Logits [B, C] with these embeddings [B, T, E] in the place of those of the tokens, which
        the model still sees: some find the end of a text by them, or positions.
        """
        hook = layer.register_forward_hook(lambda *_: embeddings)
        try:
            return model(input_ids=ids_1T.expand(len(embeddings), -1)).logits.float()
        finally:
            hook.remove()

    with torch.no_grad():
        own = layer(ids_1T)
        moved = torch.tensor([[end > begin for begin, end in places]], device=device)
        baseline = torch.where(moved[..., None], blank, own)
        (logits,), (blanks,) = (scores(one).double().cpu().numpy() for one in (own, baseline))
    allowed = np.maximum(TOLERANCE, RELATIVE_TOLERANCE * np.abs(logits - blanks))
    captum, found = IntegratedGradients(scores), None
    for steps in STEPS:
        parts = [
            captum.attribute(
                own,
                baselines=baseline,
                target=label,
                n_steps=steps,
                internal_batch_size=max(1, TOKENS_AT_ONCE // max(1, len(ids))),
            )[0].sum(-1)
            for label in range(len(logits))
        ]
        parts_TC = torch.stack(parts, dim=-1).double().cpu().numpy()
        found = Contributions(spans, by_word(text, places, parts_TC), logits, blanks, steps)
        if (np.abs(found.residual) <= allowed).all():
            break
    assert found is not None
    return found
