"""The test rows of a classification run, and what every model answered to each of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError, ShapeMismatch
from tutelage.report.measures import Evaluation
from tutelage.report.reading import read_columns, sources_of, texts_of

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
