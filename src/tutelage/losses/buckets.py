"""Divergences over the teacher's most likely tokens and one bucket for all others, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.losses.divergence import Divergence
from tutelage.losses.divergences.forms import Buckets
from tutelage.losses.table import DIVERGENCES, TABLE, forms
from tutelage.losses.teacher_sides import BucketTeacher

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
