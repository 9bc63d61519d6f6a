"""Students in the formats of other programs: as a stage of a run, and one by one.

In: trained students. Out: a folder for each format beside the weights, or where somebody wants it.
What does not answer as its student is kept aside, and nothing takes it for an export.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.data import read_table
from tutelage.errors import ExportFailed, ModelError, RecipeError
from tutelage.export import FORMATS, Origin, Rows, Subject, export, needs_work
from tutelage.export.subject import Package
from tutelage.export.wheel import require_package
from tutelage.recipes.kept_certificates import (
    keeping_certificate,
    put_aside,
    put_back,
    remove_but_certificates,
)
from tutelage.recipes.predicting import STUDENTS, recipe_of, run_of, student_folder, task_of
from tutelage.runs import RunFolder, fingerprint, lock, require_undamaged
from tutelage.runs.contents import leads_out
from tutelage.runs.stages import Deferred, Stages
from tutelage.runs.storage import require_utf8
from tutelage.tasks.task import Student
from tutelage.types import SILENT, Progress

CONTROLS = STUDENTS[1]
EXPORTS = "export"
"""The folder beside a student's weights in which its exports lie."""


def export_students(
    recipe: Any,
    students: Mapping[Student, str],
    folder: RunFolder,
    stages: Stages,
    *,
    origin: Callable[[], Origin],
    progress: Progress = SILENT,
) -> list[str]:
    """Do what `export:` of a recipe says; a format that was made for the same weights is kept.

    Args:
        recipe: Its `export` names formats.
        students: What is trained, with the fingerprint of each.
        folder: The run.
        stages: Its stages.
        origin: What is known of the students, asked for once and only if something is to be made.
        progress: Told what is written.

    Returns:
        Why exports are not there, in words; each was tried, whatever became of the others.
    """
    known, failed = Deferred(origin), []

    def write(student: Student, name: str, out: Path) -> Mapping[str, Any]:
        progress.say(f"{student.name}: writing {name}")
        put_aside(out)
        shutil.rmtree(out, ignore_errors=True)  # of other weights
        return export(name, Subject(out.parent.parent, student.name, known.get()), out)

    for student, student_print in students.items():
        for name in recipe.export:
            if student.is_control or not needs_work(name):
                continue
            place = folder.path / student.stage / EXPORTS / name
            try:
                stages.do(
                    f"exports/{student.name}/{name}",
                    fingerprint("export", name, student_print),
                    work=partial(write, student, name, place),
                    leaves=place,
                )
            except (ExportFailed, ModelError) as error:
                failed.append(str(error))
                progress.say(f"{student.name}: {error}")
            put_back(place, progress)  # once sums are on record: a certificate may be made anew
    return failed


def remove_exports(folder: RunFolder, student: Student, progress: Progress) -> None:
    """Remove the exports of a student whose weights are other ones now, and their records.
    Certificates that lie in them are kept aside.
    """
    place = folder.path / student.stage / EXPORTS
    if place.is_dir() and not leads_out(place / "any", folder.path):
        remove_but_certificates(place, progress)
    if not student.is_control:
        for name in FORMATS:
            folder.stage(f"exports/{student.name}/{name}").withdraw()


def export_student(
    path: Path,
    name: str,
    *,
    student: str | None = None,
    out: Path | None = None,
    rows: Path | None = None,
    instructions: str | None = None,
    package: Package | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write one student in a format.

    Args:
        path: A run folder, or a student's folder, in a run or not.
        name: The format, a key of `FORMATS` that needs work.
        student: Which student of a run; None: as `student_folder` chooses.
        out: Where the export shall lie; None: `export/FORMAT` beside the weights.
        rows: A file of texts, with labels or without, on which the export is held against the
            student; None: the test rows of the run; where there is no run, some texts that are
            built in.
        instructions: Of the question that it answers; None: those of its teacher, if it had any.
        package: Name and version of a wheel; None: those that `write_wheel` chooses.
        progress: Told what is written, and what it is held against.

    Returns:
        `{"student", "format", "out"}` and the facts of the export.

    Raises:
        ExportFailed: It does not answer as the student; it lies in `OUT.failed`.
        RecipeError: No such student; a format for another task; rows that cannot be used; `out` is
            a folder of other things.
        ModelError, RunIncomplete, RunDamaged: The student cannot be read.
        MissingExtra: A package is not installed.
    """
    folder = student_folder(path, student)
    require_utf8(folder)
    run, recipe, task = run_of(folder), recipe_of(folder), task_of(folder)
    in_run = folder.resolve().parent.name in STUDENTS
    if task.kind not in FORMATS[name].tasks:
        raise RecipeError(
            f"{folder} is a student of the task {task.kind}, and {name} is for those of "
            f"{' or '.join(FORMATS[name].tasks)}: choose another format"
        )
    if not needs_work(name):
        raise RecipeError(f"{folder} is in the format {name} already: use it as it is")
    if package is not None:
        if not name.startswith("wheel"):
            raise RecipeError(
                f"{name} is no package: give --name and --version with --format wheel or wheel_int8"
            )
        require_package(package)
    target = out if out is not None else folder / EXPORTS / name
    record = RunFolder(run.resolve()).stage(f"exports/{folder.resolve().name}/{name}")
    on_record = in_run and out is None and folder.resolve().parent.name == STUDENTS[0]
    if on_record:
        record.require_known()
    if not on_record or record.state == "absent":  # else it is one, whatever it has lost
        _require_free(target)
    if in_run:
        require_undamaged(run, [f"{folder.resolve().parent.name}/{folder.resolve().name}"])
    origin = Origin() if recipe is None else task.origin(recipe, RunFolder(run))
    if folder.resolve().parent.name == CONTROLS:
        origin = replace(origin, numbers={})  # those are of the students
    if instructions is not None:
        origin = replace(origin, instructions=instructions)
    if rows is not None:
        origin = _with_rows(origin, rows, folder, recipe)
    if origin.tested is None and task.kind == "classification":
        progress.say(
            "warning: no rows of this student's own are known, so the export is compared on texts "
            "that are built in; give some of yours with --rows FILE"
        )
    progress.say(f"{folder.name}: writing {name}")
    with ExitStack() as held:
        if in_run and out is None:
            held.enter_context(lock(run))
        subject = Subject(folder, folder.resolve().name, origin, package or Package())
        held.enter_context(keeping_certificate(target, progress))
        facts = export(name, subject, target)
        if on_record:
            told: dict[str, Any] = {
                "rows": None if rows is None else str(rows.resolve()),
                "instructions": instructions,
            }
            told |= {} if package is None else {"package": asdict(package)}
            _record(RunFolder(run.resolve()), folder.resolve(), name, told)
    return {"student": folder.resolve().name, "format": name, "out": str(target), **facts}


def _record(run: RunFolder, student: Path, name: str, given: Mapping[str, Any]) -> None:
    """Let the run know the export as one of its own. A stage of the recipe with the same result has
    the same name and fingerprint.
    """
    of = run.stage(f"{student.parent.name}/{student.name}").record().get("fingerprint", "")
    more = [given] if any(given.values()) else []
    run.stage(f"exports/{student.name}/{name}").mark_done(
        fingerprint("export", name, of, *more),
        seconds=0.0,
        left=[student / EXPORTS / name],
        **given,
    )


def _require_free(target: Path) -> None:
    """Refuse a place that holds something else than an export."""
    require_utf8(target)
    if target.is_dir():
        names = {found.name for found in target.iterdir()}
        if names and not names & {"student.json", "parity.json"}:
            raise RecipeError(
                f"--out {target} holds other things, such as {min(names)}: give a folder that is "
                "empty, not there yet, or an older export"
            )
    elif target.exists() or target.is_symlink():
        raise RecipeError(f"--out {target} is no folder: give another name")


def _with_rows(origin: Origin, file: Path, folder: Path, recipe: Any) -> Origin:
    """The same with the rows of a file in the place of test rows."""
    import numpy as np

    from tutelage.students import load_classifier

    if not file.exists():
        raise RecipeError(
            f"--rows {file}: there is no such file; correct the path, which starts where you stand"
        )
    columns = (
        {}
        if recipe is None
        else {"text_field": recipe.data.text_field, "label_field": recipe.data.label_field}
    )
    labels = list(load_classifier(folder).labels)
    table, problems = read_table(file, labels=labels, **columns)
    if any(problem.severity == "error" for problem in problems):
        raise RecipeError(problems)
    if not table.examples:
        raise RecipeError(f"--rows {file} has no row with a text: give some texts")
    gold = [-1 if row.label is None else row.label for row in table.examples]
    texts = [row.text for row in table.examples]
    tested = Rows(texts, np.array(gold, dtype=np.int64), name=f"rows of {file.name}")
    return replace(origin, tested=tested)
