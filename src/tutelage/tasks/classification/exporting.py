"""What an export of a student is held against, and what is told with it: the question, the rows of
its run, who taught it, how good it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tutelage.export import Origin, Rows
from tutelage.runs import RunFolder, read_json, require_undamaged
from tutelage.tasks.classification.data import read_data
from tutelage.tasks.classification.recipe import Recipe


def origin_of(recipe: Recipe, folder: RunFolder) -> Origin:
    """What is known of the students of a run.

    Test rows are those that the run wrote down with its evaluation; validation rows are read from
    the files of the recipe, and left out where these are not there any more.

    Args:
        recipe: Of the run.
        folder: The run; evaluated or not.

    Raises:
        RunDamaged: A file is not what the run wrote.
    """
    teacher = recipe.teacher
    known = dict(folder.stage("teacher").facts)
    facts = {
        "teacher": {
            "kind": teacher.kind,
            "model": known.get("model") or str(getattr(teacher, "model", None) or ""),
            "description": known.get("description", ""),
        },
        "terms": known.get("terms") or getattr(teacher, "terms", None),
    }
    measured = folder.evaluation_path.is_file()
    if measured:
        require_undamaged(folder.path, ["evaluation"])
    return Origin(
        descriptions=dict(recipe.task.descriptions or {}),
        instructions=getattr(teacher, "instruction", None),
        tested=_tested(folder, recipe.task.labels) if folder.predictions_path.is_file() else None,
        validation=_validation(recipe),
        facts=facts,
        numbers=read_json(folder.evaluation_path)["students"] if measured else {},
    )


def _tested(folder: RunFolder, labels: Sequence[str]) -> Rows:
    """Test rows, with their labels and what the teacher said."""
    table = pq.read_table(folder.predictions_path, columns=["text", "label", "teacher"])
    place = {label: index for index, label in enumerate(labels)}
    gold: list[Any] = table["label"].to_pylist()
    return Rows(
        table["text"].to_pylist(),
        np.array([place.get(label, -1) for label in gold], dtype=np.int64),
        np.array(table["teacher"].to_pylist(), dtype=np.float32),
        name="test rows",
    )


def _validation(recipe: Recipe) -> Rows | None:
    """Validation rows and their labels; None where they cannot be read."""
    prepared, _ = read_data(recipe)
    if prepared is None:
        return None
    rows = prepared.validation
    gold = [-1 if row.label is None else row.label for row in rows]
    return Rows([row.text for row in rows], np.array(gold, dtype=np.int64))
