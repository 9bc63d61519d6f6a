"""The definitions of our losses, in float64 numpy, written to be read. Slow; for tests and for readers.

Each takes one position: logits `[V]` of the student, log-probabilities `[V]` of the teacher at temperature 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def softmax(logits: Vector, temperature: float = 1.0) -> Vector:
    """exp(z_i / T) / sum_j exp(z_j / T)."""
    scaled = np.asarray(logits, np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    return weights / weights.sum()


def forward_kl(student_logits: Vector, teacher_logprobs: Vector, loss_temperature: float = 1.0) -> float:
    """T^2 sum_i p_i log(p_i / q_i), with p and q at temperature T; terms with p_i = 0 are 0."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    return loss_temperature**2 * sum(float(p_i * np.log(p_i / q_i)) for p_i, q_i in zip(p, q, strict=True) if p_i > 0)


def forward_kl_gradient(student_logits: Vector, teacher_logprobs: Vector, loss_temperature: float = 1.0) -> Vector:
    """d(T^2 KL) / dz = T (q - p), with p and q at temperature T."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    return loss_temperature * (q - p)


def soft_cross_entropy(student_logits: Vector, teacher_logprobs: Vector, loss_temperature: float = 1.0) -> float:
    """-T^2 sum_i p_i log q_i, with p and q at temperature T."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    return -(loss_temperature**2) * sum(float(p_i * np.log(q_i)) for p_i, q_i in zip(p, q, strict=True) if p_i > 0)


def hard_cross_entropy(student_logits: Vector, label: int) -> float:
    """-log q_label; 0 for the label -100."""
    return 0.0 if label == -100 else -float(np.log(softmax(student_logits)[label]))
