"""A finished run, read from its folder: what the page needs and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tutelage import runs
from tutelage.errors import DataError, RunIncomplete
from tutelage.report.measures import Evaluation
from tutelage.report.words import TaskWords, Tested
from tutelage_runtime.certificate import CertificateError, read_certificate


@dataclass(frozen=True)
class Records(Generic[Tested]):
    """Everything a run left behind that the report shows."""

    name: str
    """Name of the run."""
    recipe_text: str
    """The recipe as it was run."""
    recipe: Mapping[str, Any]
    """The recipe, parsed but not validated."""
    provenance: Mapping[str, Any]
    """provenance.json, empty if the run has none."""
    evaluation: Evaluation
    """evaluation.json."""
    predictions: Tested
    """predictions.parquet, as the task reads it."""
    student_curves: dict[str, list[dict[str, Any]]]
    """metrics.jsonl by student; empty lists where there is none."""
    control_curves: dict[str, list[dict[str, Any]]]
    """metrics.jsonl by student, of the control."""
    certificates: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """certificate.json by student; damaged ones are none."""

    @property
    def students(self) -> list[str]:
        """Names of the students, in the order of the recipe."""
        return list(self.evaluation["students"])


def read_run(run: Path, words: TaskWords[Tested]) -> Records[Tested]:
    """Read what a run left behind.

    Args:
        run: The run folder.
        words: What its task says.

    Returns:
        The records, with what the task reads from predictions.parquet.

    Raises:
        RunIncomplete: The recipe, the evaluation or the predictions are not there yet.
        DataError: One of these files cannot be read, is of another task, or does not match the
            others.
        ShapeMismatch: The predictions hold another number of labels than the evaluation.
    """
    folder = runs.RunFolder(run)
    recipe_text = _needed(folder.recipe_path, run).read_text(encoding="utf-8")
    evaluation = _json(_needed(folder.evaluation_path, run))
    # One that does not name its task is of the recipe's.
    if (task := evaluation.get("task", words.task)) != words.task:
        raise DataError(
            f"{folder.evaluation_path} speaks of the task {task!r}; expected {words.task}, which "
            "the recipe of this run is about: evaluate the run again"
        )
    missing = [key for key in (*words.needed, "teacher", "students") if key not in evaluation]
    if missing:
        raise DataError(
            f"{folder.evaluation_path} lacks {', '.join(missing)}: evaluate again with tutelage "
            f"evaluate {run}"
        )
    provenance = _json(folder.provenance_path) if folder.provenance_path.exists() else {}
    return Records(
        name=str(provenance.get("name") or run.resolve().name),
        recipe_text=recipe_text,
        recipe=_recipe(recipe_text, folder.recipe_path),
        provenance=provenance,
        evaluation=evaluation,
        predictions=words.read_tested(_needed(folder.predictions_path, run), evaluation),
        student_curves={
            name: _curve(folder.students_path / name) for name in evaluation["students"]
        },
        control_curves={
            name: _curve(folder.controls_path / name) for name in evaluation.get("controls", {})
        },
        certificates=_certificates(folder.certificates_path),
    )


def _certificates(folder: Path) -> dict[str, Mapping[str, Any]]:
    """What each certificate of a run says."""
    found = {}
    for path in sorted(folder.glob("*/certificate.json")):
        with suppress(CertificateError):
            found[path.parent.name] = read_certificate(path).values
    return found


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """A table of predictions with the columns that the evaluation speaks of, and the texts' origin.

    Args:
        path: predictions.parquet.
        columns: What must be there beside `source`, `row` and `text`.

    Raises:
        DataError: A column is missing.
    """
    table = pq.read_table(path)
    missing = [
        name for name in ("source", "row", "text", *columns) if name not in table.column_names
    ]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)} that evaluation.json speaks of: "
            "evaluate the run again"
        )
    return table


def texts_of(table: pa.Table) -> list[str]:
    """The texts of a table of predictions."""
    return ["" if text is None else str(text) for text in table["text"].to_pylist()]


def sources_of(table: pa.Table) -> list[str]:
    """File and row of each text, for people who want to look it up."""
    rows = zip(table["source"].to_pylist(), table["row"].to_pylist(), strict=True)
    return [f"{Path(source).name}, row {row}" if source else f"row {row}" for source, row in rows]


def _needed(path: Path, run: Path) -> Path:
    """The path, if the stage that writes it has been done."""
    if not path.exists():
        raise RunIncomplete(
            f"{run} holds no {path.name}, which the report is made of: finish the run first with "
            f"tutelage run {run}"
        )
    return path


def _json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not JSON ({error}): delete it and evaluate the run again"
        ) from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} holds a {type(content).__name__} where an object is expected: delete it and "
            "evaluate the run again"
        )
    return content


def _recipe(text: str, path: Path) -> Mapping[str, Any]:
    """The recipe as plain mappings."""
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise DataError(
            f"{path} is not YAML: restore the recipe that the run was made with"
        ) from error
    return content if isinstance(content, dict) else {}


def _curve(folder: Path) -> list[dict[str, Any]]:
    """The training log of one network; empty for networks that were not trained here."""
    path = folder / "metrics.jsonl"
    return runs.MetricsLog.read(path) if path.exists() else []
