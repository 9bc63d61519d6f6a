"""The test documents of a language-model run, and how well every model predicted each of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage import metrics
from tutelage.report.measures import Evaluation
from tutelage.report.reading import read_columns, sources_of, texts_of

Values = NDArray[np.float64]


@dataclass(frozen=True)
class DocumentScores:
    """The test documents and what every model made of them."""

    texts: list[str]
    """The texts, as the models read them."""
    sources: list[str]
    """File and row of each document, for people who want to look it up."""
    units: NDArray[np.int64]
    """Which whole document each belongs to, [N]: pieces of one row are resampled together."""
    tokens: Values
    """Predicted tokens of each document, [N]."""
    teacher: Values
    """The teacher's mean nats per token, [N]."""
    students: dict[str, Values]
    """The same by student, [N]."""
    controls: dict[str, Values]
    """The same by student, of the same network trained on the text alone, [N]."""
    student_kl: dict[str, Values]
    """Mean KL(teacher || student) per token in nats, by student, [N]."""

    @property
    def in_pieces(self) -> bool:
        """Whether a document was split."""
        return len(set(self.units.tolist())) < len(self.units)


def read_document_scores(path: Path, evaluation: Evaluation) -> DocumentScores:
    """Read predictions.parquet of a language-model run.

    Args:
        path: The file.
        evaluation: The content of evaluation.json, which says whose columns are there.

    Raises:
        DataError: A column is missing.
    """
    students, controls = list(evaluation["students"]), list(evaluation.get("controls", {}))
    columns = [f"students.{name}" for name in students]
    columns += [f"students.{name}.kl" for name in students]
    columns += [f"controls.{name}" for name in controls]
    table = read_columns(path, ["tokens", "teacher", *columns])

    def values(column: str) -> Values:
        """One column, [N]."""
        return np.asarray(table[column].to_numpy(), dtype=np.float64)

    rows = list(zip(table["source"].to_pylist(), table["row"].to_pylist(), strict=True))
    return DocumentScores(
        texts=texts_of(table),
        sources=sources_of(table),
        units=metrics.units_of(rows),
        tokens=values("tokens"),
        teacher=values("teacher"),
        students={name: values(f"students.{name}") for name in students},
        controls={name: values(f"controls.{name}") for name in controls},
        student_kl={name: values(f"students.{name}.kl") for name in students},
    )
