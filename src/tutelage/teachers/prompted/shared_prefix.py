"""Attention of many rows to one shared prefix, whose keys and values are stored once and never
copied.

In: a model, the cache that a run over the prefix filled, and who sees whom among a batch's own
tokens. Out: the model's own forward pass, with attention in two parts: all rows' queries against
the prefix in one matrix product without mask or padding, and each row's queries against its own few
tokens. One softmax joins them, so the result is that of ordinary attention up to rounding.

Source: the split of Juravsky et al. 2024 (arXiv:2402.05099, "Hydragen"), section 3.1; here the two
parts share one softmax, since label prompts have short suffixes and their scores fit in the
processor's cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from tutelage.models.attention import attending_by

_NAME = "tutelage_shared_prefix"


@dataclass(frozen=True)
class _Active:
    """What the attention function needs to know during one pass."""

    layers: Sequence[SharedPrefixLayer]
    seen: Tensor  # bool, [T, T] or [B, 1, 1, T, T]: may the row token see the column token


_ACTIVE: ContextVar[_Active] = ContextVar("shared prefix of the pass that is running")


class SharedPrefixLayer(DynamicLayer):
    """One layer's keys and values of the prefix, [1, heads, P, head size]: read by all, changed by
    none.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        """Keep the tensors as they are."""
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """A batch's own keys and values, as they came; nothing is stored. The attention adds the
        prefix itself.
        """
        del args, kwargs
        return key_states, value_states


def freeze(cache: Cache) -> Cache | None:
    """A read-only copy of a filled cache (its tensors are not copied), or None if it cannot be
    shared.

    Only plain caches that keep every token's keys and values can: sliding windows and recurrent
    states cannot.
    """
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    return Cache(
        layers=[
            SharedPrefixLayer(layer.keys, layer.values) for layer in cast("list[Any]", cache.layers)
        ]
    )


def run_after_prefix(
    backbone: Any, cache: Cache, *, ids: Tensor, positions: Tensor, seen: Tensor
) -> Tensor:
    """Final hidden states of tokens that follow the prefix, [B, T, H].

    Args:
        backbone: A transformers decoder without its output matrix, attending through the attention
            interface.
        cache: From `freeze`.
        ids: Token ids, [B, T].
        positions: Their positions, [1 or B, T], the prefix counted.
        seen: Who sees whom among the T tokens, bool [T, T], or [B, 1, 1, T, T]; all see the whole
            prefix.

    Returns:
        Hidden states; those of tokens that see nothing of use (padding) mean nothing.
    """
    argument = (
        "cache" if "cache" in inspect.signature(backbone.forward).parameters else "past_key_values"
    )
    token = _ACTIVE.set(_Active(cast("list[SharedPrefixLayer]", cache.layers), seen))
    try:
        with attending_by(backbone, _NAME, _attend):
            options = {argument: cache, "use_cache": True}
            return backbone(input_ids=ids, position_ids=positions, **options).last_hidden_state
    finally:
        _ACTIVE.reset(token)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of query [B, heads, T, D] to the prefix and to own keys [B, shared, T, D]; out [B,
    T, heads, D].
    """
    del attention_mask, options
    active = _ACTIVE.get()
    layer = active.layers[module.layer_idx]
    assert layer.keys is not None
    assert layer.values is not None
    batch, heads, tokens, size = query.shape
    shared = key.shape[1]  # heads that keys and values have: several query heads may read one
    rows = batch * (heads // shared) * tokens
    scale = size**-0.5 if scaling is None else scaling
    query = (query * scale).reshape(batch, shared, -1, size)
    ahead = query.transpose(0, 1).reshape(shared, rows, size)
    to_prefix = torch.matmul(ahead, layer.keys[0].transpose(-1, -2))
    to_own = torch.matmul(query, key.transpose(-1, -2)).view(batch, shared, -1, tokens, tokens)
    to_own = to_own.masked_fill_(~active.seen, torch.finfo(to_own.dtype).min)
    scores = torch.cat([to_prefix, to_own.transpose(0, 1).reshape(shared, rows, tokens)], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    length = to_prefix.shape[-1]
    out = torch.matmul(weights[..., :length], layer.values[0])
    own = weights[..., length:].view(shared, batch, -1, tokens).transpose(0, 1)
    out = out.view(shared, batch, -1, size).transpose(0, 1) + torch.matmul(own, value)
    return out.reshape(batch, heads, tokens, size).transpose(1, 2).contiguous(), None
