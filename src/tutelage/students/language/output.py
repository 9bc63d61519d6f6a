"""What the recurrent language model answers, and the state it goes on from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput

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
