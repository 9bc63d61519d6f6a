"""How right a classifier's probabilities are: against gold labels, and against the teacher's
probabilities.

All take probabilities `[N, C]` whose rows sum to 1, and gold label indexes `[N]` or a second array
of probabilities, and give one number. A mean over rows has a twin that gives the value of each row;
intervals are made of those.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import ShapeMismatch

SMALLEST_PROBABILITY = 1e-12
"""Floor under a probability before its logarithm: a model that is sure and wrong pays 27.6 nats,
not infinity."""

Values = NDArray[np.float64]


def accuracy(probs: ArrayLike, gold: ArrayLike) -> float:
    """Share of rows whose most probable class is the gold one, in [0, 1].

    Args:
        probs: Probabilities `[N, C]`; of equal ones the class that comes first is the answer.
        gold: Label indexes `[N]`.

    Returns:
        NaN if there are no rows.

    Raises:
        ShapeMismatch: The two do not fit each other.
    """
    return _mean(correct(probs, gold))


def correct(probs: ArrayLike, gold: ArrayLike) -> Values:
    """1 where the most probable class is the gold one, else 0; `[N]`. See `accuracy`."""
    p, y = _against_gold(probs, gold)
    return (p.argmax(axis=1) == y).astype(np.float64)


def macro_f1(probs: ArrayLike, gold: ArrayLike) -> float:
    """Unweighted mean over classes of F1 = 2 TP / (2 TP + FP + FN), in [0, 1].

    Every class weighs the same, so a rare one that is never found costs as much as a common one.

    Args:
        probs: Probabilities `[N, C]`.
        gold: Label indexes `[N]`.

    Returns:
        A class that is neither in gold nor ever answered is left out of the mean; one that is in
        either and never hit counts 0. NaN if there are no rows.

    Raises:
        ShapeMismatch: The two do not fit each other.

    Source: van Rijsbergen 1979; the mean of F1 values, as scikit-learn's
        `f1_score(average="macro")`.
    """
    p, y = _against_gold(probs, gold)
    return macro_f1_of(p.argmax(axis=1), y, num_classes=p.shape[1])


def macro_f1_of(answers: NDArray[np.int64], gold: NDArray[np.int64], *, num_classes: int) -> float:
    """As `macro_f1`, from answers that are class indexes already; for resampling."""
    counts = _counts(answers, gold, num_classes)
    hits = counts.diagonal()
    occurrences = counts.sum(axis=0) + counts.sum(axis=1)
    seen = occurrences > 0
    return float(np.mean(2 * hits[seen] / occurrences[seen])) if seen.any() else float("nan")


def confusion(probs: ArrayLike, gold: ArrayLike) -> NDArray[np.int64]:
    """How often gold class i was answered as class j.

    Args:
        probs: Probabilities `[N, C]`.
        gold: Label indexes `[N]`.

    Returns:
        Integers `[C, C]`, gold in rows, answers in columns; they sum to N.

    Raises:
        ShapeMismatch: The two do not fit each other.
    """
    p, y = _against_gold(probs, gold)
    return _counts(p.argmax(axis=1), y, p.shape[1])


def majority_class(gold: ArrayLike) -> int:
    """The commonest label; of equally common ones, the one that comes first.

    Args:
        gold: Label indexes `[N]`, N at least 1.

    Raises:
        ValueError: There are no labels, or one is negative.
    """
    labels = np.asarray(gold, dtype=np.int64)
    if not labels.size:
        raise ValueError(
            "no labels were given; expected at least one: the commonest of none is not defined"
        )
    if labels.min() < 0:
        raise ValueError(
            f"the label {labels.min()} was given; expected indexes of classes: leave unlabelled "
            "rows out"
        )
    return int(np.bincount(labels).argmax())


def agreement(teacher_probs: ArrayLike, student_probs: ArrayLike) -> float:
    """Share of rows where teacher and student put the same class first, in [0, 1].

    It says how alike the answers are, not how good: a student can agree and be wrong with its
    teacher.

    Args:
        teacher_probs: Probabilities `[N, C]`.
        student_probs: Probabilities `[N, C]`.

    Returns:
        NaN if there are no rows.

    Raises:
        ShapeMismatch: The two differ in shape.

    Source: Stanton et al. 2021 (arXiv:2106.05945), section 2, "average top-1 agreement".
    """
    return _mean(agreements(teacher_probs, student_probs))


def agreements(teacher_probs: ArrayLike, student_probs: ArrayLike) -> Values:
    """1 where teacher and student put the same class first, else 0; `[N]`. See `agreement`."""
    p, q = _pair(teacher_probs, student_probs)
    return (p.argmax(axis=1) == q.argmax(axis=1)).astype(np.float64)


def kl(teacher_probs: ArrayLike, student_probs: ArrayLike) -> float:
    """Mean over rows of KL(teacher || student) = sum_c p_c (ln p_c - ln q_c), in nats.

    Args:
        teacher_probs: p, `[N, C]`; a class of probability 0 adds nothing.
        student_probs: q, `[N, C]`; floored at `SMALLEST_PROBABILITY`.

    Returns:
        At least 0, and 0 where the two are equal. NaN if there are no rows.

    Raises:
        ShapeMismatch: The two differ in shape.

    Source: Kullback and Leibler 1951.
    """
    return _mean(kls(teacher_probs, student_probs))


def kls(teacher_probs: ArrayLike, student_probs: ArrayLike) -> Values:
    """KL(teacher || student) of each row, in nats; `[N]`. See `kl`."""
    p, q = _pair(teacher_probs, student_probs)
    terms = p * (
        np.log(np.maximum(p, SMALLEST_PROBABILITY)) - np.log(np.maximum(q, SMALLEST_PROBABILITY))
    )
    return np.maximum(
        terms.sum(axis=1), 0.0
    )  # rows that sum to 1 only in float32 can fall a hair below


def nll(probs: ArrayLike, gold: ArrayLike) -> float:
    """Mean over rows of -ln(probability of the gold class), in nats.

    Args:
        probs: Probabilities `[N, C]`; floored at `SMALLEST_PROBABILITY`.
        gold: Label indexes `[N]`.

    Returns:
        At least 0; ln C for a model that knows nothing. NaN if there are no rows.

    Raises:
        ShapeMismatch: The two do not fit each other.

    Source: the logarithmic score, Good 1952; scikit-learn's `log_loss`.
    """
    return _mean(nlls(probs, gold))


def nlls(probs: ArrayLike, gold: ArrayLike) -> Values:
    """-ln(probability of the gold class) of each row, in nats; `[N]`. See `nll`."""
    p, y = _against_gold(probs, gold)
    return -np.log(np.maximum(p[np.arange(len(y)), y], SMALLEST_PROBABILITY))


def brier(probs: ArrayLike, gold: ArrayLike) -> float:
    """Mean over rows of the sum over classes of (p_c - [c is gold])^2, in [0, 2].

    Args:
        probs: Probabilities `[N, C]`.
        gold: Label indexes `[N]`.

    Returns:
        0 for a model that is sure and right. NaN if there are no rows.

    Raises:
        ShapeMismatch: The two do not fit each other.

    Source: Brier 1950, the original form over all classes; for two classes it is twice the halved
        form that many libraries report.
    """
    return _mean(briers(probs, gold))


def briers(probs: ArrayLike, gold: ArrayLike) -> Values:
    """The Brier score of each row, in [0, 2]; `[N]`. See `brier`."""
    p, y = _against_gold(probs, gold)
    return ((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1)


def _mean(values: Values) -> float:
    return float(values.mean()) if values.size else float("nan")


def _counts(
    answers: NDArray[np.int64], gold: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    flat = np.bincount(gold * num_classes + answers, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def _against_gold(probs: ArrayLike, gold: ArrayLike) -> tuple[Values, NDArray[np.int64]]:
    p = np.asarray(probs, dtype=np.float64)
    y = np.asarray(gold, dtype=np.int64)
    if p.ndim != 2 or not p.shape[1] or y.shape != p.shape[:1]:
        raise ShapeMismatch(
            f"probabilities of shape {p.shape} and gold labels of shape {y.shape} were given; "
            "expected [N, C] and [N]"
        )
    if y.size and (y.min() < 0 or y.max() >= p.shape[1]):
        raise ShapeMismatch(
            f"gold labels from {y.min()} to {y.max()} were given for {p.shape[1]} classes; "
            "expected indexes from 0 "
            f"to {p.shape[1] - 1}: leave unlabelled rows out"
        )
    return p, y


def _pair(teacher_probs: ArrayLike, student_probs: ArrayLike) -> tuple[Values, Values]:
    p, q = np.asarray(teacher_probs, dtype=np.float64), np.asarray(student_probs, dtype=np.float64)
    if p.ndim != 2 or not p.shape[1] or p.shape != q.shape:
        raise ShapeMismatch(
            f"teacher probabilities of shape {p.shape} and student probabilities of shape "
            f"{q.shape} were given; "
            "expected the same [N, C]: the same rows, the same labels"
        )
    return p, q
