"""Hidden states of several layers as features of a text, from one pass that stops at the deepest
layer asked for.

In: texts. Out: float32 [N, D], layers after one another, pooled over the text's own tokens. Layers
are counted as in transformers' `hidden_states`: 0 is the embeddings, L the output of layer L, and
the last one is normalised by the model's final norm. The states of the others are divided by their
root mean square, as the norms inside the model do, and a begin token goes first where the tokenizer
has one: causal models park very large states on the first token, which would drown the text in a
mean.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.models.computing import (
    length_batches,
    pad,
    readable_tokens,
    require_embeddings,
)
from tutelage.models.loading import LanguageModel
from tutelage.models.reading import padding_id
from tutelage.types import SILENT, Progress

Pooling = Literal["mean", "last"]


class _Deep(Exception):  # no error: it ends the pass once nothing further is needed
    """Raised inside the model when the deepest layer asked for has been seen."""


def default_layers(num_layers: int) -> list[int]:
    """Layers at 60, 80 and 100 % of the depth, where a classifier on a causal language model finds
    most.
    """
    return sorted({max(1, round(share * num_layers)) for share in (0.6, 0.8, 1.0)})


def num_layers(language_model: LanguageModel) -> int:
    """How many layers the model has; valid `hidden_states` indices are 0 to this."""
    return int(language_model.model.config.get_text_config().num_hidden_layers)


def weights_read(language_model: LanguageModel, layers: Sequence[int]) -> list[nn.Parameter]:
    """The weights that `extract_features` uses: embeddings and the layers up to the deepest one
    asked for.

    Layers above that one, what comes after them in the model (its last norm), and the output matrix
    are left out.

    Args:
        language_model: With any head.
        layers: `hidden_states` indices.

    Returns:
        Each parameter once.

    Raises:
        ModelError: No way to find the model's layers.
    """
    backbone = language_model.model.base_model
    depth, deepest = num_layers(language_model), max(layers)
    if deepest >= depth:
        return list(backbone.parameters())
    blocks = _blocks(backbone, depth)
    if blocks is None:  # all layers share their weights
        return list(backbone.parameters())
    unread = list(blocks[deepest:])
    children = list(backbone.children())
    holder = next(
        index
        for index, child in enumerate(children)
        if any(part is blocks for part in child.modules())
    )
    unread += children[holder + 1 :]
    left_out = {id(parameter) for module in unread for parameter in module.parameters()}
    return [parameter for parameter in backbone.parameters() if id(parameter) not in left_out]


def extract_features(
    language_model: LanguageModel,
    texts: Sequence[str],
    *,
    layers: Sequence[int],
    pooling: Sequence[Pooling] = ("mean", "last"),
    batch_tokens: int = 4096,
    max_length: int = 512,
    progress: Progress = SILENT,
) -> np.ndarray:
    """Pooled hidden states of each text.

    Neither layers above the deepest one asked for nor the output matrix are run. Texts are sorted
    by length and padded on the right; a causal model gets no mask then, since no real token sees
    the padding.

    Args:
        language_model: With any head; only its backbone is run.
        texts: N texts, in any order.
        layers: `hidden_states` indices, each from 0 to the number of layers.
        pooling: `mean` over the text's tokens, `last` its last token, or both.
        batch_tokens: Tokens run at once, padding included.
        max_length: Tokens of a text that are read.
        progress: Where a bar goes.

    Returns:
        float32 [N, len(layers) * len(pooling) * H]: for each layer in the order given, each pooling
        in the order given.

    Raises:
        ModelError: A layer that the model does not have, or no way to find its layers.
    """
    require_layers(language_model, layers, pooling)
    rows, _ = encode(language_model, texts, max_length=max_length)
    if not rows:
        return np.zeros((0, 0), dtype=np.float32)
    out = None
    with progress.bar("Reading features", total=len(rows), unit="texts") as advance:
        for batch, pooled, _ in read_batches(
            language_model, rows, layers=layers, pooling=pooling, batch_tokens=batch_tokens
        ):
            if out is None:
                out = np.zeros((len(rows), pooled.shape[1]), dtype=np.float32)
            out[batch] = pooled
            advance(len(batch))
    assert out is not None
    return out


def require_layers(
    language_model: LanguageModel, layers: Sequence[int], pooling: Sequence[Pooling]
) -> None:
    """Refuse layers that the model does not have, and ways to pool that nobody knows.

    Raises:
        ModelError: A layer that the model does not have, or none.
        ValueError: Another pooling than `mean` and `last`, or none.
    """
    depth = num_layers(language_model)
    if not layers or not all(0 <= layer <= depth for layer in layers):
        raise ModelError(
            f"layers {list(layers)} given; {language_model.name} has layers 0 (embeddings) to "
            f"{depth}"
        )
    if not pooling or not set(pooling) <= {"mean", "last"}:
        raise ValueError(f"pooling {list(pooling)} given; expected mean, last, or both")


def encode(
    language_model: LanguageModel, texts: Sequence[str], *, max_length: int, with_ends: bool = False
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids with the model's own special tokens, the begin token first where there is one; a
    text of no tokens becomes one padding token.

    Args:
        language_model: Whose tokenizer is asked.
        texts: N texts.
        max_length: Tokens of a text that are kept, the begin token not counted.
        with_ends: Also tell where tokens end.

    Returns:
        Ids of each text, and with `with_ends` the character of the text behind each token, 0 for
        special ones.
    """
    if not len(texts):
        return [], []
    tokenizer = language_model.tokenizer
    # A begin token may be added.
    longest = readable_tokens(language_model.model, max_length + 1) - 1
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=longest,
        return_offsets_mapping=with_ends,
        split_special_tokens=True,  # control tokens that a text spells are text
    )
    rows = [list(ids) for ids in encoded["input_ids"]]
    require_embeddings(
        rows,
        language_model.model.get_input_embeddings().weight.shape[0],
        tokenizer=tokenizer,
        name=language_model.name,
    )
    ends = (
        [[end for _, end in offsets] for offsets in encoded["offset_mapping"]] if with_ends else []
    )
    begin = tokenizer.bos_token_id
    if begin is not None and any(ids[:1] != [begin] for ids in rows):
        rows = [[begin, *ids] for ids in rows]
        ends = [[0, *of_text] for of_text in ends]
    empty = [padding_id(tokenizer, language_model.model.get_input_embeddings().weight.shape[0])]
    return [ids or empty for ids in rows], [of_text or [0] for of_text in ends]


def read_batches(
    language_model: LanguageModel,
    rows: Sequence[Sequence[int]],
    *,
    layers: Sequence[int],
    pooling: Sequence[Pooling],
    also: Sequence[int] = (),
    batch_tokens: int,
) -> Iterator[tuple[list[int], np.ndarray, dict[int, Tensor]]]:
    """Run the model over rows of tokens, sorted by length and padded on the right.

    Args:
        language_model: With any head; only its backbone is run.
        rows: From `encode`.
        layers: As for `extract_features`.
        pooling: As for `extract_features`.
        also: Layers whose states are handed over token by token.
        batch_tokens: Tokens run at once, padding included.

    Yields:
        Which rows, their features float32 [B, D], and the states [B, T, H] of each layer of `also`.
    """
    masked = not _is_causal(language_model, max((*layers, *also)))
    for batch in length_batches(
        [len(row) for row in rows], batch_tokens=batch_tokens, device=language_model.device
    ):
        pooled_BD, states = _pooled(
            language_model,
            [rows[row] for row in batch],
            layers,
            pooling,
            also=also,
            masked=masked,
        )
        yield batch, pooled_BD.float().cpu().numpy(), states


@torch.inference_mode()
def _pooled(
    language_model: LanguageModel,
    rows: Sequence[Sequence[int]],
    layers: Sequence[int],
    pooling: Sequence[Pooling],
    *,
    also: Sequence[int] = (),
    masked: bool,
) -> tuple[Tensor, dict[int, Tensor]]:
    """Pooled hidden states of one batch, [B, D], and the states of the layers in `also`."""
    backbone = language_model.model.base_model
    depth, device = num_layers(language_model), language_model.device
    vocabulary = backbone.get_input_embeddings().weight.shape[0]
    ids_BT, lengths_B = pad(rows, padding_id(language_model.tokenizer, vocabulary), device=device)
    real_BT = torch.arange(ids_BT.shape[1], device=device) < lengths_B[:, None]
    text_BT = (
        real_BT.clone()
    )  # what a mean is over: not the begin token, unless there is nothing else
    begin = language_model.tokenizer.bos_token_id
    if begin is not None:
        text_BT[:, 0] &= (ids_BT[:, 0] != begin) | (lengths_B == 1)
    found: dict[int, Tensor] = {}
    states: dict[int, Tensor] = {}

    def keep(layer: int, hidden: Tensor) -> None:
        states_BTH = hidden.float()
        if layer < depth:
            states_BTH = torch.nn.functional.rms_norm(states_BTH, states_BTH.shape[-1:], eps=1e-6)
        if layer in also:
            states[layer] = states_BTH
        parts = []
        for how in pooling if layer in layers else ():
            if how == "mean":
                total = torch.einsum("bth,bt->bh", states_BTH, text_BT.float())
                parts.append(total / text_BT.sum(dim=1, keepdim=True))
            else:
                parts.append(states_BTH[torch.arange(len(rows), device=device), lengths_B - 1])
        if parts:
            found[layer] = torch.cat(parts, dim=-1)

    wanted = {*layers, *also}
    deepest = max(wanted)
    blocks = _blocks(backbone, depth) if min(wanted) < depth else []
    shared = {} if blocks is not None else {"output_hidden_states": True}
    # The input of block `layer` is hidden_states[layer]; seeing the deepest one asked for ends the
    # pass.
    handles = [
        blocks[layer].register_forward_pre_hook(
            _before_block(layer, keep, layer == deepest), with_kwargs=True
        )
        for layer in sorted(wanted)
        if layer < depth and blocks is not None
    ]
    try:
        mask = real_BT.long() if masked and not bool(real_BT.all()) else None
        output = backbone(
            input_ids=ids_BT, attention_mask=mask, **_without_cache(backbone), **shared
        )
        if blocks is None:
            for layer in sorted(wanted - {depth}):
                keep(layer, _told_states(output, depth, backbone)[layer])
        keep(depth, output[0])
    except _Deep:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat([found[layer] for layer in layers], dim=-1), states


def _before_block(layer: int, keep: Any, last: bool) -> Any:
    """A hook that takes a block's input and, if nothing deeper is needed, ends the pass."""

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(layer, args[0] if args else kwargs["hidden_states"])
        if last:
            raise _Deep

    return hook


def _without_cache(backbone: nn.Module) -> dict[str, bool]:
    """Tell a model that can keep keys and values not to; encoders do not know the word."""
    return (
        {"use_cache": False}
        if "use_cache" in inspect.signature(backbone.forward).parameters
        else {}
    )


def _told_states(output: Any, depth: int, backbone: nn.Module) -> Sequence[Tensor]:
    """The states of all layers as the model itself tells them, where its layers are no list."""
    told = getattr(output, "hidden_states", None)
    if told is None or len(told) != depth + 1:
        raise ModelError(
            f"{type(backbone).__name__}: no list of {depth} layers found in it, so hidden states "
            "cannot be read layer by layer; use fit: {method: lora}"
        )
    return told


def _blocks(backbone: nn.Module, depth: int) -> nn.ModuleList | None:
    """The model's layers: its one list of `depth` modules of the same kind; None where there is no
    such list, as in ALBERT, which runs one layer over and over.
    """
    lists = [
        module
        for module in backbone.modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == depth
        and len({type(block) for block in module}) <= 2
    ]
    return lists[0] if lists else None


_CAUSAL: WeakKeyDictionary[LanguageModel, dict[int, bool]] = WeakKeyDictionary()
"""What was found out for a model, so that answering one text does not cost two more passes each
time."""


def _is_causal(language_model: LanguageModel, layer: int) -> bool:
    """True if what stands after a token leaves its hidden state as it is; found out by padding one
    row.
    """
    known = _CAUSAL.setdefault(language_model, {})
    if layer in known:
        return known[layer]
    deepest = [layer]
    first, second, third = 5, 6, 7  # any ids
    alone, _ = _pooled(language_model, [[first, second]], deepest, ["last"], masked=False)
    padded, _ = _pooled(
        language_model, [[first, second], [first, second, third]], deepest, ["last"], masked=False
    )
    exact = language_model.dtype == torch.float32
    atol, rtol = (
        (1e-4, 1e-3) if exact else (5e-2, 5e-2)
    )  # products of other shapes differ in the last of few bits
    known[layer] = bool(torch.allclose(alone[0], padded[0], atol=atol, rtol=rtol))
    return known[layer]
