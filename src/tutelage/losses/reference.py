"""The definitions of our losses, in float64 numpy, written to be read. Slow; for tests and for
readers.

Each takes one position: logits `[V]` of the student, log-probabilities `[V]` of the teacher at
temperature 1.
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


def forward_kl(
    student_logits: Vector, teacher_logprobs: Vector, loss_temperature: float = 1.0
) -> float:
    """T^2 sum_i p_i log(p_i / q_i), with p and q at temperature T; terms with p_i = 0 are 0."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    return loss_temperature**2 * sum(
        float(p_i * np.log(p_i / q_i)) for p_i, q_i in zip(p, q, strict=True) if p_i > 0
    )


def forward_kl_gradient(
    student_logits: Vector, teacher_logprobs: Vector, loss_temperature: float = 1.0
) -> Vector:
    """d(T^2 KL) / dz = T (q - p), with p and q at temperature T."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    return loss_temperature * (q - p)


def soft_cross_entropy(
    student_logits: Vector, teacher_logprobs: Vector, loss_temperature: float = 1.0
) -> float:
    """-T^2 sum_i p_i log q_i, with p and q at temperature T."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    return -(loss_temperature**2) * sum(
        float(p_i * np.log(q_i)) for p_i, q_i in zip(p, q, strict=True) if p_i > 0
    )


def hard_cross_entropy(student_logits: Vector, label: int) -> float:
    """-log q_label; 0 for the label -100."""
    return 0.0 if label == -100 else -float(np.log(softmax(student_logits)[label]))


def reverse_kl(
    student_logits: Vector, teacher_logprobs: Vector, loss_temperature: float = 1.0
) -> float:
    """T^2 sum_i q_i log(q_i / p_i)."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    return loss_temperature**2 * float(np.sum(q * np.log(q / p)))


def jensen_shannon(
    student_logits: Vector,
    teacher_logprobs: Vector,
    loss_temperature: float = 1.0,
    *,
    beta: float,
) -> float:
    """T^2 [beta KL(p || m) + (1 - beta) KL(q || m)], m = beta p + (1 - beta) q."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    m = beta * p + (1 - beta) * q
    return loss_temperature**2 * float(
        beta * np.sum(p * np.log(p / m)) + (1 - beta) * np.sum(q * np.log(q / m))
    )


def skew_forward_kl(
    student_logits: Vector,
    teacher_logprobs: Vector,
    loss_temperature: float = 1.0,
    *,
    alpha: float,
) -> float:
    """T^2 KL(p || alpha p + (1 - alpha) q)."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    return loss_temperature**2 * float(np.sum(p * np.log(p / (alpha * p + (1 - alpha) * q))))


def skew_reverse_kl(
    student_logits: Vector,
    teacher_logprobs: Vector,
    loss_temperature: float = 1.0,
    *,
    alpha: float,
) -> float:
    """T^2 KL(q || (1 - alpha) p + alpha q)."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    return loss_temperature**2 * float(np.sum(q * np.log(q / ((1 - alpha) * p + alpha * q))))


def total_variation(
    student_logits: Vector, teacher_logprobs: Vector, loss_temperature: float = 1.0
) -> float:
    """T^2 / 2 sum_i |p_i - q_i|."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    return loss_temperature**2 * 0.5 * float(np.abs(p - q).sum())


def alpha_beta(
    student_logits: Vector,
    teacher_logprobs: Vector,
    loss_temperature: float = 1.0,
    *,
    alpha: float,
    beta: float,
) -> float:
    """-T^2 / (a b) sum_i [p^a q^b - a / (a + b) p^(a + b) - b / (a + b) q^(a + b)]."""
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    both = alpha + beta
    terms = p**alpha * q**beta - alpha / both * p**both - beta / both * q**both
    return -(loss_temperature**2) / (alpha * beta) * float(terms.sum())


def adaptive_kl(
    student_logits: Vector,
    teacher_logprobs: Vector,
    loss_temperature: float = 1.0,
    *,
    head_mass: float,
) -> float:
    """g_h / (g_h + g_t) forward KL + g_t / (g_h + g_t) reverse KL; g = sum |p - q| over the head
    and over the tail.
    """
    p, q = softmax(teacher_logprobs, loss_temperature), softmax(student_logits, loss_temperature)
    order = np.argsort(-p, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(p[order])[:-1]])
    head = order[before < head_mass]
    gaps = np.abs(p - q)
    total = gaps.sum()
    share = gaps[head].sum() / total if total > 0 else 0.5
    forward, reverse = (
        f(student_logits, teacher_logprobs, loss_temperature) for f in (forward_kl, reverse_kl)
    )
    return share * forward + (1 - share) * reverse


def bucket_forward_kl(student_logits: Vector, teacher_logprobs: Vector, kept: list[int]) -> float:
    """Forward KL where all ids that are not kept count as one."""
    p, q = _buckets(teacher_logprobs, kept), _buckets(student_logits, kept)
    return float(sum(p_i * np.log(p_i / q_i) for p_i, q_i in zip(p, q, strict=True) if p_i > 0))


def bucket_reverse_kl(student_logits: Vector, teacher_logprobs: Vector, kept: list[int]) -> float:
    """Reverse KL where all ids that are not kept count as one."""
    p, q = _buckets(teacher_logprobs, kept), _buckets(student_logits, kept)
    return float(sum(q_i * np.log(q_i / p_i) for p_i, q_i in zip(p, q, strict=True) if q_i > 0))


def _buckets(logits: Vector, kept: list[int]) -> Vector:
    probs = softmax(logits)
    rest = np.delete(probs, kept).sum() if len(kept) < len(probs) else 0.0
    return np.append(probs[kept], rest)
