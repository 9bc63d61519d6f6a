"""A student at work: texts in, label and probabilities out, or what a language model writes after
each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.data import read_table
from tutelage.data.limits import USUAL
from tutelage.errors import DataError, RecipeError, RunDamaged, RunIncomplete
from tutelage.recipes.answer_tables import DELIMITERS, WRITERS, as_text, is_formula
from tutelage.recipes.loading import load_recipe
from tutelage.report import preference
from tutelage.report.preference import KEY as PREFERRED
from tutelage.runs import place_for, replacing, require_undamaged, storing
from tutelage.runs.storage import require_utf8
from tutelage.tasks import all_tasks, task_named
from tutelage.tasks.task import CONFIG_FILE, Answering, Task
from tutelage.types import SILENT, Example, Progress

DEFAULT_TEXT_COLUMN = "text"
STUDENTS = ("students", "controls")
"""Folders of a run whose folders are students."""


def recipe_of(path: Path) -> Any:
    """The recipe of the run that a student lies in.

    Args:
        path: A run folder, or a student's folder in it.

    Returns:
        A recipe of either task; None where there is none, or none that this version reads.

    Raises:
        RunDamaged: It is not what the run wrote.
    """
    run = run_of(path)
    require_undamaged(run, ["recipe"])
    if not (run / "recipe.yaml").is_file():
        return None
    try:
        return load_recipe(run / "recipe.yaml")
    except RecipeError:
        return None


def run_of(path: Path) -> Path:
    """The run folder that a student's folder lies in; the path itself where it lies in none."""
    place = path.resolve()
    return place.parent.parent if place.parent.name in STUDENTS else place


def student_folder(path: Path, student: str | None = None) -> Path:
    """The folder of a student: `path` itself, or one of a run's students.

    Args:
        path: A model folder, or a run folder.
        student: A name in the run; None takes the one that `evaluate.prefer` of the recipe chose;
            where it did not, the student with the best accuracy on the test rows, of language
            models the one with the fewest nats per token (the first one if the run has not been
            evaluated).

    Raises:
        RunIncomplete: There is no trained student there.
        RunDamaged: What the best one is chosen by is not what was measured.
        RecipeError: The run has no student of that name.
    """
    if holds_model(path):
        if student is not None and student != path.resolve().name:
            raise RecipeError(
                f"{path} is the folder of one student, not of a run that has a student "
                f"{student!r}: leave the name out, or give the run folder"
            )
        return path
    students = path / "students"
    with storing(students):
        inside = list(students.iterdir()) if students.is_dir() else []
        names = sorted(found.name for found in inside if holds_model(found))
    if not names:
        raise RunIncomplete(
            f"{path} holds neither a model (config.json) nor trained students "
            "(students/NAME/config.json). "
            "Give a student folder or a run folder; train one with: tutelage run recipe.yaml"
        )
    if student is not None:
        if student not in names:
            raise RecipeError(f"{path} has no student {student!r}; it has {', '.join(names)}")
        return path / "students" / student
    evaluation = path / "evaluation.json"
    if evaluation.is_file():
        require_undamaged(path, ["evaluation"])
        found = _evaluation(evaluation)
        task = task_of(path, kind=found.get("task"))
        return path / "students" / best_student(found, names, task=task)
    return path / "students" / names[0]


def best_student(evaluation: Mapping[str, Any], names: Sequence[str], *, task: Task) -> str:
    """Which of some students answers where none is named, by what its task holds best; see
    `report.preference.best_student`.
    """
    metric, higher = task.best_metric
    return preference.best_student(evaluation, names, metric=metric, higher_is_better=higher)


def _evaluation(path: Path) -> dict[str, Any]:
    """evaluation.json, as far as a student is chosen by it."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return {
            "task": found.get("task"),
            "students": dict(found["students"]),
            PREFERRED: dict(found.get(PREFERRED) or {}),
        }
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise RunDamaged(
            f"{path} is no evaluation any more ({type(error).__name__}), so nobody knows the best "
            f"student. Make it again: tutelage evaluate {path.parent}; or name one with --student"
        ) from error


def holds_model(folder: Path) -> bool:
    """Whether a student lies in a folder: a model in the layout of transformers, whoever made it,
    or what a task knows as its own.
    """
    return (folder / CONFIG_FILE).is_file() or any(task.made(folder) for task in all_tasks())


def task_of(path: Path, *, kind: str | None = None) -> Task:
    """The task of a run or of a student: the kind that it is known to be of, else what the recipe
    says, else what the student's own files say.
    """
    recipe = recipe_of(path) if kind is None else None
    known = kind if recipe is None else recipe.task.kind
    if known is not None:
        return task_named(known)
    return next((task for task in all_tasks() if task.made(path)), task_named("classification"))


def load_student(folder: Path) -> tuple[Task, Answering]:
    """A student at work, whatever its task.

    Args:
        folder: Its folder, in a run or not.

    Raises:
        ModelError: It cannot be loaded.
        RunDamaged: It, or the recipe of its run, is not what was made.
    """
    require_utf8(folder)  # libraries could not open what lies there
    place = folder.resolve()
    if place.parent.name in STUDENTS:
        require_undamaged(run_of(folder), [f"{place.parent.name}/{place.name}"])
    recipe = recipe_of(folder)
    task = task_of(folder, kind=None if recipe is None else recipe.task.kind)
    return task, task.load(folder, recipe)


def predict_texts(
    path: Path, texts: Sequence[str], *, student: str | None = None, batch_size: int = 64
) -> list[dict[str, Any]]:
    """Answer texts: `{"text", "label", "probabilities": {label: p}}` for each, in order.

    A language model gives `{"text", "continuation"}`.
    """
    _, answers = answer_texts(path, texts, student=student, batch_size=batch_size)
    return [{"text": text, **answer} for text, answer in zip(texts, answers, strict=True)]


def answer_texts(
    path: Path, texts: Sequence[str], *, student: str | None = None, batch_size: int = 64
) -> tuple[Answering, list[dict[str, Any]]]:
    """The student that answers, and its answer to each text.

    Raises:
        DataError: A text is empty or no Unicode text.
        RecipeError: The batch size is none.
    """
    require_batch_size(batch_size)
    require_texts(texts)
    _, at_work = load_student(student_folder(path, student))
    return at_work, at_work.answer(texts, batch_size=batch_size)


def require_texts(texts: Sequence[str]) -> None:
    """Refuse texts that cannot be answered.

    Raises:
        DataError: One is empty or no Unicode text.
    """
    for position, text in enumerate(texts, start=1):
        if not text.strip():
            raise DataError(f"text {position} is empty: there is nothing to answer in it")
        if re.search("[\ud800-\udfff]", text):
            raise DataError(
                f"text {position} holds bytes that are not UTF-8: {text!r}; give it as UTF-8"
            )


def require_batch_size(batch_size: int) -> None:
    """Refuse a number of texts at a time that is none.

    Raises:
        RecipeError: It is below 1.
    """
    if batch_size < 1:
        raise RecipeError(f"batch_size is {batch_size}: expected a whole number of at least 1")


def predict_file(
    path: Path,
    file: Path,
    *,
    out: Path | None = None,
    student: str | None = None,
    text_field: str | None = None,
    batch_size: int = 64,
    spreadsheet_safe: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Answer every row of a file.

    Args:
        path: A student folder or a run folder.
        file: csv, tsv, jsonl or parquet with a text column.
        out: Where answers go, its ending chooses the format; None means `NAME.predicted.csv` beside
            `file`.
        student: Which student of a run.
        text_field: The text column; None means the one that the run's recipe names, `text` where
            there is no run.
        batch_size: Texts at a time.
        spreadsheet_safe: Write an apostrophe before what a spreadsheet would take for a formula, so
            that it shows it as text; for csv and tsv.
        progress: Where the bar goes.

    Returns:
        `{"rows", "out", "student", "formulas"}`, the last the number of cells of a csv or tsv that
        begin as formulas do. Columns written: row, text, label, and `p_LABEL` for each class; of a
        language model row, text and continuation.

    Raises:
        RecipeError: The file has no such column, or rows that cannot be used; the batch size is
            none; `spreadsheet_safe` has no meaning for the format.
        DataError: The file cannot be read, or `out` has an ending that is not known, is the input
            itself, or is to lie in a folder that is not there.
        StorageError: `out` cannot be written; what lay there is still there.
    """
    require_batch_size(batch_size)
    target = out if out is not None else file.with_name(f"{file.stem}.predicted.csv")
    ending = target.suffix.lower()
    if spreadsheet_safe and ending in WRITERS and ending not in DELIMITERS:
        raise RecipeError(
            f"spreadsheet_safe is about csv and tsv, and {target} is neither: leave it out"
        )
    examples = examples_of(
        path, file, target, out_given=out is not None, endings=tuple(WRITERS), text_field=text_field
    )
    folder = student_folder(path, student)
    task, at_work = load_student(folder)
    rows: list[dict[str, Any]] = []
    with progress.bar(task.at_work, total=len(examples), unit="texts") as advance:
        for start in range(0, len(examples), task.texts_at_once):
            part = examples[start : start + task.texts_at_once]
            answers = at_work.answer([example.text for example in part], batch_size=batch_size)
            for example, answer in zip(part, answers, strict=True):
                cells = at_work.columns(answer)
                rows.append({"row": example.row, "text": example.text, **cells})
            advance(len(part))
    formulas = 0
    if ending in DELIMITERS:
        formulas = sum(is_formula(cell) for row in rows for cell in row.values())
        rows = [as_text(row) for row in rows] if spreadsheet_safe else rows
    with replacing(place_for(target)) as beside:
        WRITERS[ending](beside, rows)
    return {"rows": len(rows), "out": str(target), "student": folder.name, "formulas": formulas}


def examples_of(
    path: Path,
    file: Path,
    target: Path,
    *,
    out_given: bool,
    endings: Sequence[str],
    text_field: str | None,
) -> Sequence[Example]:
    """The rows of a file, once it is sure that there is a place for what is said to them.

    Args:
        path: A student folder or a run folder.
        file: csv, tsv, jsonl or parquet with a text column.
        target: Where the results go.
        out_given: Whether a person chose that place.
        endings: That it may have.
        text_field: The text column; None: as in `predict_file`.

    Raises:
        RecipeError, DataError, StorageError: As in `predict_file`.
    """
    if target.suffix.lower() not in endings:
        raise DataError(
            f"{target}: ending {target.suffix!r} is not known; use one of {', '.join(endings)}"
        )
    if target.resolve() == file.resolve():
        raise DataError(f"--out {target} is the input file itself: give another name")
    if out_given and not target.parent.is_dir():
        raise DataError(
            f"--out {target}: there is no folder {target.parent}; make it, or choose another place"
        )
    if not file.exists():
        raise DataError(
            f"--file {file}: there is no such file; correct the path, which starts where you stand"
        )
    place_for(target)  # asked before the work
    table, problems = read_table(
        file,
        text_field=text_field if text_field is not None else text_column(path),
        label_field=None,
        column_advice="Name the right one with --text-field",
        limits=getattr(getattr(recipe_of(path), "data", None), "limits", USUAL),
    )
    if any(problem.severity == "error" for problem in problems):
        raise RecipeError(problems)
    return table.examples


def text_column(path: Path) -> str:
    """The text column of a run's data, as its recipe names it; where there are prompts with
    responses, the prompt.

    Args:
        path: A run folder, or a student's folder in it.

    Returns:
        The name; `text` where there is no recipe, or none that this version reads.
    """
    recipe = recipe_of(path)
    known = None if recipe is None else task_named(recipe.task.kind).text_column(recipe)
    return known or DEFAULT_TEXT_COLUMN
