"""A recipe from beginning to end: the one place that knows the order of things, whatever the task.

    data -> teacher -> soft targets -> students (and controls) -> evaluation -> exports -> report

Each stage is named by the fingerprint of its inputs. Run again, a finished stage costs nothing;
killed, it goes on where it was; with one student more, teacher, targets and the other students are
taken over from the run beside. How a stage is done, the task says (`tasks/task.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tutelage.config import dump_recipe
from tutelage.export import require_packages
from tutelage.recipes.exporting import export_students, remove_exports
from tutelage.recipes.finished import find_finished, known_inputs, record_finished
from tutelage.recipes.together import all_together
from tutelage.report import write_report
from tutelage.runs import (
    RunFolder,
    atomic_write_json,
    atomic_write_text,
    claim_run,
    fingerprint,
    provenance,
    recorded,
)
from tutelage.runs.contents import remove
from tutelage.runs.folder import find_stages
from tutelage.runs.remote import mirrored
from tutelage.runs.stages import StageOutcome, Stages, all_done
from tutelage.targets import refuse_other_store
from tutelage.tasks import task_named
from tutelage.tasks.task import Fingerprints, Job, Student, Task
from tutelage.types import SILENT, Progress
from tutelage.urls import is_remote

Until = Literal["label", "train", "evaluate", "report"]
"""The stage that a run goes up to."""


@dataclass(frozen=True)
class Outcome:
    """What a call of `run` did, and where everything lies."""

    folder: RunFolder
    stages: Sequence[StageOutcome]
    warnings: Sequence[str]
    teacher_held_out: dict[str, Any]
    """What is known of the teacher before any student: its quality on held-out rows, or what its
    targets look like."""
    failed_exports: Sequence[str] = ()
    """Why exports are not there; all else of the run is."""


def run(
    recipe: Any,
    *,
    out: Path | None = None,
    root: Path = Path("runs"),
    until: Until = "report",
    progress: Progress = SILENT,
) -> Outcome:
    """Do what a recipe says, up to a stage, and nothing twice.

    Args:
        recipe: From `tutelage.load_recipe`.
        out: Run folder; None means `root/NAME`, or `root/NAME-2` and so on where NAME belongs to
            another recipe. A URL, here or in `root`: the work is done in the cache and pushed
            there.
        root: Where runs lie; teachers, targets and students of runs there are reused when their
            inputs are the same.
        until: The last stage to do.
        progress: Where bars and talk go.

    Returns:
        The run folder, what became of each stage, and what is known of the teacher.

    Raises:
        RecipeError: The data cannot be used, or a student cannot be built; every problem at once.
        RunExists: `out` belongs to another recipe.
        RunDamaged: A later version wrote a record of the run; nothing is changed.
        ModelError: A model cannot be loaded.
        NotEnoughDisk: What the run would still write does not fit.
        NotEnoughMemory: The models do not fit this machine.
        StorageError: The file system refuses: a disk is full, a folder is another user's.
        MissingExtra: A format of `export` needs a package that is not installed.
        TrainingDiverged: A student's loss is not a number or exploded.
        ProcessLost: Another process of the same launch has ended.
    """
    task = task_named(recipe.task.kind)
    flow = partial(_run, recipe, task, out=out, root=root, until=until, progress=progress)
    return all_together(flow, lambda: task.prepare(recipe, SILENT))


def _run(
    recipe: Any,
    task: Task,
    share: Callable[[Callable[[], Job]], Job],
    *,
    out: Path | None,
    root: Path,
    until: Until,
    progress: Progress,
) -> Outcome:
    """All of `run`; methods of the job that it shares are done by every process."""
    place = root / recipe.name if out is None else out
    if is_remote(place):
        with mirrored(place, progress) as here:
            return _run(recipe, task, share, out=here, root=root, until=until, progress=progress)
    inputs = known_inputs(lambda: task.inputs(recipe))
    if (done := find_finished(recipe, inputs, out=out, root=root, until=until)) is not None:
        for line in done.talk:
            progress.say(line)
        return Outcome(done.folder, done.stages, done.warnings, done.quality)
    if until in ("evaluate", "report"):
        require_packages(recipe.export)
    job = share(lambda: task.prepare(recipe, progress))
    for warning in job.warnings:
        progress.say(f"warning: {warning}")
    prints = job.fingerprints
    text = dump_recipe(recipe)
    beside = root if out is None else out.parent
    with claim_run(root, recipe.name, text, out=out) as folder:
        for stage in recorded(folder.path):
            stage.require_known()
        trained = names_on_record(prints, folder, beside)
        unfinished = {student.stage: one for student, one in trained.items()}
        unfinished |= {"teacher": prints.teacher} if job.fits_teacher else {}
        unfinished |= {"targets": prints.targets} if job.stores_targets else {}
        if not all_done(folder, unfinished):
            job.require_room(folder, unfinished, root=root if out is None else out)
        write_recipe(folder, text, progress)
        stages = Stages(folder, beside, progress)

        if job.fits_teacher:
            stages.do(
                "teacher",
                prints.teacher,
                work=lambda: job.fit_teacher(folder, progress),
                folder=folder.teacher_path,
                leaves=job.teacher_files(folder),
            )
        if job.stores_targets:
            stages.do(
                "targets",
                prints.targets,
                work=lambda: job.write_targets(folder, progress),
                folder=folder.targets_path,
                copied=[folder.targets_path / "manifest.json"],
                is_whole=lambda: job.targets_are_whole(folder),
                refuse_others=partial(refuse_other_store, folder.targets_path),
            )
        quality = job.open_targets(folder)
        if quality:
            progress.say(quality["sentence"])
        # Only now: targets that are refused cost nothing.
        if not folder.stage("evaluation").is_done(prints.evaluation):
            withdraw_results(folder)

        if until != "label":
            for student, student_print in trained.items():
                place = folder.path / student.stage
                former = folder.stage(student.stage).record().get("fingerprint")
                outcome = stages.do(
                    student.stage,
                    student_print,
                    work=lambda student=student: job.train(student, folder, progress),
                    folder=place,
                    leaves=job.student_files(student, folder),
                )
                # Some hundred megabytes that nobody goes on from now that the stage is on record.
                shutil.rmtree(place / "checkpoints", ignore_errors=True)
                if outcome.how == "done" or (outcome.how == "reused" and former != student_print):
                    remove_exports(folder, student, progress)
                if outcome.how == "done":
                    withdraw_results(folder)

        failed: list[str] = []
        if until in ("evaluate", "report"):
            outcome = stages.do(
                "evaluation",
                prints.evaluation,
                work=lambda: job.evaluate(folder, progress),
                leaves=[folder.evaluation_path, folder.predictions_path],
            )
            if outcome.how == "done":
                folder.stage("report").withdraw()  # its page would speak of other timings
            failed = export_students(
                recipe,
                trained,
                folder,
                stages,
                origin=lambda: task.origin(recipe, folder),
                progress=progress,
            )
            known = folder.stage("provenance")
            if not stages.nothing_done or known.state != "summed" or known.damages():
                write_provenance(recipe, folder, job, seconds=stages.outcomes)

        if until == "report":
            stages.do(
                "report",
                fingerprint("report", prints.evaluation),
                work=lambda: {"file": str(write_report(folder.path, task.words()))},
                leaves=folder.report_path,
            )

        warnings = tuple(str(warning) for warning in job.warnings)
        if not failed:
            record_finished(
                stages,
                inputs,
                until=until,
                now=lambda: task.inputs(recipe),
                warnings=warnings,
                quality=quality,
            )
    return Outcome(folder, tuple(stages.outcomes), warnings, quality, tuple(failed))


def names_on_record(prints: Fingerprints, folder: RunFolder, beside: Path) -> dict[Student, str]:
    """The fingerprint by which the result of each student is found.

    Args:
        prints: Of every stage.
        folder: The run.
        beside: Where other runs lie.

    Returns:
        By student its fingerprint; where no record has that one, but one has the name that versions
        before gave it, that name.
    """
    found = dict(prints.students)
    for student, former in prints.formerly.items():
        now = found[student]
        here = folder.stage(student.stage)
        if former == now or here.is_done(now):
            continue
        known = any(find_stages(beside, student.stage, now))
        if here.is_done(former) or (not known and any(find_stages(beside, student.stage, former))):
            found[student] = former
    return found


def write_recipe(folder: RunFolder, text: str, progress: Progress) -> None:
    """Write recipe.yaml and its record, unless both are there as they should be."""
    known = folder.recipe_record
    damages = known.damages()
    if damages:
        progress.say(f"{damages[0]}: written again")
    if damages or known.copies.get(folder.recipe_path.name) != text:
        remove(folder.recipe_path)  # a folder, perhaps
        atomic_write_text(folder.recipe_path, text)
        path = [folder.recipe_path]
        known.mark_done(fingerprint(text), seconds=0.0, left=path, copied=path)


def withdraw_results(folder: RunFolder) -> None:
    """Remove what was measured on other students or other rows: nobody should take it for the
    present ones'.
    """
    for name in ("evaluation", "report"):
        folder.stage(name).withdraw()
    for path in (folder.evaluation_path, folder.predictions_path, folder.report_path):
        remove(path)


def write_provenance(
    recipe: Any, folder: RunFolder, job: Job, *, seconds: Sequence[StageOutcome]
) -> dict[str, Any]:
    """Write provenance.json and give its content.

    Args:
        recipe: The recipe.
        folder: The run.
        job: Says what its data and stages are.
        seconds: What became of each stage, and how long it took.
    """
    prints = job.fingerprints
    record = {
        **provenance(),
        "name": recipe.name,
        "seed": job.seed,
        "fingerprints": {
            "teacher": prints.teacher,
            "targets": prints.targets,
            "evaluation": prints.evaluation,
        },
        "data": job.data_facts,
        "warnings": [str(warning) for warning in job.warnings],
        "seconds": {stage.name: round(stage.seconds, 3) for stage in seconds},
        "teacher": dict(folder.stage("teacher").facts),
    }
    if "answers" in (targets := folder.stage("targets").facts):
        record["answers"] = targets["answers"]
    remove(folder.provenance_path)  # a folder, perhaps
    atomic_write_json(folder.provenance_path, record)
    folder.stage("provenance").mark_done(
        prints.evaluation, seconds=0.0, left=[folder.provenance_path]
    )
    return record
