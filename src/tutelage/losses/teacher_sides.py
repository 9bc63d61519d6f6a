"""The teacher's side of a language-model loss, as it is at hand: whole distributions, states, samples or buckets.

All speak about the same P trained positions, in the same order as the student's states. P positions, K kept entries, V
vocabulary, H width of the teacher's states.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class DenseTeacher:
    """Whole distributions. Serves every divergence, and takes the most memory."""

    logprobs: Tensor
    """Log-probabilities at temperature 1, [P, V]."""

    def __len__(self) -> int:
        """P."""
        return len(self.logprobs)

    def logits(self, start: int, stop: int, vocabulary: int, dtype: torch.dtype) -> Tensor:
        """Scores of positions `start` to `stop` over the first `vocabulary` ids, in memory that may be written over."""
        return self.logprobs[start:stop, :vocabulary].to(dtype, copy=True)


@dataclass(frozen=True, slots=True, eq=False)
class HiddenTeacher:
    """Final states and the output matrix: whole distributions, made a chunk at a time. Serves every divergence."""

    hidden: Tensor
    """What the output matrix multiplies, [P, H]."""
    weight: Tensor
    """The output matrix, [V, H]; may have more padded rows than the student's."""
    bias: Tensor | None = None
    """Its bias, [V]."""
    scale: float = 1.0
    """Logits are multiplied by this."""
    cap: float | None = None
    """Logits become cap * tanh(logits / cap)."""

    def __len__(self) -> int:
        """P."""
        return len(self.hidden)

    def logits(self, start: int, stop: int, vocabulary: int, dtype: torch.dtype) -> Tensor:
        """Scores of positions `start` to `stop` over the first `vocabulary` ids, in memory that may be written over."""
        weight = self.weight[:vocabulary]
        logits = (self.hidden[start:stop].to(weight.dtype) @ weight.T).to(dtype)
        if self.bias is not None:
            logits += self.bias[:vocabulary]
        if self.scale != 1.0:
            logits *= self.scale
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)


@dataclass(frozen=True, slots=True, eq=False)
class SampledTeacher:
    """Unbiased sparse distributions. Serves forward KL at temperature 1, which is linear in the teacher."""

    ids: Tensor
    """Token ids, int64 [P, K]; any id where the row has fewer entries."""
    probs: Tensor
    """The mass that each stands for, summing to 1 a row, [P, K]; 0 where the row has fewer entries."""
    entropies: Tensor
    """The teacher's own entropy in nats, [P]: with it the value is an unbiased estimate of the divergence."""

    def __len__(self) -> int:
        """P."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class BucketTeacher:
    """The most likely tokens, and all others as one bucket. Serves forward and reverse KL over these K + 1 buckets.

    The tail is never renormalised away: a student that drains it pays for that.
    """

    ids: Tensor
    """Token ids, int64 [P, K], different within a row; any id where the row has fewer entries."""
    logprobs: Tensor
    """Their log-probabilities, [P, K]; -inf where the row has fewer entries. The first entry is always real."""

    def __len__(self) -> int:
        """P."""
        return len(self.ids)


TeacherSide = DenseTeacher | HiddenTeacher | SampledTeacher | BucketTeacher
"""What the teacher says about P positions."""
