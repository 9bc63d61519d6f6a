"""What an export of a student is held against, and what is told with it: the question, the rows of
its run, who taught it, how good it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tutelage.config.writing import as_yaml
from tutelage.data import Prepared
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
    evaluation: dict[str, Any] = {}
    if folder.evaluation_path.is_file():
        require_undamaged(folder.path, ["evaluation"])
        evaluation = read_json(folder.evaluation_path)
    prepared, _ = read_data(recipe)
    return Origin(
        descriptions=dict(recipe.task.descriptions or {}),
        instructions=getattr(teacher, "instruction", None),
        tested=_tested(folder, recipe.task.labels) if folder.predictions_path.is_file() else None,
        validation=None if prepared is None else _validation(prepared),
        facts=facts,
        numbers=evaluation.get("students", {}),
        run={
            "name": recipe.name,
            "data": {} if prepared is None else prepared.facts,
            "recipe": {name: recipe_of_student(recipe, name) for name in recipe.students},
            "teacher": evaluation.get("teacher"),
            "controls": evaluation.get("controls"),
            "rows": evaluation.get("rows"),
            "level": (evaluation.get("bootstrap") or {}).get("level"),
        },
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


def _validation(prepared: Prepared) -> Rows:
    """Validation rows and their labels."""
    rows = prepared.validation
    gold = [-1 if row.label is None else row.label for row in rows]
    return Rows([row.text for row in rows], np.array(gold, dtype=np.int64))


def recipe_of_student(recipe: Recipe, student: str) -> str:
    """What made one student, as YAML; of paths only the last part, for a card may be public."""
    shown = recipe.model_copy(update={"students": {student: recipe.students[student]}})
    kept = ("teacher", "label", "targets", "students", "objective", "train")
    values = {key: value for key, value in shown.model_dump(mode="json").items() if key in kept}
    return as_yaml(_without_places(values))


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value
