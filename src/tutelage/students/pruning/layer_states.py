"""Hidden states of one layer of a teacher for many sequences; layers above it are not run.

In: token ids. Out: float32 states, handed over sequence by sequence. Below the last layer they are
divided by their root mean square, as the norms inside the model do: a few states of a causal model
are far larger than the rest.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

BATCH_TOKENS = 2048
"""Tokens run at once, padding included."""
_CLOSE = 1e-3
"""How near states of float32 are that were computed in another order."""


class _Reached(Exception):
    """Carries the hidden states of the layer that was asked for out of a forward pass that need not
    go on.
    """

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


def run_layers(
    model: Any,
    sequences: Sequence[Sequence[int]],
    *,
    layer: int,
    begin: int | None,
    take: Callable[[int, Tensor], Any],
    advance: Callable[[int], None],
) -> None:
    """Hidden states after `layer` layers of every sequence.

    Args:
        model: A causal or masked language model of transformers, with any head.
        sequences: N lists of token ids; an empty one is passed over.
        layer: Counted as in `hidden_states`: 0 is the embeddings.
        begin: A token that goes before each sequence; its own state is not handed over. None puts
            none.
        take: Called with the number of a sequence and its states, float32 [T, H], the shortest
            sequences first.
        advance: Called with the number of sequences just done.

    Raises:
        ValueError: The model has no such layer.
    """
    backbone = model.base_model
    layers = backbone.config.num_hidden_layers
    if not 0 <= layer <= layers:
        raise ValueError(
            f"contextual_layer is {layer}: the teacher has {layers} layers, give 0 to {layers}"
        )
    prefix = [] if begin is None else [begin]
    order = sorted(
        (row for row in range(len(sequences)) if sequences[row]),
        key=lambda row: len(sequences[row]),
    )
    # Most sequences are a word of one or two tokens: without the token before it half the work.
    begun = None if begin is None or not order else _begun(backbone, begin, layer, layers)
    if begun is not None:
        some = [sequences[order[0]], sequences[order[-1]]]
        if not _agree(backbone, prefix, begun, some, layer, layers):
            begun = None
    if begun is not None:
        prefix = []
    while order:
        # The longest of the batch is its last: as many as fit when padded to that.
        size = 1
        while (
            size < len(order)
            and (size + 1) * (len(sequences[order[size]]) + len(prefix)) <= BATCH_TOKENS
        ):
            size += 1
        batch, order = order[:size], order[size:]
        states = _padded_states(
            backbone, prefix, begun, [sequences[row] for row in batch], layer, layers
        ).cpu()
        if layer < layers:
            states = nn.functional.rms_norm(states, states.shape[-1:], eps=1e-6)
        for row, of_row in zip(batch, states, strict=True):
            take(row, of_row[len(prefix) : len(prefix) + len(sequences[row])])
        advance(len(batch))
    advance(sum(not sequence for sequence in sequences))


def _padded_states(
    backbone: Any,
    prefix: list[int],
    begun: DynamicCache | None,
    sequences: Sequence[Sequence[int]],
    layer: int,
    layers: int,
) -> Tensor:
    """States of sequences behind a prefix, or behind a token that was run before, float32 [B, T,
    H].
    """
    lengths = torch.tensor([len(prefix) + len(sequence) for sequence in sequences])
    longest = int(lengths.max())
    padded = [[*prefix, *sequence] for sequence in sequences]
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in padded])
    device = next(backbone.parameters()).device
    mask = None
    if begun is None and bool((lengths != longest).any()):
        mask = (torch.arange(longest) < lengths[:, None]).long().to(device)
    cache = None if begun is None else _repeated(begun, len(sequences))
    found = _states_after(backbone, ids.to(device), mask, layer=layer, layers=layers, cache=cache)
    return found.float()


def _begun(backbone: Any, begin: int, layer: int, layers: int) -> DynamicCache | None:
    """What attention keeps of a first token, if it is a model that keeps just this: none with
    recurrent layers or sliding windows.
    """
    if _cache_argument(backbone) is None:
        return None
    cache = DynamicCache()
    ids = torch.tensor([[begin]], device=next(backbone.parameters()).device)
    _states_after(backbone, ids, None, layer=layer, layers=layers, cache=cache)
    is_plain = all(type(of_layer) is DynamicLayer for of_layer in cache.layers)
    return cache if cache.layers and is_plain else None


def _cache_argument(backbone: Any) -> str | None:
    """By which name a model takes what attention keeps; None if it takes none."""
    known = inspect.signature(backbone.forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in known), None)


def _repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """The same token before each of several rows."""
    copy = DynamicCache()
    for number, of_layer in enumerate(cast("list[Any]", cache.layers)):
        keys, values = (kept.expand(rows, -1, -1, -1) for kept in (of_layer.keys, of_layer.values))
        copy.update(keys, values, number)
    return copy


def _agree(
    backbone: Any,
    prefix: list[int],
    begun: DynamicCache,
    sequences: Sequence[Sequence[int]],
    layer: int,
    layers: int,
) -> bool:
    """Whether states behind a token run before, and without a mask, are what they are behind the
    token itself: not where tokens see what follows them.
    """
    if next(backbone.parameters()).dtype != torch.float32:
        return False  # too coarse to tell
    whole = _padded_states(backbone, prefix, None, sequences, layer, layers)[:, len(prefix) :]
    quick = _padded_states(backbone, [], begun, sequences, layer, layers)
    return all(
        torch.allclose(quick[row, : len(ids)], whole[row, : len(ids)], atol=_CLOSE, rtol=_CLOSE)
        for row, ids in enumerate(sequences)
    )


def _states_after(
    backbone: Any,
    ids: Tensor,
    mask: Tensor | None,
    *,
    layer: int,
    layers: int,
    cache: DynamicCache | None = None,
) -> Tensor:
    """hidden_states[layer], leaving the forward pass as soon as they are there."""
    keeping: dict[str, Any] = {"use_cache": False}
    if cache is not None and (argument := _cache_argument(backbone)) is not None:
        keeping = {argument: cache}
    stacks = [
        module
        for module in backbone.modules()
        if isinstance(module, nn.ModuleList) and len(module) == layers
    ]
    if layer in (0, layers) or len(stacks) != 1:
        return backbone(
            input_ids=ids, attention_mask=mask, output_hidden_states=True, **keeping
        ).hidden_states[layer]

    def leave(_module: nn.Module, _inputs: Any, output: Any) -> None:
        raise _Reached(output[0] if isinstance(output, tuple) else output)

    handle = stacks[0][layer - 1].register_forward_hook(leave)
    try:
        backbone(input_ids=ids, attention_mask=mask, **keeping)
    except _Reached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise AssertionError("the layer's hook was not called")
