"""One way to read every language-model student: its final states, of which `output_layer` makes
logits.

In: a causal language model, token ids, perhaps several documents a row. Out: states that see their
own document only, whatever kind of model it is. Training and evaluation go through here and nowhere
else, so they never hold logits of a whole batch.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from tutelage.models import attention
from tutelage.models.attention import (
    MaskChanged,
    attention_inside_documents,
    attention_of,
    keeps_a_state,
)
from tutelage.models.output import TellsStates, below_adapters

MASKED_ATTENTION = ("sdpa", "eager")
"""Attention that takes a mask of its own; others find documents by rules that do not hold for
several rows."""
ISOLATED = {"full_attention", "sliding_attention"}
"""Kinds of layers that look back through a mask only, and so can be kept from looking into another
document."""


def final_states(
    model: Any,
    input_ids: Tensor,
    position_ids: Tensor | None = None,
    segments: Tensor | None = None,
) -> Tensor:
    """What the output matrix multiplies at every token, each document read as if it were alone.

    Where every row holds one document and padding comes last, no mask is made at all: attention is
    causal, so nothing sees the padding, and the fastest kernels apply. Rows of several documents
    are cut at the documents for attention where that works: on a processor, by SDPA, without a
    window shorter than the row (see `models.attention`). Else they get a block-diagonal causal
    mask of their own, since transformers recognises such rows only as long as nobody passes a mask
    or keeps a cache.

    Args:
        model: A causal language model: of transformers, one with adapters, or a recurrent student.
        input_ids: Token ids, int [B, T], padded on the right.
        position_ids: [B, T], starting from 0 in every document; None counts from `segments`.
        segments: int [B, T], 0 at padding, 1 and more name the documents of a row, each in one
            piece; None means one document a row.

    Returns:
        States [B, T, H] in the type of the model; those of padding mean nothing.

    Raises:
        ValueError: Rows of several documents, for a model that cannot keep them apart (see
            `packs`).
    """
    model = below_adapters(model)
    packed = segments is not None and bool((segments > 1).any())
    if packed and not packs(model):
        raise ValueError(
            f"{type(model).__name__} lets one document run into the next, but a row holds several: "
            "put one document in each row"
        )
    if isinstance(model, TellsStates):
        return model.hidden_states(input_ids)
    if not packed or segments is None:
        return model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
    inputs: dict[str, Any] = {"input_ids": input_ids, "use_cache": False}
    inputs["position_ids"] = positions_within(segments) if position_ids is None else position_ids
    if _documents_can_be_cut(model, segments):
        with suppress(MaskChanged), attention_inside_documents(model, segments) as names:
            return model.base_model(attention_mask=names, **inputs).last_hidden_state
    return model.base_model(
        attention_mask=_attention_masks(model, segments), **inputs
    ).last_hidden_state


def packs(model: Any) -> bool:
    """True if rows may hold several documents.

    False for recurrent models, for models that count positions by themselves, for layers that look
    back by other means than a mask, for attention kernels that take no mask, and where the version
    of transformers is not one that was tested.

    Args:
        model: As in `final_states`.
    """
    model = below_adapters(model)
    if isinstance(model, TellsStates) or keeps_a_state(model):
        return False
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    takes_positions = "position_ids" in inspect.signature(model.base_model.forward).parameters
    return takes_positions and kinds <= ISOLATED and attention_of(model) in MASKED_ATTENTION


def positions_within(segments: Tensor) -> Tensor:
    """The place of every token in its document, from 0.

    Args:
        segments: int [B, T], each document in one piece.

    Returns:
        int64 [B, T].

    Example:
        >>> positions_within(torch.tensor([[1, 1, 2, 2, 2, 0]]))
        tensor([[0, 1, 0, 1, 2, 0]])
    """
    places = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return places - torch.where(starts, places, 0).cummax(dim=1).values


def _documents_can_be_cut(model: Any, segments: Tensor) -> bool:
    """Whether attention may go document by document: on a processor, by name, and without a window
    of its own.
    """
    on_processor = segments.device.type == "cpu"
    return (
        on_processor
        and attention.attends_through_the_interface(model)
        and _window(model, segments) is None
    )


def _window(model: Any, segments: Tensor) -> int | None:
    """How far some layers look back, where that is less than a row."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    whole = set(getattr(config, "layer_types", None) or ()) == {"full_attention"}
    return None if window is None or whole or window >= segments.shape[1] else int(window)


def _attention_masks(model: Any, segments: Tensor) -> Tensor | dict[str, Tensor]:
    """What each kind of layer may look at: earlier tokens of the same document, within its window
    if it has one.
    """
    places = torch.arange(segments.shape[1], device=segments.device)
    back = places[:, None] - places[None, :]
    # Padding looks at padding: a token that looks at nothing would be not a number, and spread.
    full = ((segments[:, :, None] == segments[:, None, :]) & (back >= 0))[:, None]
    window = _window(model, segments)
    if window is None:
        return _as_taken(model, full)
    sliding = full & (back < window)
    if set(getattr(model.config.get_text_config(), "layer_types", None) or ()) <= {
        "sliding_attention"
    }:
        return _as_taken(model, sliding)
    return {
        "full_attention": _as_taken(model, full),
        "sliding_attention": _as_taken(model, sliding),
    }


def _as_taken(model: Any, mask: Tensor) -> Tensor:
    """True and False for SDPA, numbers to add to the scores for attention in plain PyTorch."""
    if attention_of(model) == "sdpa":
        return mask
    dtype = model.get_input_embeddings().weight.dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(
        ~mask, torch.finfo(dtype).min
    )
