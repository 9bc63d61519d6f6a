"""Cross-entropies, one value a position, in nats: to the teacher's distribution, and to a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.errors import ShapeMismatch
from tutelage.losses.divergences.forms import softened, wide

if TYPE_CHECKING:
    from jaxtyping import Float, Int

IGNORED_LABEL = -100
"""The label of a row that nobody labelled, as everywhere in PyTorch."""


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
    logits = wide(student_logits)
    flat = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        labels.reshape(-1),
        ignore_index=IGNORED_LABEL,
        reduction="none",
    )
    return flat.reshape(labels.shape)
