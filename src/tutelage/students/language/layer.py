"""One layer of the recurrent language model, how it passes over padding, and the form of what the
model answers.

In: vectors of every token and the state to start from. Out: vectors of every token and the state
after the last one. A cell reads a row from left to right and cannot skip, so rows with padding in
front or in between are first closed up, their tokens moved to the front, and opened again at the
end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers.utils import ModelOutput

from tutelage.students.classifier.rnn import lay_weights_together
from tutelage.students.configurations import RecurrentLanguageConfig

State = tuple[Tensor, ...]
"""Hidden values of all layers [L, B, H]; those of an LSTM are followed by its cell values [L, B,
H]."""


@dataclass
class RecurrentCausalLMOutput(ModelOutput):
    """What a recurrent language model answers."""

    loss: Tensor | None = None
    """Mean cross-entropy of the next tokens in nats, if labels were given."""
    logits: Tensor | None = None
    """[B, T, V], or only the positions that were asked for."""
    state: State | None = None
    """The state after the last token of every row, to go on from."""
    hidden_states: tuple[Tensor, ...] | None = None
    """If asked for: the embeddings, the states of every layer but the last, what the output matrix
    multiplies."""
    attentions: None = None
    """Always None; generation code reads it."""


class RecurrentLayer(nn.Module):
    """Normalise, read, and, but for the first layer, add to what came in."""

    def __init__(self, config: RecurrentLanguageConfig, *, is_first: bool) -> None:
        super().__init__()
        width = config.embedding_size if is_first else config.hidden_size
        self.is_first = is_first
        self.norm = nn.LayerNorm(width)
        self.cell = (nn.GRU if config.cell == "gru" else nn.LSTM)(
            width, config.hidden_size, batch_first=True
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, inputs: Tensor, start: State | None, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """States [B, T, H] and the state at the end, each part [1, B, H]; tokens stand before
        padding in every row.
        """
        lay_weights_together(self.cell, inputs)
        given = self.norm(inputs)
        packed = given
        if lengths is not None:
            packed = pack_padded_sequence(
                given, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
            )
        hidden = start if start is None or isinstance(self.cell, nn.LSTM) else start[0]
        states, end = self.cell(packed, hidden)
        end = end if isinstance(end, tuple) else (end,)
        if lengths is not None:
            states, _ = pad_packed_sequence(states, batch_first=True, total_length=inputs.shape[1])
            end = _unmoved_without_tokens(end, start, lengths)
        states = self.dropout(states)
        return (states if self.is_first else inputs + states), end


@dataclass(frozen=True)
class Skipping:
    """How to bring the tokens of every row to its front, and back."""

    order: Tensor
    """Columns in the order in which they are read, int [B, T]: tokens first."""
    places: Tensor
    """Where in that order the last token up to each column stands, int [B, T]; -1 where none has
    been read."""
    lengths: Tensor | None
    """Tokens of every row, int [B]; None where layers may read on into the padding, since nobody
    asks for the state."""


def skipping_of(attention_mask: Tensor, *, need_state: bool) -> Skipping | None:
    """What to skip by a mask [B, T]; None where nothing is padded."""
    mask = attention_mask.bool()
    if bool(mask.all()):
        return None
    order = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    return Skipping(
        order=order, places=mask.cumsum(1) - 1, lengths=mask.sum(1) if need_state else None
    )


def tokens_first(values: Tensor, skipping: Skipping) -> Tensor:
    """[B, T, W] with the tokens of every row at its front, cut at the longest row."""
    longest = max(int(skipping.places.max()) + 1, 1)
    return values.gather(1, skipping.order[:, :longest, None].expand(-1, -1, values.shape[2]))


def back_in_place(values: Tensor, skipping: Skipping) -> Tensor:
    """Undo `tokens_first`; padding is given what the token before it has, or zeros if there is
    none.
    """
    columns = skipping.places.clamp(min=0)[..., None].expand(-1, -1, values.shape[2])
    return values.gather(1, columns).masked_fill((skipping.places < 0)[..., None], 0.0)


def _unmoved_without_tokens(end: State, start: State | None, lengths: Tensor) -> State:
    """The state at the end, but that at the start in rows where there was nothing to read."""
    empty = (lengths == 0)[None, :, None]
    before = (torch.zeros_like(part) for part in end) if start is None else start
    return tuple(torch.where(empty, old, new) for old, new in zip(before, end, strict=True))
