"""What the file of a divergence holds, and the few operations that these files share.

A closed form is the value and the gradient of one chunk of positions, C of them: for a loss L(q)
with g_j = dL / dq_j the gradient with respect to the logits is q_j (g_j - sum_i q_i g_i). Written
out for each divergence this takes a few passes over the chunk and no autograd graph. Each was
checked against finite differences in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.errors import ShapeMismatch


@dataclass(frozen=True, slots=True)
class Forms:
    """A divergence as functions; each takes the parameters of the divergence by name."""

    dense: Callable[..., Tensor]
    """`(student_logits, teacher_logprobs, *, loss_temperature)`: the differentiable value."""
    closed_form: Callable[..., tuple[Tensor, Tensor]]
    """`(log_q, log_p, *, gradient)`: values [C] and gradients [C, V], as
    `Divergence.value_and_gradient` says."""
    of_buckets: Callable[[Buckets], tuple[Tensor, Tensor, Tensor]] | None = None
    """Value [C], slope by the logits of the kept ids [C, K], and what multiplies the probability of
    every other id in its slope [C]; None where buckets do not serve it."""


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Both sides over K kept ids and one bucket for all others, at C positions."""

    real: Tensor
    """Where an entry is kept and does not only fill the row, [C, K]."""
    p: Tensor
    """Probabilities of the teacher, [C, K]."""
    log_p: Tensor
    """Their logarithms."""
    q: Tensor
    """Probabilities of the student, [C, K]."""
    log_q: Tensor
    """Their logarithms, finite."""
    p_tail: Tensor
    """What the teacher gives all others, [C]."""
    q_tail: Tensor
    """What the student gives them, above 0, [C]."""
    tail_gap: Tensor
    """log(p_tail / q_tail), finite, [C]."""


def softened(
    student_logits: Tensor, teacher_logprobs: Tensor, loss_temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of both sides at the loss temperature, in float32 (float64 stays).

    Raises:
        ShapeMismatch: The two shapes differ.
        ValueError: The temperature is not above 0.
    """
    if student_logits.shape != teacher_logprobs.shape:
        raise ShapeMismatch(
            f"student logits {tuple(student_logits.shape)} and teacher log-probabilities "
            f"{tuple(teacher_logprobs.shape)} given; "
            "expected the same shape: both must speak about the same classes at the same positions"
        )
    if not loss_temperature > 0:
        raise ValueError(f"loss_temperature={loss_temperature} given; expected a number above 0")
    student = torch.log_softmax(wide(student_logits) / loss_temperature, dim=-1)
    teacher = torch.log_softmax(wide(teacher_logprobs) / loss_temperature, dim=-1)
    return student, teacher


def wide(values: Tensor) -> Tensor:
    """In float32; float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def log_mixture(p: Tensor, share: float, q: Tensor) -> Tensor:
    """log(share p + (1 - share) q), in new memory; finite also where both sides have underflown."""
    mixture = torch.mul(p, share).add_(q, alpha=1 - share)
    return mixture.clamp_min_(torch.finfo(p.dtype).tiny).log_()


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Row by row. A product and a sum are twice as fast as `einsum`, and summed pairwise."""
    return (left * right).sum(dim=-1)


def require_share(name: str, value: float) -> None:
    """Refuse what is not between 0 and 1.

    Raises:
        ValueError: It is not.
    """
    if not 0 < value < 1:
        raise ValueError(
            f"{name}={value} given; expected a number between 0 and 1, the ends excluded"
        )
