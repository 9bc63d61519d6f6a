"""Forward KL: the student must cover all that the teacher does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.losses.divergences.forms import Buckets, Forms, dot, softened

if TYPE_CHECKING:
    from jaxtyping import Float


def forward_kl(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """KL(teacher || student) at every position, in nats: sum p log(p / q).

    Both sides are softened by `loss_temperature` and the result is multiplied by its square, so
    that gradients keep their size whatever the temperature. The teacher's entropy is part of the
    value: it is zero where both sides agree.

    Args:
        student_logits: Raw scores of any float type; computed in float32 (float64 stays).
        teacher_logprobs: Log-probabilities at temperature 1. -inf where the teacher gives no mass.
        loss_temperature: Softening, > 0. Not the temperature used for sampling.

    Returns:
        Nats per position times `loss_temperature` squared, >= 0 up to rounding.

    Raises:
        ShapeMismatch: The two shapes differ.
        ValueError: The temperature is not above 0.

    Source: Hinton, Vinyals, Dean 2015 (arXiv:1503.02531), section 2. KL rather than cross-entropy,
        so that the value reads as a distance; the gradient is the same.
    """
    student, teacher = softened(student_logits, teacher_logprobs, loss_temperature)
    probs = teacher.exp()
    # Where the teacher gives no mass, 0 * (-inf - x) is not a number but the term is 0.
    terms = torch.where(probs > 0, probs * (teacher - student), torch.zeros_like(probs))
    return terms.sum(dim=-1) * loss_temperature**2


def closed_form(log_q: Tensor, log_p: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor]:
    """Value and gradient of a chunk; see `forms`."""
    q, p = log_q.exp(), log_p.exp()
    value = dot(p, log_p.sub_(log_q))
    return value, q.sub_(p) if gradient else q


def of_buckets(both: Buckets) -> tuple[Tensor, Tensor, Tensor]:
    """Forward KL over K + 1 buckets; see `forms`."""
    kept = torch.where(both.real, both.p * (both.log_p - both.log_q), 0.0).sum(dim=-1)
    value = kept + both.p_tail * both.tail_gap
    return value, both.q - both.p, 1 - both.p_tail / both.q_tail


FORMS = Forms(forward_kl, closed_form, of_buckets)
