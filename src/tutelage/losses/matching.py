"""The distance between final hidden states of a student and a teacher of equal width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.errors import ShapeMismatch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

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
