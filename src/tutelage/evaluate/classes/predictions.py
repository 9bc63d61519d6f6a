"""predictions.parquet: every test row with the answer of every model, for the report and for
whoever wants to look.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.types import Example


def write_predictions(
    path: Path,
    examples: Sequence[Example],
    *,
    labels: Sequence[str],
    teacher: NDArray[np.floating],
    students: Mapping[str, NDArray[np.floating]],
    controls: Mapping[str, NDArray[np.floating]] | None = None,
) -> None:
    """Write the test rows beside every model's probabilities, atomically.

    Args:
        path: The Parquet file to write; an older one is replaced whole.
        examples: The test rows.
        labels: Names of the labels, in the order of the probabilities.
        teacher: The teacher's probabilities [N, C].
        students: Probabilities [N, C] by student.
        controls: Probabilities [N, C] by student, from the same network trained without the
            teacher.
    """
    columns: dict[str, pa.Array] = {
        "example_id": pa.array([example.example_id.hex() for example in examples], pa.string()),
        "source": pa.array([example.source for example in examples], pa.string()),
        "row": pa.array([example.row for example in examples], pa.int64()),
        "text": pa.array([example.text for example in examples], pa.string()),
        "label": pa.array(
            [None if example.label is None else labels[example.label] for example in examples],
            pa.string(),
        ),
        "teacher": _probabilities(teacher),
    }
    columns |= {f"students.{name}": _probabilities(probs) for name, probs in students.items()}
    columns |= {
        f"controls.{name}": _probabilities(probs) for name, probs in (controls or {}).items()
    }
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.table(columns), temporary, compression="zstd")
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _probabilities(probs: NDArray[np.floating]) -> pa.Array:
    """A [N, C] array as one list of float32 per row."""
    return pa.array(list(np.asarray(probs, dtype=np.float32)), pa.list_(pa.float32()))
