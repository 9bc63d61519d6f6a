"""What lies in a folder of runs: `tutelage runs`.

In: the folder. Out: of every run its task, teacher, the student that `predict` would take, what
that one keeps and costs, age, size and state. A run that is damaged is listed with what is wrong
with it; nothing is written, and no file of a stage is read but recipe and evaluation.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import RunIncomplete, TutelageError
from tutelage.recipes.predicting import best_student, recipe_of
from tutelage.report.comparisons import cost_ratio
from tutelage.report.measures import Measure
from tutelage.report.preference import KEY as PREFERRED
from tutelage.runs import RunFolder, read_json, recorded, storing
from tutelage.runs.endings import broken_endings
from tutelage.runs.folder import ANSWERS
from tutelage.runs.records import FOLDER
from tutelage.tasks import task_named

State = Literal["finished", "unfinished", "damaged"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measure of a student beside its teacher."""

    measure: Measure
    student: float
    teacher: float | None
    """None where the teacher has no such number."""
    ratio: float | None = None
    """Of a cost, how many times cheaper than the teacher the student is."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run at a glance."""

    path: Path
    state: State
    """`finished`: evaluated, with its report; `damaged`: a record cannot be read, or a file is gone
    or has another size than was written (`tutelage verify` reads every byte)."""
    problems: tuple[str, ...]
    """What is damaged, each on one line."""
    stages: tuple[str, ...]
    """Those that are done."""
    age_seconds: float
    """Since the last stage was done."""
    size_bytes: int
    """Of all files in it, each once."""
    task: str | None = None
    teacher: str | None = None
    student: str | None = None
    """The one that `predict` takes."""
    preferred: bool = False
    """Whether `evaluate.prefer` chose it."""
    quality: Quantity | None = None
    cost: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder of runs."""

    root: Path
    runs: list[RunSummary] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Folders in it that are no runs, by name."""


def list_runs(root: Path, *, now: float | None = None) -> Listing:
    """Every run in a folder, by name; of a run folder that one.

    Args:
        root: Where runs lie, or a run.
        now: The time that ages are counted from; None: now.

    Raises:
        RunIncomplete: There is no such folder.
        StorageError: It cannot be looked into.
    """
    if not root.is_dir():
        raise RunIncomplete(
            f"{root} is no folder; expected the one in which runs lie. Give it: tutelage runs ROOT"
        )
    now = time.time() if now is None else now
    if _is_run(root):
        return Listing(root, [_summary(root, now)])
    found = Listing(root)
    with storing(root):
        inside = sorted(path for path in root.iterdir() if path.is_dir())
    for path in inside:
        if _is_run(path):
            found.runs.append(_summary(path, now))
        elif not path.name.startswith(".") and path.name != ANSWERS:
            found.others.append(path.name)
    return found


def state_of(run: Path) -> tuple[State, list[str]]:
    """How far a run is, and each thing that is wrong with it, told from records and sizes of files.

    Args:
        run: The run folder.

    Raises:
        StorageError: It cannot be looked into.
    """
    stages = recorded(run)
    problems = [
        f"{stage.path.relative_to(run).as_posix()} cannot be read as a record"
        for stage in stages
        if stage.state == "broken"
    ]
    problems += [later for stage in stages if (later := stage.later_format) is not None]
    problems += broken_endings(RunFolder(run))
    damages = [damage for stage in stages for damage in stage.damages(sizes_only=True)]
    problems += [str(damage) for damage in damages if damage.matters]
    if not stages and _holds_results(RunFolder(run)):
        problems.append(f"{FOLDER} holds no record of a stage")
    if problems:
        return "damaged", problems
    folder, done = RunFolder(run), {stage.name for stage in stages}
    left = folder.evaluation_path.is_file() and folder.report_path.is_file()
    return ("finished" if left and {"evaluation", "report"} <= done else "unfinished"), []


def size_of(place: Path) -> int:
    """Bytes of a file, or of all files under a folder, each once; links are not followed."""
    sizes: dict[tuple[int, int], int] = {}
    for path in _files(place):
        try:
            found = path.lstat()
        except OSError:  # it went meanwhile
            continue
        sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def _files(place: Path) -> Iterator[Path]:
    if place.is_symlink() or not place.is_dir():
        yield place
        return
    for folder, _, names in os.walk(place):
        yield from (Path(folder, name) for name in names)


def _is_run(path: Path) -> bool:
    """Whether a run was made there, whatever became of it."""
    files = RunFolder(path)
    return (path / FOLDER).is_dir() or (files.recipe_path.is_file() and _holds_results(files))


def _holds_results(files: RunFolder) -> bool:
    made = (files.students_path, files.targets_path, files.evaluation_path)
    return any(one.exists() for one in made)


def _summary(path: Path, now: float) -> RunSummary:
    try:
        stages = recorded(path)
        state, problems = state_of(path)
        done = tuple(stage.name for stage in stages if stage.record())
        times = [stage.path.stat().st_mtime for stage in stages] or [path.stat().st_mtime]
    except (OSError, TutelageError) as error:
        return RunSummary(path, "damaged", (str(error),), (), 0.0, 0)
    facts: dict[str, Any] = {}
    for read in (_of_recipe, _of_evaluation):
        try:
            facts |= read(path, facts.get("task"))
        except (*_UNREADABLE, OSError, TutelageError) as error:
            if not problems:
                said = str(error) if isinstance(error, TutelageError) else _no_evaluation(error)
                state, problems = "damaged", [said]
    return RunSummary(
        path, state, tuple(problems), done, max(0.0, now - max(times)), size_of(path), **facts
    )


_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What is raised where evaluation.json holds something else."""


def _no_evaluation(error: Exception) -> str:
    return f"evaluation.json is no evaluation any more ({type(error).__name__})"


def _of_recipe(path: Path, _: str | None) -> dict[str, Any]:
    """Task and teacher; empty where the recipe is none that this version reads."""
    recipe = recipe_of(path)
    if recipe is None:
        return {}
    kind, model = recipe.teacher.kind, getattr(recipe.teacher, "model", None)
    if model is None and (file := getattr(recipe.teacher, "file", None)) is not None:
        model = file.name
    name = "" if model is None else f" {model if ':' in model else Path(model).name}"
    return {"task": recipe.task.kind, "teacher": f"{kind}{name}"}


def _of_evaluation(path: Path, kind: str | None) -> dict[str, Any]:
    """The student that `predict` takes, with its numbers; empty where nothing was evaluated."""
    file = RunFolder(path).evaluation_path
    if not file.exists():
        return {}
    evaluation = read_json(file)
    kind = evaluation.get("task", kind)
    task = task_named(kind)
    words, students = task.words(), evaluation["students"]
    name = best_student(evaluation, sorted(students), task=task)
    return {
        "task": kind,
        "student": name,
        "preferred": dict(evaluation.get(PREFERRED) or {}).get("student") == name,
        "quality": _first(words.measures.quality, evaluation, students[name]),
        "cost": _first(
            [one for one in words.measures.cost if one.column and one.column.faster],
            evaluation,
            students[name],
        ),
    }


def _first(
    measures: Any, evaluation: Mapping[str, Any], student: Mapping[str, Any]
) -> Quantity | None:
    """The first measure of the terminal's table that a student has."""
    for measure in measures:
        if measure.column is not None and measure.key in student:
            theirs = evaluation["teacher"].get(measure.key)
            return Quantity(
                measure,
                float(student[measure.key]["value"]),
                None if theirs is None else float(theirs["value"]),
                cost_ratio(evaluation, student, measure) if measure.column.faster else None,
            )
    return None
