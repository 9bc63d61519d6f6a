"""Students of several runs side by side: `tutelage compare`.

In: run folders of one task and label list. Out: every student and teacher on the test rows that all
of the runs share, each beside one student of the first run, with paired intervals: rows that are
hard for everybody cancel, so that two seeds or two recipes can be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tutelage import metrics
from tutelage.errors import DataError, RecipeError, RunDamaged, RunIncomplete
from tutelage.recipes.predicting import best_student, recipe_of
from tutelage.report.formats import plural
from tutelage.report.scores import Role, RowScores, Values, shared_rows
from tutelage.report.side_by_side import Contestant, SideBySide
from tutelage.runs import RunFolder, read_json, require_undamaged
from tutelage.tasks import task_named
from tutelage.tasks.task import Task

_Who = tuple[str, Role, str]
"""Run, role and name of a model."""


@dataclass(frozen=True, slots=True)
class _Run:
    name: str
    task: Task
    evaluation: Mapping[str, Any]
    scores: RowScores


def compare_runs(paths: Sequence[Path], *, samples: int = 2000, seed: int = 0) -> SideBySide:
    """Lay the students of several runs side by side.

    Args:
        paths: Run folders, at least two; differences are from the student of the first one that
            `predict` would take.
        samples: Resamples of the rows behind each interval.
        seed: Of the resampling; the same rows are drawn for everybody.

    Raises:
        RecipeError: The runs are of different tasks or labels, fewer than two, or one is given
            twice.
        RunIncomplete: A run has not been evaluated.
        RunDamaged: What was measured is not what a run recorded.
        DataError: They share no row that they can be compared on.
    """
    different = len({path.resolve() for path in paths})
    if different < max(2, len(paths)):
        raise RecipeError(
            f"{plural(len(paths), 'run folder')} given, {different} different; expected two or "
            "more, each once: tutelage compare runs/one runs/two"
        )
    runs = [_read(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    _require_one_job(runs)
    rows = shared_rows([run.scores for run in runs])
    if not rows[0]:
        raise DataError(
            f"{' and '.join(run.name for run in runs)} share no test row (text and label): compare "
            "runs that were evaluated on the same data"
        )
    totals = {
        measure: total
        for measure, values in runs[0].scores.totals.items()
        if (total := values[rows[0]]).sum() > 0
        and all(
            np.array_equal(total, run.scores.totals[measure][own])
            for run, own in zip(runs[1:], rows[1:], strict=True)
        )
    }
    if not totals:
        raise DataError(
            f"none of the {len(rows[0]):,} test rows that {' and '.join(run.name for run in runs)} "
            "share has a gold label, or the same tokens or bytes, so there is nothing to compare "
            "by: add labels to the test data and evaluate again"
        )
    units = metrics.units_of([runs[0].scores.places[row] for row in rows[0]])
    first, students = runs[0], sorted(runs[0].evaluation["students"])
    reference: _Who = (
        first.name,
        "student",
        best_student(first.evaluation, students, task=first.task),
    )
    sums: dict[_Who, dict[str, Values]] = {
        (run.name, role, name): {
            measure: np.bincount(units, weights=values[measure][own]).astype(np.float64)
            for measure in totals
        }
        for run, own in zip(runs, rows, strict=True)
        for role, name, values in run.scores.everybody()
    }
    below = {measure: np.bincount(units, weights=total) for measure, total in totals.items()}
    theirs = sums[reference]
    words, drawing = first.task.words(), {"samples": samples, "seed": seed}
    numbers = {
        (run.name, role, name): _numbers(run.evaluation, role, name)
        for run in runs
        for role, name, _ in run.scores.everybody()
    }
    costs = tuple(
        measure
        for measure in words.measures.cost
        if any(measure.key in found for found in numbers.values())
    )
    return SideBySide(
        task=first.task.kind,
        measures=tuple(words.measures[measure] for measure in totals),
        costs=costs,
        reference=(first.name, reference[2]),
        rows=len(rows[0]),
        rows_of={run.name: len(run.scores.keys) for run in runs},
        contestants=tuple(
            Contestant(
                *who,
                {
                    measure: metrics.ratio_interval(above, below[measure], **drawing).as_dict()
                    for measure, above in ours.items()
                },
                {}
                if who == reference
                else {
                    measure: metrics.ratio_interval(
                        above - theirs[measure], below[measure], **drawing
                    ).as_dict()
                    for measure, above in ours.items()
                },
                {
                    measure.key: numbers[who][measure.key]
                    for measure in costs
                    if measure.key in numbers[who]
                },
            )
            for who, ours in sums.items()
        ),
    )


def _numbers(evaluation: Mapping[str, Any], role: Role, name: str) -> Mapping[str, Any]:
    """What was measured of one model of a run."""
    if role == "teacher":
        return evaluation.get("teacher", {})
    return evaluation.get("students", {}).get(name) or {}


def _names(paths: Sequence[Path]) -> list[str]:
    """What runs are called: as much of the end of their paths as tells them apart."""
    parts = [path.resolve().parts for path in paths]
    return [
        next(
            "/".join(own[-length:])
            for length in range(1, len(own) + 1)
            if length == len(own) or [one[-length:] for one in parts].count(own[-length:]) == 1
        )
        for own in parts
    ]


def _read(path: Path, name: str) -> _Run:
    folder = RunFolder(path)
    for file in (folder.evaluation_path, folder.predictions_path):
        if not file.is_file():
            raise RunIncomplete(
                f"{path} holds no {file.name}, which runs are compared by. Give a run folder that "
                f"has been evaluated: tutelage evaluate {path}"
            )
    require_undamaged(path, ["evaluation"])
    try:
        evaluation = read_json(folder.evaluation_path)
        kind = evaluation.get("task")
        if kind is None and (recipe := recipe_of(path)) is not None:
            kind = recipe.task.kind
        task = task_named(kind)
        return _Run(
            name, task, evaluation, task.words().row_scores(folder.predictions_path, evaluation)
        )
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise RunDamaged(
            f"{path}: evaluation.json and predictions.parquet cannot be read together "
            f"({type(error).__name__}: {error}). Make them again: tutelage evaluate {path}"
        ) from error


def _require_one_job(runs: Sequence[_Run]) -> None:
    first = runs[0]
    for other in runs[1:]:
        if other.task.kind != first.task.kind:
            raise RecipeError(
                f"{first.name} is of the task {first.task.kind} and {other.name} of "
                f"{other.task.kind}: compare runs of one task"
            )
        here, there = (list(run.evaluation.get("labels", [])) for run in (first, other))
        if sorted(here) != sorted(there):
            raise RecipeError(
                f"{first.name} has the labels {', '.join(here)} and {other.name} the labels "
                f"{', '.join(there)}: compare runs of one label list"
            )
