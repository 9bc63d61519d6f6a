"""The teacher's side of a language-model loss, as it is at hand: whole distributions, states,
samples or buckets.

All speak about the same P trained positions, in the same order as the student's states. P
positions, K kept entries, V vocabulary, H width of the teacher's states. `require_fit` refuses
sides that do not fit each other before the chunked loss computes anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.errors import ShapeMismatch
from tutelage.losses.table import DIVERGENCES, Divergence, serves

LOWEST_LOGPROB = -1e4
"""Stands for minus infinity where 0 times infinity would be not a number."""


@dataclass(frozen=True, slots=True, eq=False)
class DenseTeacher:
    """Whole distributions. Serves every divergence, and takes the most memory."""

    logprobs: Tensor
    """Log-probabilities at temperature 1, [P, V]."""

    def __len__(self) -> int:
        """P."""
        return len(self.logprobs)

    def multiply(self, rows: slice, vocabulary: int, memory: Tensor | None) -> Tensor:
        """What `logits` takes blocks of: positions of a chunk over the first `vocabulary` ids, [C,
        V].
        """
        del memory
        return self.logprobs[rows, :vocabulary]

    def memory(self, chunk: int, vocabulary: int) -> Tensor | None:
        """Memory for `multiply` to use for every chunk; none is needed."""
        del chunk, vocabulary

    def logits(self, block: Tensor, dtype: torch.dtype) -> Tensor:
        """Finite scores of a block, in memory that may be written over."""
        return block.to(dtype, copy=True).clamp_min_(LOWEST_LOGPROB)


@dataclass(frozen=True, slots=True, eq=False)
class HiddenTeacher:
    """Final states and the output matrix: whole distributions, made a chunk at a time. Serves every
    divergence.
    """

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

    def multiply(self, rows: slice, vocabulary: int, memory: Tensor | None) -> Tensor:
        """What `logits` takes blocks of: states times matrix for a chunk, [C, V], in `memory` if it
        is given.
        """
        weight = self.weight[:vocabulary]
        states = self.hidden[rows].to(weight.dtype)
        return torch.mm(states, weight.T, out=None if memory is None else memory[: len(states)])

    def memory(self, chunk: int, vocabulary: int) -> Tensor | None:
        """Memory for `multiply` to use for every chunk."""
        return torch.empty(chunk, vocabulary, dtype=self.weight.dtype, device=self.weight.device)

    def logits(self, block: Tensor, dtype: torch.dtype) -> Tensor:
        """Finite scores of a block, in memory that may be written over."""
        logits = block.to(dtype)
        if self.bias is not None:
            logits += self.bias[: logits.shape[1]]
            logits.clamp_min_(LOWEST_LOGPROB)  # a bias of minus infinity rules an id out
        if self.scale != 1.0:
            logits *= self.scale
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)


@dataclass(frozen=True, slots=True, eq=False)
class SampledTeacher:
    """Unbiased sparse distributions. Serves forward KL at temperature 1, which is linear in the
    teacher.
    """

    ids: Tensor
    """Token ids, int64 [P, K]; any id where the row has fewer entries."""
    probs: Tensor
    """The mass that each stands for, summing to 1 a row, [P, K]; 0 where the row has fewer
    entries."""
    entropies: Tensor
    """The teacher's own entropy in nats, [P]: with it the value is an unbiased estimate of the
    divergence."""

    def __len__(self) -> int:
        """P."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class BucketTeacher:
    """The most likely tokens, and all others as one bucket. Serves forward and reverse KL over
    these K + 1 buckets.

    The tail is never renormalised away: a student that drains it pays for that.
    """

    ids: Tensor
    """Token ids, int64 [P, K], different within a row; any id where the row has fewer entries."""
    logprobs: Tensor
    """Their log-probabilities, [P, K]; -inf where the row has fewer entries. The first entry is
    always real."""

    def __len__(self) -> int:
        """P."""
        return len(self.ids)


TeacherSide = DenseTeacher | HiddenTeacher | SampledTeacher | BucketTeacher
"""What the teacher says about P positions."""


def require_fit(
    hidden: Tensor,
    weight: Tensor,
    teacher: TeacherSide | None,
    labels: Tensor,
    divergence: Divergence,
    loss_temperature: float,
    soft_weight: float,
    weights: Tensor | None,
    vocabulary: int | None,
) -> None:
    """Refuse what does not fit, before anything is computed; arguments as in `linear_divergence`.

    Raises:
        ShapeMismatch: Positions, widths or vocabularies do not fit each other.
        ValueError: A weight or temperature is out of range, or the teacher's side cannot serve the
            divergence.
    """
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise ShapeMismatch(
            f"states {tuple(hidden.shape)} and output matrix {tuple(weight.shape)} given; expected "
            "[P, H] and [V, H]"
        )
    lengths = {"labels": labels, "weights": weights, "teacher": teacher}
    for name, values in lengths.items():
        if values is not None and len(values) != len(hidden):
            raise ShapeMismatch(
                f"{name} speak of {len(values)} positions but there are {len(hidden)} states"
            )
    size = weight.shape[0] if vocabulary is None else vocabulary
    if size > weight.shape[0]:
        raise ShapeMismatch(
            f"the vocabulary has {size:,} ids but the output matrix only {weight.shape[0]:,} rows"
        )
    there = None
    if isinstance(teacher, HiddenTeacher):
        there = teacher.weight.shape[0]
    elif isinstance(teacher, DenseTeacher):
        there = teacher.logprobs.shape[1]
    if there is not None and (there < size or (vocabulary is None and there != size)):
        raise ShapeMismatch(
            f"the teacher speaks about {there:,} ids, the student about {size:,}. Give "
            "`vocabulary`, the ids that the "
            "tokenizer makes, if the rest is padding; otherwise the two use different tokenizers"
        )
    if not loss_temperature > 0:
        raise ValueError(f"loss_temperature={loss_temperature} given; expected a number above 0")
    if not 0 <= soft_weight <= 1:
        raise ValueError(f"soft_weight={soft_weight} given; expected a number from 0 to 1")
    if isinstance(teacher, (SampledTeacher, BucketTeacher)):
        kind, what = (
            ("sampled", "samples")
            if isinstance(teacher, SampledTeacher)
            else ("top_k", "the most likely tokens and a tail")
        )
        if not serves(kind, divergence.name, loss_temperature=loss_temperature):
            served = " and ".join(name for name in DIVERGENCES if serves(kind, name))
            raise ValueError(
                f"{divergence.name} at temperature {loss_temperature:g} cannot be had from {what}; "
                f"they serve {served} at temperature 1. Use targets of kind hidden or live"
            )
