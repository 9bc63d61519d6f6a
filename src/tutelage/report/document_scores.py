"""The test documents of a language-model run, and how well every model predicted each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage import metrics
from tutelage.errors import DataError

Values = NDArray[np.float64]


@dataclass(frozen=True)
class DocumentScores:
    """The test documents and what every model made of them."""

    texts: list[str]
    """The texts, as the models read them."""
    places: list[str]
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


def read_document_scores(path: Path, evaluation: Mapping[str, Any]) -> DocumentScores:
    """Read predictions.parquet of a language-model run.

    Args:
        path: The file.
        evaluation: The content of evaluation.json, which says whose columns are there.

    Raises:
        DataError: A column is missing.
    """
    table = pq.read_table(path)
    students, controls = list(evaluation["students"]), list(evaluation.get("controls", {}))
    wanted = [
        "source",
        "row",
        "text",
        "tokens",
        "teacher",
        *(f"students.{name}" for name in students),
    ]
    wanted += [f"students.{name}.kl" for name in students] + [
        f"controls.{name}" for name in controls
    ]
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)} that evaluation.json speaks of: "
            "evaluate the run again"
        )

    def values(column: str) -> Values:
        """One column, [N]."""
        return np.asarray(table[column].to_numpy(), dtype=np.float64)

    rows = list(zip(table["source"].to_pylist(), table["row"].to_pylist(), strict=True))
    return DocumentScores(
        texts=["" if text is None else str(text) for text in table["text"].to_pylist()],
        places=[
            f"{Path(source).name}, row {row}" if source else f"row {row}" for source, row in rows
        ],
        units=metrics.units_of(rows),
        tokens=values("tokens"),
        teacher=values("teacher"),
        students={name: values(f"students.{name}") for name in students},
        controls={name: values(f"controls.{name}") for name in controls},
        student_kl={name: values(f"students.{name}.kl") for name in students},
    )
