"""What a few positions cost, and the slope of that by their logits: the passes of the chunked loss.

In: logits of a block of positions, of the student and, where the teacher is whole, of the teacher.
Out: divergence, cross-entropy and slope. Where the teacher is known by its most likely tokens and
one bucket for all others, the divergence is taken over these, in closed form. A block is small
enough that all passes find it in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.losses.divergences.forms import Buckets
from tutelage.losses.plain import IGNORED_LABEL
from tutelage.losses.table import DIVERGENCES, TABLE, Divergence, forms
from tutelage.losses.teacher_sides import LOWEST_LOGPROB, BucketTeacher, SampledTeacher, TeacherSide


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The soft and the hard term of P positions."""

    teacher: TeacherSide | None
    labels: Tensor
    """The token at each position, [P]; -100 where none stands."""
    divergence: Divergence
    loss_temperature: float
    soft_share: Tensor
    """What a position's divergence counts in the loss, [P]."""
    hard_share: Tensor
    """What a position's cross-entropy counts, [P]."""
    any_hard: bool
    """Whether one of the latter is above 0."""

    @classmethod
    def weighed(
        cls,
        teacher: TeacherSide | None,
        labels: Tensor,
        *,
        divergence: Divergence,
        loss_temperature: float,
        soft_weight: float,
        weights: Tensor | None,
        total: float,
        dtype: torch.dtype,
    ) -> Terms:
        """Terms with their shares of the loss: a position without a label has its soft term alone,
        at full weight.
        """
        hard = (labels != IGNORED_LABEL).to(dtype)
        if teacher is None:
            soft = torch.zeros_like(hard)
        else:
            hard = hard * (1 - soft_weight)
            soft = 1 - hard
        if weights is not None:
            soft, hard = soft * weights.to(dtype), hard * weights.to(dtype)
        soft, hard = soft / total, hard / total
        return cls(teacher, labels, divergence, loss_temperature, soft, hard, bool(hard.any()))

    def of(
        self, rows: slice, logits: Tensor, teacher_logits: Tensor | None, *, gradients: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Divergence (times T^2), cross-entropy and slope of a block of positions.

        Args:
            rows: Which positions, C of them.
            logits: The student's, [C, V]; written over.
            teacher_logits: The teacher's, [C, V], finite; written over. None where it does not come
                whole.
            gradients: Whether the slope is wanted; if not it is not computed and what is returned
                there says nothing.

        Returns:
            Divergence [C] and cross-entropy [C] in nats, and the gradient of the weighted sum by
            the logits, [C, V], in the memory of `logits`.
        """
        labels = self.labels[rows].clamp_min(0)[:, None]
        soft_share, hard_share = self.soft_share[rows, None], self.hard_share[rows, None]
        linear = self.divergence.name == "forward_kl" and self.loss_temperature == 1.0
        if self.teacher is None or (linear and not isinstance(self.teacher, BucketTeacher)):
            return self._linear(
                rows, logits, teacher_logits, labels, soft_share, hard_share, gradients=gradients
            )

        hard_part = None
        if isinstance(self.teacher, BucketTeacher):
            at_label = logits.gather(-1, labels)[:, 0]
            log_normaliser, total = _exponentials(logits)
            hard = log_normaliser - at_label
            probs = logits.div_(total[:, None])
            if gradients and self.any_hard:
                hard_part = probs.clone()
            soft, slope = bucket_value_and_gradient(
                self.divergence, probs, self.teacher, rows, gradient=gradients
            )
        else:
            assert teacher_logits is not None
            temperature = self.loss_temperature
            log_q = torch.log_softmax(logits, dim=-1)
            hard = -log_q.gather(-1, labels)[:, 0]
            if gradients and self.any_hard:
                hard_part = log_q.exp()
            if temperature != 1.0:
                teacher_logits.div_(temperature)
                log_q = torch.log_softmax(log_q.div_(temperature), dim=-1)
            log_p = torch.log_softmax(teacher_logits, dim=-1).clamp_min_(LOWEST_LOGPROB)
            soft, slope = self.divergence.value_and_gradient(
                log_q.clamp_min_(LOWEST_LOGPROB), log_p, gradient=gradients
            )
            soft = soft * temperature**2
        if not gradients:
            return soft, hard, logits
        torch.mul(slope, soft_share * self.loss_temperature, out=logits)
        if hard_part is not None:
            logits.addcmul_(hard_part, hard_share)
            logits.scatter_add_(-1, labels, -hard_share)
        return soft, hard, logits

    def _linear(
        self,
        rows: slice,
        logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        soft_share: Tensor,
        hard_share: Tensor,
        *,
        gradients: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The case that is linear in the teacher, forward KL at temperature 1: one softmax serves
        both terms.

        The gradient is (soft + hard) q - soft p - hard onehot; p comes sampled, whole, or not at
        all.
        """
        teacher, at_label = self.teacher, logits.gather(-1, labels)[:, 0]
        lead = probs = mass = total = (
            None  # lead: sum of p (log p - z), the divergence but for the normaliser
        )
        if isinstance(teacher, SampledTeacher):
            mass = teacher.probs[rows].to(logits.dtype)
            expected = (mass * logits.gather(-1, teacher.ids[rows])).sum(dim=-1)
            lead = -teacher.entropies[rows].to(logits.dtype) - expected
        elif teacher_logits is not None:
            highest = teacher_logits.amax(dim=-1, keepdim=True)
            probs = torch.sub(teacher_logits, highest).exp_()
            total = probs.sum(dim=-1)
            expected = teacher_logits.sub_(logits).mul_(probs).sum(dim=-1) / total
            lead = expected - highest[:, 0] - total.log()
        log_normaliser, own_total = _exponentials(logits)
        hard = log_normaliser - at_label
        soft = torch.zeros_like(hard) if lead is None else lead + log_normaliser
        if gradients:
            logits.mul_((soft_share + hard_share) / own_total[:, None])
            if probs is not None and total is not None:
                logits.addcmul_(probs, -soft_share / total[:, None])
            elif isinstance(teacher, SampledTeacher) and mass is not None:
                logits.scatter_add_(-1, teacher.ids[rows], mass * -soft_share)
            logits.scatter_add_(-1, labels, -hard_share)
        return soft, hard, logits


def _exponentials(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Write exp(z - max z) over the logits; returns log sum exp(z) and the sum of what was written,
    [C] each.
    """
    highest = logits.amax(dim=-1)
    total = logits.sub_(highest[:, None]).exp_().sum(dim=-1)
    return highest + total.log(), total


_SMALLEST_TAIL = 1e-12
"""A tail bucket counts as holding at least this: below it a float32 sum says nothing."""


def bucket_value_and_gradient(
    divergence: Divergence,
    probs: Tensor,
    teacher: BucketTeacher,
    rows: slice,
    *,
    gradient: bool = True,
) -> tuple[Tensor, Tensor]:
    """A divergence over K + 1 buckets, and its gradient.

    Args:
        divergence: One that `top_k` targets serve.
        probs: The student's probabilities, [C, V]; written over.
        teacher: The buckets.
        rows: Which of its positions.
        gradient: Whether the gradient is wanted; if not it is not computed and what is returned
            there says nothing.

    Returns:
        Values [C] in nats, and gradients [C, V] with respect to the student's logits, in the memory
        of `probs`.

    Raises:
        ValueError: Buckets do not serve the divergence.

    Source: the data-processing form of KL over a partition; gradients by the general rule.
    """
    of_buckets = forms(divergence.name).of_buckets
    if of_buckets is None:
        served = " and ".join(name for name in DIVERGENCES if "top_k" in TABLE[name].sparse)
        raise ValueError(
            f"{divergence.name} cannot be had from the most likely tokens and a tail bucket; they "
            f"serve {served}. Use targets of kind hidden or live"
        )
    logprobs = teacher.logprobs[rows].to(probs.dtype)
    real = torch.isfinite(logprobs)
    # Where a row has fewer entries, its first one stands in: reading and writing it again changes
    # nothing.
    ids = torch.where(real, teacher.ids[rows], teacher.ids[rows, :1])
    logprobs = torch.where(real, logprobs, logprobs[:, :1])
    p, q = logprobs.exp(), probs.gather(-1, ids)
    p_tail = (1 - torch.where(real, p, 0.0).sum(dim=-1)).clamp_min_(0.0)
    q_tail = probs.scatter_(-1, ids, 0.0).sum(dim=-1).clamp_min_(_SMALLEST_TAIL)
    log_q = q.clamp_min(torch.finfo(q.dtype).tiny).log()
    tail_gap = p_tail.clamp_min(_SMALLEST_TAIL).log() - q_tail.log()
    value, head, tail = of_buckets(Buckets(real, p, logprobs, q, log_q, p_tail, q_tail, tail_gap))
    return value, probs.mul_(tail[:, None]).scatter_(-1, ids, head) if gradient else probs
