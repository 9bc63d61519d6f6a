"""Soft labels for a file of texts, without a student: a table in, the same table with a label and
a probability for every class out.

What a teacher answered is kept in the user's cache folder by the content of the text: a call that
was killed goes on, and another file asks only about texts that are new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.data import read_table
from tutelage.data.formats import read_rows
from tutelage.data.limits import USUAL, ReadingLimits
from tutelage.data.rows import Problems
from tutelage.errors import DataError, Problem, RecipeError
from tutelage.recipes.answer_tables import WRITERS
from tutelage.runs import RunFolder, cache_folder, place_for, replacing, require_undamaged
from tutelage.types import SILENT, Example, Progress

if TYPE_CHECKING:
    from tutelage.teachers.keeping import KeptTeacher
    from tutelage.teachers.spec import ClassAssignment, TeacherSpec

KEPT_FOLDER = "labelled"
"""In the cache folder: teachers with what they answered."""
BEFORE = "_before"
"""Ends the name of a column of the file that the teacher's columns would hide."""


def teacher_named(
    model: str, labels: Sequence[str], *, kind: str = "prompted", instruction: str | None = None
) -> KeptTeacher:
    """A teacher that needs no rows: a language model that is asked, or a classifier as it is.

    Args:
        model: A folder, a .gguf file, a hub id, or package:NAME.
        labels: Class names.
        kind: `prompted`, or `classifier` for a model that classifies, or a saved teacher.
        instruction: What a prompted model is asked to do; None: a sentence made from the labels.

    Raises:
        RecipeError: Labels or model cannot be used.
    """
    from tutelage.teachers.classifier.fits import NoFit
    from tutelage.teachers.classifier.spec import ClassifierTeacherSpec
    from tutelage.teachers.prompted.spec import PromptedTeacherSpec
    from tutelage.teachers.spec import ClassAssignment

    spec: Any
    if kind == "classifier":
        if instruction is not None:
            raise RecipeError("--instruction is for a prompted model, and this is a classifier")
        spec = ClassifierTeacherSpec(model=model, fit=NoFit())
    else:
        spec = PromptedTeacherSpec(model=model, instruction=instruction)
    assignment = ClassAssignment(_usable(labels), train=())
    _require(
        replace(problem, where=f"--{problem.where or 'model'}")
        for problem in spec.problems(assignment)
    )
    return _kept(spec, assignment)


def _usable(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels as a recipe would take them."""
    from pydantic import ValidationError

    from tutelage.tasks.classification.sections import Task

    try:
        return Task(kind="classification", labels=tuple(labels)).labels
    except ValidationError as error:
        raise RecipeError([Problem("--labels", error.errors()[0]["msg"])]) from None


def teacher_of_recipe(recipe: Any, *, run: Path | None = None) -> KeptTeacher:
    """The teacher of a recipe: the one that a run has fitted, or else one to be made.

    Args:
        recipe: Of a classification.
        run: Its run folder; None: looked for under `runs/` where one stands.

    Raises:
        RecipeError: It is of another task, or its data or teacher cannot be used.
        RunDamaged: The run's teacher is not what was made.
    """
    if recipe.task.kind != "classification":
        raise RecipeError(
            f"{recipe.name} is a recipe of task {recipe.task.kind}; soft labels are of a "
            "classification: give such a recipe"
        )
    from tutelage.tasks.classification.data import prepare_data
    from tutelage.tasks.classification.job import answers_path
    from tutelage.tasks.classification.teaching import (
        assignment_of,
        require_teacher,
        teacher_spec,
    )

    data, spec = prepare_data(recipe), teacher_spec(recipe)
    require_teacher(recipe, data)
    beside = RunFolder(Path("runs") / recipe.name if run is None else run)
    assignment = assignment_of(recipe, data, answers=answers_path(beside))
    wanted = spec.fingerprint(assignment)
    places = sorted(Path("runs").glob("*")) if run is None else [run]
    for place in places:
        stage = RunFolder(place).stage("teacher")
        if stage.is_done(wanted):
            require_undamaged(place, ["teacher"])
            return _kept(spec, assignment, made=(RunFolder(place).teacher_path, stage.facts))
    return _kept(spec, assignment)


def label_file(
    file: Path,
    teacher: KeptTeacher,
    *,
    out: Path | None = None,
    text_field: str = "text",
    limits: ReadingLimits = USUAL,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write a teacher's soft labels for every row of a file.

    Args:
        file: csv, tsv, jsonl or parquet with a text column.
        teacher: From `teacher_named` or `teacher_of_recipe`.
        out: The table to write, its ending chooses the format; None: `NAME.labelled.csv` beside
            `file`.
        text_field: The text column.
        limits: How large rows and the file may be.
        progress: Where the bar goes.

    Returns:
        `{"out", "rows", "texts", "unanswered", "teacher", "counts": {label: rows}, "mean":
        {label: probability}, "entropy_nats"}`; means are over the rows that were answered. The
        table has the columns of the file, then `label` and `p_LABEL` of each class; a column of the
        file that is called so gets `_before` behind its name. Rows that the teacher does not answer
        are empty there.

    Raises:
        RecipeError: The file has no such column, or rows that cannot be used.
        DataError: `out` has an ending that is not known, is the input itself, or is to lie in a
            folder that is not there; or the teacher answered nothing.
        StorageError: `out` cannot be written; what lay there is still there.
    """
    target = out if out is not None else file.with_name(f"{file.stem}.labelled.csv")
    _require_place(target, file)
    examples, kept = _read(file, text_field=text_field, limits=limits)
    distinct = list({example.example_id: example for example in examples}.values())
    teacher.make(progress)
    teacher.ask(distinct, progress=progress)
    probs, answered = teacher.probs([example.example_id for example in examples])
    if not answered.any():
        raise DataError(f"the teacher answered none of {len(examples):,} rows: nothing is written")
    labels = teacher.assignment.labels
    rows = _rows(kept, probs, answered, labels)
    with replacing(place_for(target)) as beside:
        WRITERS[target.suffix.lower()](beside, rows)
    told = probs[answered].astype(np.float64)
    winners = np.bincount(told.argmax(axis=1), minlength=len(labels))
    entropy = -(told * np.log(np.maximum(told, 1e-12))).sum(axis=1).mean()
    return {
        "out": str(target),
        "rows": len(examples),
        "texts": len(distinct),
        "unanswered": int((~answered).sum()),
        "teacher": str(teacher.facts.get("description") or teacher.spec.kind),
        "counts": {label: int(count) for label, count in zip(labels, winners, strict=True)},
        "mean": {label: float(mean) for label, mean in zip(labels, told.mean(axis=0), strict=True)},
        "entropy_nats": float(entropy),
    }


def _kept(
    spec: TeacherSpec[ClassAssignment, Any],
    assignment: ClassAssignment,
    *,
    made: tuple[Path, dict[str, Any]] | None = None,
) -> KeptTeacher:
    from tutelage.teachers.keeping import KeptTeacher

    root = cache_folder() / KEPT_FOLDER
    if assignment.answers is None:
        assignment = replace(assignment, answers=root / "answers")
    return KeptTeacher("teacher", spec, assignment, root, made=made)


def _require(problems: Iterable[Problem]) -> None:
    if found := list(problems):
        raise RecipeError(found)


def _require_place(target: Path, file: Path) -> None:
    """Refuse a place for the table before the work is done."""
    if target.suffix.lower() not in WRITERS:
        raise DataError(
            f"--out {target}: ending {target.suffix!r} is not known; use one of "
            f"{', '.join(WRITERS)}"
        )
    if target.resolve() == file.resolve():
        raise DataError(f"--out {target} is the input file itself: give another name")
    if not target.parent.is_dir():
        raise DataError(
            f"--out {target}: there is no folder {target.parent}; make it, or choose another place"
        )
    place_for(target)


def _read(
    file: Path, *, text_field: str, limits: ReadingLimits
) -> tuple[Sequence[Example], list[dict[str, Any]]]:
    """The texts of a file, and all of its columns, row by row."""
    table, problems = read_table(
        file,
        text_field=text_field,
        label_field=None,
        column_advice="Name the right one with --text-field",
        limits=limits,
    )
    _require(problem for problem in problems if problem.severity == "error")
    columns = list(
        dict.fromkeys(read_rows(file, Problems(file.name), fields=[], limits=limits).columns)
    )
    values = read_rows(file, Problems(file.name), fields=columns, limits=limits).values
    by_number = dict(values)
    return table.examples, [
        {column: by_number[example.row].get(column) for column in columns}
        for example in table.examples
    ]


def _rows(
    kept: Sequence[Mapping[str, Any]],
    probs: NDArray[np.float32],
    answered: NDArray[np.bool_],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """The table: columns of the file, then those of the teacher."""
    own = ["label", *(f"p_{label}" for label in labels)]
    names: dict[str, str] = {}
    for column in kept[0]:
        name = column
        while name in own or name in names.values() or (name != column and name in kept[0]):
            name += BEFORE
        names[column] = name
    rows = []
    for row, of_row, is_answered in zip(kept, probs.tolist(), answered.tolist(), strict=True):
        cells = {names[column]: value for column, value in row.items()}
        said = [labels[max(range(len(of_row)), key=of_row.__getitem__)], *of_row]
        rows.append(cells | dict(zip(own, said if is_answered else [None] * len(own), strict=True)))
    return rows
