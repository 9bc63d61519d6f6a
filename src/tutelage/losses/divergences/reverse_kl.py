"""Reverse KL: the student pays for mass where the teacher has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.losses.divergences.forms import Buckets, Forms, dot, softened

if TYPE_CHECKING:
    from jaxtyping import Float


def reverse_kl(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """KL(student || teacher) at every position, in nats: sum q log(q / p).

    It punishes the student for mass where the teacher has none, and forgives it for leaving modes
    out.

    Args:
        student_logits: Raw scores of any float type; computed in float32 (float64 stays).
        teacher_logprobs: Log-probabilities at temperature 1, finite wherever the student may put
            mass.
        loss_temperature: Softening, > 0.

    Returns:
        Nats per position times `loss_temperature` squared, >= 0 up to rounding.

    Raises:
        ShapeMismatch: The two shapes differ.
        ValueError: The temperature is not above 0.

    Source: Gu et al. 2024 (MiniLLM, arXiv:2306.08543), equation 1, at one position.
    """
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    return (log_q.exp() * (log_q - log_p)).sum(dim=-1) * loss_temperature**2


def closed_form(log_q: Tensor, log_p: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor]:
    """Value and gradient of a chunk; see `forms`."""
    q = log_q.exp()
    ratio = log_q.sub_(log_p)
    value = dot(q, ratio)
    return value, q.mul_(ratio.sub_(value[:, None])) if gradient else q


def of_buckets(both: Buckets) -> tuple[Tensor, Tensor, Tensor]:
    """Reverse KL over K + 1 buckets; see `forms`."""
    ratio = both.log_q - both.log_p
    kept = torch.where(both.real, both.q * ratio, 0.0).sum(dim=-1)
    value = kept - both.q_tail * both.tail_gap
    return value, both.q * (ratio - value[:, None]), -both.tail_gap - value


FORMS = Forms(reverse_kl, closed_form, of_buckets)
