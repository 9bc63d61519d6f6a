"""What a loss is made of beside divergences, and the only place where it is averaged.

One value a position: cross-entropies in nats, to the teacher's distribution and to a label, and the
distance between final hidden states. `reduce` makes of such values the number that is minimised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.errors import ShapeMismatch
from tutelage.losses.divergences.forms import softened, wide

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


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


_EPSILON = 1e-6


def hidden_matching(
    student_hidden: Float[Tensor, "*B H"],
    teacher_hidden: Float[Tensor, "*B H"],
    mask: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    """Mean squared difference of two states at every position, in units of the teacher's own mean
    square.

    Widths and layers differ much in the size of their states; divided by the teacher's mean square
    the value is a share: 0 where both agree, 1 where the student says nothing.

    Args:
        student_hidden: The student's states.
        teacher_hidden: The teacher's, of equal width; no gradient goes there.
        mask: False leaves a position out: 0 there, with a gradient of 0. None keeps all.

    Returns:
        A share per position, >= 0, 0 where both agree.

    Raises:
        ShapeMismatch: The shapes differ.

    Source: Muralidharan et al. 2024 (Minitron, arXiv:2407.14679), section 3.3, match intermediate
        states by mean squared error; dividing by the teacher's mean square is ours, so that the
        weight means the same for every model.
    """
    if student_hidden.shape != teacher_hidden.shape:
        raise ShapeMismatch(
            f"student states {tuple(student_hidden.shape)} and teacher states "
            f"{tuple(teacher_hidden.shape)} given; "
            "expected the same shape: a student that keeps the teacher's hidden size"
        )
    teacher = teacher_hidden.detach().float()
    scale = teacher.square().mean(dim=-1).clamp_min(_EPSILON)
    values = (student_hidden.float() - teacher).square().mean(dim=-1) / scale
    return values if mask is None else torch.where(mask, values, 0.0)


def reduce(
    values: Float[Tensor, "*B"],
    weights: Float[Tensor, "*B"] | None = None,
    *,
    total: float | Tensor,
) -> Float[Tensor, ""]:
    """Sum of weighted values divided by the total of the whole optimizer step.

    The divisor is the *global* number of trained positions (over all accumulated batches and all
    processes), not that of this batch: then accumulation 1 x 8 and 4 x 2 give the same gradient,
    and short batches do not count double.

    Args:
        values: Nats per position.
        weights: Weight of each position, or a mask; 0 leaves it out, whatever its value. None
            counts every position once.
        total: Trained positions (or their weights) of the whole step, >= 0. 0 gives 0 with a
            gradient of 0.

    Returns:
        A scalar.
    """
    if weights is not None:
        # A position left out may hold inf or nan, and 0 * inf is not 0: it is cut out before and
        # not only multiplied.
        values = values.masked_fill(weights == 0, 0.0) * weights
    if isinstance(total, Tensor):
        return values.sum() / total.masked_fill(total == 0, 1.0)
    return values.sum() / (total or 1.0)
