"""What is taken for what: whole tables for few labels, the commonest mix-ups for many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage import metrics
from tutelage.tasks.classification.report.predictions import Predictions

TABLE_LABELS = 12
"""Up to this many labels the whole table is shown."""
MIX_UPS = 15
"""How many of the commonest mix-ups are listed otherwise."""


@dataclass(frozen=True)
class Confusion:
    """One model against the gold labels or against the teacher."""

    model: str
    """The model; empty for the teacher."""
    against: str
    """gold or teacher."""
    slot: int | None
    """Position of the student."""
    counts: list[list[int]]
    """Rows by reference label, columns by the model's answer; empty for many labels."""
    shares: list[list[float]]
    """The same as shares of each row."""
    mix_ups: list[tuple[str, str, int, int]]
    """For many labels: reference label, the model's answer, how often, out of how many."""


def confusions(predictions: Predictions, labels: list[str]) -> list[Confusion]:
    """Every model against gold, where there are gold labels, and every student against the
    teacher.
    """
    known = np.flatnonzero(predictions.gold >= 0)
    answers = predictions.teacher.argmax(axis=1)
    found: list[Confusion] = []
    if known.size:
        found.append(
            _confusion(
                "", "gold", None, predictions.teacher[known], predictions.gold[known], labels
            )
        )
    for slot, (name, probs) in enumerate(predictions.students.items()):
        if known.size:
            found.append(
                _confusion(name, "gold", slot, probs[known], predictions.gold[known], labels)
            )
        found.append(_confusion(name, "teacher", slot, probs, answers, labels))
    return found


def _confusion(
    model: str,
    against: str,
    slot: int | None,
    probs: NDArray[np.float64],
    reference: NDArray[np.int64],
    labels: list[str],
) -> Confusion:
    counts = np.asarray(metrics.confusion(probs, reference), dtype=np.int64)
    totals = counts.sum(axis=1)
    if len(labels) <= TABLE_LABELS:
        shares = counts / np.maximum(totals, 1)[:, None]
        return Confusion(model, against, slot, counts.tolist(), shares.tolist(), [])
    off = counts.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:MIX_UPS]
    pairs = [divmod(int(position), len(labels)) for position in order]
    mix_ups = [
        (labels[row], labels[column], int(off[row, column]), int(totals[row]))
        for row, column in pairs
        if off[row, column]
    ]
    return Confusion(model, against, slot, [], [], mix_ups)
