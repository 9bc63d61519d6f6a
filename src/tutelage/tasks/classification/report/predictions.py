"""The test rows of a classification run with everybody's probabilities, and what is taken for what:
whole tables for few labels, the commonest mix-ups for many.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage import metrics
from tutelage.errors import DataError, ShapeMismatch
from tutelage.report.measures import Evaluation
from tutelage.report.reading import read_columns, sources_of, texts_of
from tutelage.report.scores import RowScores

Probs = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """The test rows and what every model answered."""

    texts: list[str]
    """The texts, as the models saw them."""
    gold: NDArray[np.int64]
    """Label indexes [N], -1 where nobody labelled the row."""
    sources: list[str]
    """File and row of each text, for people who want to look it up."""
    teacher: Probs
    """The teacher's probabilities [N, C]."""
    students: dict[str, Probs]
    """Probabilities [N, C] by student."""
    controls: dict[str, Probs]
    """Probabilities [N, C] by student, of the same network trained on labels alone."""


def read_predictions(path: Path, evaluation: Evaluation) -> Predictions:
    """Read predictions.parquet of a classification run.

    Args:
        path: The file.
        evaluation: The content of evaluation.json, which says whose columns are there.

    Raises:
        DataError: A column is missing, or a label is not among those of the evaluation.
        ShapeMismatch: A model's probabilities are not one for each label.
    """
    labels = {label: index for index, label in enumerate(evaluation["labels"])}
    students, controls = list(evaluation["students"]), list(evaluation.get("controls", {}))
    columns = [f"students.{name}" for name in students] + [f"controls.{name}" for name in controls]
    table = read_columns(path, ["label", "teacher", *columns])
    gold = table["label"].to_pylist()
    unknown = sorted({label for label in gold if label is not None and label not in labels})
    if unknown:
        raise DataError(
            f"{path} holds the label {unknown[0]!r}, which evaluation.json does not list: evaluate "
            "the run again"
        )

    def probs(column: str) -> Probs:
        """One column of lists as [N, C]."""
        values = table[column].combine_chunks()
        flat = np.asarray(values.flatten(), dtype=np.float64)
        if flat.size != table.num_rows * len(labels):
            raise ShapeMismatch(
                f"column {column} of {path} holds {flat.size} probabilities for {table.num_rows} "
                f"rows and {len(labels)} labels: evaluate the run again"
            )
        return flat.reshape(table.num_rows, len(labels))

    return Predictions(
        texts=texts_of(table),
        gold=np.array([-1 if label is None else labels[label] for label in gold], dtype=np.int64),
        sources=sources_of(table),
        teacher=probs("teacher"),
        students={name: probs(f"students.{name}") for name in students},
        controls={name: probs(f"controls.{name}") for name in controls},
    )


def row_scores(path: Path, evaluation: Evaluation) -> RowScores:
    """What runs of the same labels are compared by: right answers and negative log-likelihood, on
    rows with the same text and the same gold label.

    Args:
        path: predictions.parquet.
        evaluation: The content of evaluation.json.

    Raises:
        DataError, ShapeMismatch: As `read_predictions`.
    """
    read, labels = read_predictions(path, evaluation), list(evaluation["labels"])
    table = read_columns(path, ["label"])
    labelled = (read.gold >= 0).astype(np.float64)
    gold = np.maximum(read.gold, 0)

    def scores(probs: Probs) -> dict[str, Probs]:
        """Nothing for rows without a label."""
        return {
            "accuracy": labelled * metrics.correct(probs, gold),
            "nll": labelled * metrics.nlls(probs, gold),
        }

    return RowScores(
        keys=[
            (text, labels[one] if one >= 0 else None)
            for text, one in zip(read.texts, read.gold, strict=True)
        ],
        places=[
            (source or "", row or 0)
            for source, row in zip(
                table["source"].to_pylist(), table["row"].to_pylist(), strict=True
            )
        ],
        totals={"accuracy": labelled, "nll": labelled},
        teacher=scores(read.teacher),
        students={name: scores(probs) for name, probs in read.students.items()},
    )


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
