"""Divergences between teacher and student over classes or tokens, one value a position, in nats.

Nothing here masks, averages or shifts: see `losses.reduction`. Every function has its float64
definition in `losses.reference`, which the tests hold it to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.errors import ShapeMismatch

if TYPE_CHECKING:
    from jaxtyping import Float, Int

IGNORED_LABEL = -100
"""The label of a row that nobody labelled, as everywhere in PyTorch."""


def forward_kl(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """KL(teacher || student) at every position, in nats.

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


def soft_cross_entropy(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """Cross-entropy of the student under the teacher's distribution, in nats: forward KL plus the
    teacher's entropy.

    Its gradient is that of `forward_kl`; its value does not reach zero. Arguments, shapes and
    errors as there.

    Source: Hinton, Vinyals, Dean 2015 (arXiv:1503.02531), section 2.
    """
    student, teacher = softened(student_logits, teacher_logprobs, loss_temperature)
    probs = teacher.exp()
    return (
        torch.where(probs > 0, -probs * student, torch.zeros_like(probs)).sum(dim=-1)
        * loss_temperature**2
    )


def hard_cross_entropy(
    student_logits: Float[Tensor, "*B V"], labels: Int[Tensor, "*B"]
) -> Float[Tensor, "*B"]:
    """Negative log-probability of the label at every position, in nats; 0 where the label is -100.

    Args:
        student_logits: Raw scores of any float type; computed in float32 (float64 stays).
        labels: Class indexes; -100 where nobody labelled the row.

    Raises:
        ShapeMismatch: There is not one label for each position.
    """
    if labels.shape != student_logits.shape[:-1]:
        raise ShapeMismatch(
            f"labels {tuple(labels.shape)} given for logits {tuple(student_logits.shape)}; "
            "expected one label a position"
        )
    logits = _wide(student_logits)
    flat = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        labels.reshape(-1),
        ignore_index=IGNORED_LABEL,
        reduction="none",
    )
    return flat.reshape(labels.shape)


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
    student = torch.log_softmax(_wide(student_logits) / loss_temperature, dim=-1)
    teacher = torch.log_softmax(_wide(teacher_logprobs) / loss_temperature, dim=-1)
    return student, teacher


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
