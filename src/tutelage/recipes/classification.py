"""The classification recipe: from examples to a report, top to bottom as the flow goes.

    examples -> teacher -> soft targets -> students (and controls) -> evaluation -> report

Each stage is named by the fingerprint of its inputs. Run again, a finished stage costs nothing;
killed, it goes on where it was; with one student more, teacher, targets and the other students are
taken over from the run beside.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.config import dump_recipe
from tutelage.data import Prepared, augment
from tutelage.errors import RecipeError, TargetsError
from tutelage.recipes.provenance import write_provenance
from tutelage.recipes.upkeep import is_whole, remove_broken_parts, withdraw_results
from tutelage.report import write_report
from tutelage.runs import RunFolder, atomic_write_text, fingerprint, lock, open_run
from tutelage.runs.stages import STAGE_VERSION, Deferred, StageOutcome, Stages, all_done
from tutelage.targets import TargetStore, read_manifest
from tutelage.tasks.classification.checking import estimate_run, require_disk, still_to_write
from tutelage.tasks.classification.data import data_fingerprint, prepare_data, recipe_hash
from tutelage.tasks.classification.evaluating import evaluate_run, held_out_quality
from tutelage.tasks.classification.prompt_checking import require_question
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.report import WORDS
from tutelage.tasks.classification.student_checking import require_students
from tutelage.tasks.classification.teaching import (
    fit_teacher,
    load_teacher,
    teacher_facts,
    teacher_fingerprint,
)
from tutelage.tasks.classification.training import STUDENT_FILES, student_fingerprint, train_student
from tutelage.types import SILENT, Example, Progress

AUGMENTED = "augmented"
"""Source of texts that were made from training texts."""

Until = Literal["label", "train", "evaluate", "report"]


@dataclass(frozen=True)
class Outcome:
    """What a call of `run` did, and where everything lies."""

    folder: RunFolder
    stages: Sequence[StageOutcome]
    warnings: Sequence[str]
    teacher_held_out: dict[str, Any]
    """The teacher's own quality on validation rows: accuracy, nll, ece with intervals."""


def run(
    recipe: Recipe,
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
            another recipe.
        root: Where runs lie; teachers, targets and students of runs there are reused when their
            inputs are the same.
        until: The last stage to do.
        progress: Where bars and talk go.

    Returns:
        The run folder, what became of each stage, and the teacher's own held-out quality.

    Raises:
        RecipeError: The data cannot be used, or a student cannot be built; every problem at once.
        RunExists: `out` belongs to another recipe.
        ModelError: A model cannot be loaded.
        NotEnoughDisk: What the run would write does not fit.
        TrainingDiverged: A student's loss is not a number or exploded.
    """
    require_one_process()
    data = prepare_data(recipe)
    for warning in data.warnings:
        progress.say(f"warning: {warning}")
    teacher_print = teacher_fingerprint(
        recipe, data
    )  # finds the model, or says that it is not there
    facts = teacher_facts(recipe)
    require_students(recipe, facts)
    question = require_question(recipe, data)
    text = dump_recipe(recipe)
    folder = open_run(root, recipe.name, text, out=out)
    transfer = transfer_set(recipe, data)
    students = {
        (name, control): student_fingerprint(
            recipe, name, teacher_print, data, transfer, control=control
        )
        for name in recipe.students
        for control in ((False, True) if recipe.evaluate.control else (False,))
    }
    asked = [*transfer, *data.validation, *data.test]
    targets_print = fingerprint(
        STAGE_VERSION, teacher_print, sorted({example.example_id for example in asked})
    )
    left = {
        f"{'controls' if control else 'students'}/{name}": one
        for (name, control), one in students.items()
    }
    left |= {"teacher": teacher_print, "targets": targets_print}
    if not all_done(folder, left):
        estimate = estimate_run(recipe, data, facts, question, root=root if out is None else out)
        require_disk(still_to_write(estimate, folder, left))
    folder.path.mkdir(parents=True, exist_ok=True)
    with lock(folder.path):
        atomic_write_text(folder.recipe_path, text)
        stages = Stages(folder, root if out is None else out.parent, progress)

        stages.do(
            "teacher",
            teacher_print,
            work=lambda: fit_teacher(recipe, data, out=folder.teacher_path, progress=progress),
            folder=folder.teacher_path,
            leaves=folder.teacher_path
            / ("calibration.json" if recipe.teacher.kind == "prompted" else "teacher.json"),
        )
        teacher = Deferred(lambda: load_teacher(recipe, data, folder.teacher_path))

        evaluation_print = fingerprint(
            targets_print, students, data_fingerprint(data), recipe.evaluate, recipe_hash(recipe)
        )
        if not folder.stage("evaluation").is_done(evaluation_print):
            withdraw_results(folder)
        written_by = folder.stage("teacher").facts.get("teacher_fingerprint")
        stages.do(
            "targets",
            targets_print,
            work=lambda: write_targets(teacher, asked, out=folder.targets_path, progress=progress),
            folder=folder.targets_path,
            is_whole=lambda: is_whole(folder.targets_path, teacher=written_by),
        )
        store = TargetStore.open(folder.targets_path, labels=recipe.task.labels, teacher=written_by)
        quality = held_out_quality(recipe, data, store)
        progress.say(quality["sentence"])
        if until != "label":
            for (name, control), student_print in students.items():
                group = folder.controls_path if control else folder.students_path
                outcome = stages.do(
                    f"{group.name}/{name}",
                    student_print,
                    folder=group / name,
                    leaves=[group / name / file for file in STUDENT_FILES],
                    work=lambda name=name, control=control: train_student(
                        recipe,
                        name,
                        folder,
                        transfer,
                        data,
                        store,
                        teacher,
                        control=control,
                        progress=progress,
                    ),
                )
                if outcome.how == "done":
                    withdraw_results(folder)
        if until in ("evaluate", "report"):
            outcome = stages.do(
                "evaluation",
                evaluation_print,
                leaves=[folder.evaluation_path, folder.predictions_path],
                work=lambda: evaluate_run(recipe, folder, data, store, teacher, progress=progress),
            )
            if outcome.how == "done":
                folder.stage("report").withdraw()  # its page would speak of other timings
            prints = {
                "teacher": teacher_print,
                "targets": targets_print,
                "evaluation": evaluation_print,
            }
            if not stages.nothing_done or not folder.provenance_path.is_file():
                write_provenance(recipe, folder, data, prints, seconds=stages.outcomes)
            if until == "report":
                stages.do(
                    "report",
                    fingerprint("report", evaluation_print),
                    leaves=folder.report_path,
                    work=lambda: {"file": str(write_report(folder.path, WORDS))},
                )
    return Outcome(
        folder, tuple(stages.outcomes), tuple(str(warning) for warning in data.warnings), quality
    )


def remove_targets_of_others(teacher: Any, targets: Path) -> None:
    """Remove a run's own targets where its data changed since, and with them the teacher: they
    answer nothing now.
    """
    try:
        manifest = read_manifest(targets)
    except TargetsError:
        return
    if (manifest.teacher, manifest.labels) != (teacher.fingerprint, tuple(teacher.labels)):
        shutil.rmtree(targets)


def require_one_process() -> None:
    """Refuse to run under a launcher of several processes, which would each do the whole recipe.

    Raises:
        RecipeError: There are several.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}: a recipe runs in one process in this "
            "version. Start it without "
            "a launcher; for several processes call tutelage.train.train_classifier from a script "
            "of your own"
        )


def transfer_set(recipe: Recipe, data: Prepared) -> list[Example]:
    """The texts that students learn from: labelled rows, unlabeled rows, augmented copies; each
    text once.
    """
    examples = [*data.train, *data.unlabeled]
    settings = recipe.data.augment
    if settings is not None:
        texts = augment(
            [example.text for example in data.train],
            copies=settings.copies,
            word_mask=settings.word_mask,
            ngram=settings.ngram,
            ngram_min=settings.ngram_min,
            ngram_max=settings.ngram_max,
            mask_token=settings.mask_token,
            seed=recipe.train.seed,
        )
        examples += [
            Example(text=text, source=AUGMENTED, row=row) for row, text in enumerate(texts, start=1)
        ]
    judged = {example.example_id for example in (*data.validation, *data.test)}
    examples = [
        example
        for example in examples
        if example.source != AUGMENTED or example.example_id not in judged
    ]
    unique: dict[bytes, Example] = {}
    for example in examples:
        known = unique.get(example.example_id)
        if known is None or (known.label is None and example.label is not None):
            unique[example.example_id] = example
    return list(unique.values())


def write_targets(
    teacher: Deferred[Any], examples: Sequence[Example], *, out: Path, progress: Progress
) -> dict[str, Any]:
    """Let the teacher write its soft targets; a killed call goes on where it was, a damaged part is
    written again.
    """
    from tutelage.teachers import label

    remove_targets_of_others(teacher.get(), out)
    remove_broken_parts(out, progress)
    store = label(teacher.get(), examples, out=out, progress=progress)
    return {"rows": len(store)}
