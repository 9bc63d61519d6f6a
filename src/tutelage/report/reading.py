"""A finished run, read from its folder: what the page needs and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tutelage import runs
from tutelage.errors import DataError, RunIncomplete, ShapeMismatch
from tutelage.report.document_scores import read_document_scores

Probs = NDArray[np.float64]
Tested = TypeVar("Tested")
"""What predictions.parquet holds of each test row or document: `Predictions` or
`DocumentScores`."""


@dataclass(frozen=True)
class Predictions:
    """The test rows and what every model answered."""

    texts: list[str]
    """The texts, as the models saw them."""
    gold: NDArray[np.int64]
    """Label indexes [N], -1 where nobody labelled the row."""
    places: list[str]
    """File and row of each text, for people who want to look it up."""
    teacher: Probs
    """The teacher's probabilities [N, C]."""
    students: dict[str, Probs]
    """Probabilities [N, C] by student."""
    controls: dict[str, Probs]
    """Probabilities [N, C] by student, of the same network trained on labels alone."""


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
    evaluation: Mapping[str, Any]
    """evaluation.json."""
    predictions: Tested
    """predictions.parquet."""
    student_curves: dict[str, list[dict[str, Any]]]
    """metrics.jsonl by student; empty lists where there is none."""
    control_curves: dict[str, list[dict[str, Any]]]
    """metrics.jsonl by student, of the control."""

    @property
    def task(self) -> str:
        """Classification or causal_lm."""
        return task_of(self.evaluation)

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of the probabilities."""
        return list(self.evaluation["labels"])

    @property
    def students(self) -> list[str]:
        """Names of the students, in the order of the recipe."""
        return list(self.evaluation["students"])


def task_of(evaluation: Mapping[str, Any]) -> str:
    """The task that an evaluation judged; those of classifications do not name it."""
    return str(evaluation.get("task", "classification"))


def read_run(run: Path) -> Records[Any]:
    """Read what a run left behind.

    Args:
        run: The run folder.

    Returns:
        The records; their predictions are `Predictions` with gold labels as indexes, or
        `DocumentScores` where the task is causal_lm.

    Raises:
        RunIncomplete: The recipe, the evaluation or the predictions are not there yet.
        DataError: One of these files cannot be read, or names a label or a task that is not known.
        ShapeMismatch: The predictions hold another number of labels than the evaluation.
    """
    folder = runs.RunFolder(run)
    recipe_text = _needed(folder.recipe_path, run).read_text(encoding="utf-8")
    evaluation = _json(_needed(folder.evaluation_path, run))
    match task_of(evaluation):
        case "classification":
            needed, read_predictions = ("labels", "rows"), _predictions
        case "causal_lm":
            needed, read_predictions = ("documents", "tokens"), read_document_scores
        case other:
            raise DataError(
                f"{folder.evaluation_path} speaks of the task {other!r}, which this version has no "
                "report for; "
                "expected classification or causal_lm"
            )
    missing = [key for key in (*needed, "teacher", "students") if key not in evaluation]
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
        predictions=read_predictions(_needed(folder.predictions_path, run), evaluation),
        student_curves={
            name: _curve(folder.students_path / name) for name in evaluation["students"]
        },
        control_curves={
            name: _curve(folder.controls_path / name) for name in evaluation.get("controls", {})
        },
    )


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


def _predictions(path: Path, evaluation: Mapping[str, Any]) -> Predictions:
    """The test rows, checked against the labels and models of the evaluation."""
    table = pq.read_table(path)
    labels = {label: index for index, label in enumerate(evaluation["labels"])}
    wanted = [
        "source",
        "row",
        "text",
        "label",
        "teacher",
        *(f"students.{name}" for name in evaluation["students"]),
    ]
    wanted += [f"controls.{name}" for name in evaluation.get("controls", {})]
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)} that evaluation.json speaks of: "
            "evaluate the run again"
        )

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
                "rows and "
                f"{len(labels)} labels: "
                "evaluate the run again"
            )
        return flat.reshape(table.num_rows, len(labels))

    return Predictions(
        texts=["" if text is None else str(text) for text in table["text"].to_pylist()],
        gold=np.array([-1 if label is None else labels[label] for label in gold], dtype=np.int64),
        places=[
            f"{Path(source).name}, row {row}" if source else f"row {row}"
            for source, row in zip(
                table["source"].to_pylist(), table["row"].to_pylist(), strict=True
            )
        ],
        teacher=probs("teacher"),
        students={name: probs(f"students.{name}") for name in evaluation["students"]},
        controls={name: probs(f"controls.{name}") for name in evaluation.get("controls", {})},
    )
