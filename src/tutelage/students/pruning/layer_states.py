"""Hidden states of one layer of a teacher for many sequences; layers above it are not run.

In: token ids. Out: float32 states, handed over sequence by sequence. Below the last layer they are
divided by their root mean square, as the norms inside the model do: a few states of a causal model
are far larger than the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

BATCH_TOKENS = 2048
"""Tokens run at once, padding included."""


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
    device = next(model.parameters()).device
    order = sorted(
        (row for row in range(len(sequences)) if sequences[row]),
        key=lambda row: len(sequences[row]),
    )
    while order:
        # The longest of the batch is its last: as many as fit when padded to that.
        size = 1
        while (
            size < len(order)
            and (size + 1) * (len(sequences[order[size]]) + len(prefix)) <= BATCH_TOKENS
        ):
            size += 1
        batch, order = order[:size], order[size:]
        longest = len(sequences[batch[-1]])
        lengths = [len(sequences[row]) for row in batch]
        ids = torch.tensor(
            [prefix + list(sequences[row]) + [0] * (longest - len(sequences[row])) for row in batch]
        )
        mask = None
        if lengths[0] != longest:
            mask = (
                (torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None] + len(prefix))
                .long()
                .to(device)
            )
        states = (
            _states_after(backbone, ids.to(device), mask, layer=layer, layers=layers).float().cpu()
        )
        if layer < layers:
            states = nn.functional.rms_norm(states, states.shape[-1:], eps=1e-6)
        for row, length, of_row in zip(batch, lengths, states, strict=True):
            take(row, of_row[len(prefix) : len(prefix) + length])
        advance(len(batch))
    advance(sum(not sequence for sequence in sequences))


def _states_after(
    backbone: Any, ids: Tensor, mask: Tensor | None, *, layer: int, layers: int
) -> Tensor:
    """hidden_states[layer], leaving the forward pass as soon as they are there."""
    stacks = [
        module
        for module in backbone.modules()
        if isinstance(module, nn.ModuleList) and len(module) == layers
    ]
    if layer in (0, layers) or len(stacks) != 1:
        return backbone(
            input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
        ).hidden_states[layer]

    def leave(_module: nn.Module, _inputs: Any, output: Any) -> None:
        raise _Reached(output[0] if isinstance(output, tuple) else output)

    handle = stacks[0][layer - 1].register_forward_hook(leave)
    try:
        backbone(input_ids=ids, attention_mask=mask, use_cache=False)
    except _Reached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise AssertionError("the layer's hook was not called")
