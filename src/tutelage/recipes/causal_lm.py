"""The language-model recipe: from documents to a report, top to bottom as the flow goes.

    documents -> teacher -> soft targets -> students (and controls) -> evaluation -> report

The stages behave as those of a classification: each is named by the fingerprint of its inputs,
costs nothing when it was done before, goes on where it was killed, and is taken over from a run
beside where its inputs are the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.config import dump_recipe
from tutelage.data import PreparedDocuments
from tutelage.models import load_language_model, model_fingerprint, tokenizer_fingerprint
from tutelage.recipes.classification import Outcome, Until, require_one_process
from tutelage.recipes.provenance import write_provenance
from tutelage.recipes.upkeep import is_whole, remove_broken_parts, withdraw_results
from tutelage.report import write_report
from tutelage.runs import RunFolder, atomic_write_text, fingerprint, lock, open_run
from tutelage.runs.stages import STAGE_VERSION, Deferred, Stages, all_done
from tutelage.targets import TargetStore, read_manifest
from tutelage.targets.manifest import FILE as MANIFEST_FILE
from tutelage.tasks.classification.checking import require_disk, require_memory, still_to_write
from tutelage.tasks.language.checking import estimate_language_run
from tutelage.tasks.language.data import (
    documents_fingerprint,
    prepare_language_data,
    teacher_tokenizer,
)
from tutelage.tasks.language.evaluating import evaluate_language_run, held_out_targets
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.report import WORDS
from tutelage.tasks.language.student_checking import require_language_students
from tutelage.tasks.language.training import language_student_fingerprint, train_language_student
from tutelage.teachers import CausalTeacher, label_documents
from tutelage.train import LiveTargets, StoredTargets, TargetSource
from tutelage.types import SILENT, Document, Progress


def run_language_model(
    recipe: LanguageRecipe,
    *,
    out: Path | None = None,
    root: Path = Path("runs"),
    until: Until = "report",
    progress: Progress = SILENT,
) -> Outcome:
    """Do what a causal_lm recipe says, up to a stage, and nothing twice.

    Args:
        recipe: From `tutelage.load_recipe`.
        out: Run folder; None means `root/NAME`, or `root/NAME-2` and so on where NAME belongs to
            another recipe.
        root: Where runs lie; targets and students of runs there are reused when their inputs are
            the same.
        until: The last stage to do.
        progress: Where bars and talk go.

    Returns:
        The run folder, what became of each stage, and what the teacher's targets look like.

    Raises:
        RecipeError: The data or the students cannot be used; every problem at once.
        RunExists: `out` belongs to another recipe.
        ModelError: A model cannot be loaded.
        NotEnoughDisk: What the run would still write does not fit.
        NotEnoughMemory: The models do not fit this machine.
        TrainingDiverged: A student's loss is not a number or exploded.
    """
    require_one_process()
    tokenizer = teacher_tokenizer(recipe)
    data = prepare_language_data(recipe, tokenizer)
    for warning in data.warnings:
        progress.say(f"warning: {warning}")
    require_language_students(recipe, data, tokenizer)
    teacher_print = fingerprint(
        "causal teacher",
        STAGE_VERSION,
        model_fingerprint(
            str(recipe.teacher.model), trust_remote_code=recipe.teacher.trust_remote_code
        ),
        recipe.teacher.dtype,
    )
    text = dump_recipe(recipe)
    folder = open_run(root, recipe.name, text, out=out)
    asked = [*data.train, *data.validation]
    targets_print = fingerprint(
        STAGE_VERSION,
        teacher_print,
        recipe.targets,
        sorted({document.example_id for document in asked}),
    )
    prints = {"teacher": teacher_print, "targets": targets_print}
    students = {
        (name, control): language_student_fingerprint(
            recipe, name, targets_print, data, control=control
        )
        for name in recipe.students
        for control in ((False, True) if recipe.evaluate.control else (False,))
    }
    evaluation_print = fingerprint(
        "language evaluation",
        prints,
        students,
        recipe.evaluate,
        documents_fingerprint(data.train, data.validation, data.test),
        recipe,
    )
    left = {
        f"{'controls' if control else 'students'}/{name}": one
        for (name, control), one in students.items()
    }
    if recipe.targets.kind != "live":
        left["targets"] = targets_print
    if not all_done(folder, left):
        estimate = still_to_write(
            estimate_language_run(recipe, data, root=root if out is None else out), folder, left
        )
        require_disk(estimate)
        require_memory(estimate)
    folder.path.mkdir(parents=True, exist_ok=True)
    with lock(folder.path):
        atomic_write_text(folder.recipe_path, text)
        stages = Stages(folder, root if out is None else out.parent, progress)
        teacher = Deferred(lambda: load_causal_teacher(recipe))

        source: TargetSource
        quality: dict[str, Any] = {}
        if recipe.targets.kind == "live":
            source = LiveTargets(teacher.get())
        else:
            stages.do(
                "targets",
                targets_print,
                work=lambda: write_token_targets(
                    recipe, teacher, asked, out=folder.targets_path, progress=progress
                ),
                folder=folder.targets_path,
                is_whole=lambda: is_whole(
                    folder.targets_path, teacher=folder.stage("targets").facts.get("teacher")
                ),
            )
            written_by = folder.stage("targets").facts.get("teacher")
            store = TargetStore.open(
                folder.targets_path, teacher=written_by, tokenizer=tokenizer_fingerprint(tokenizer)
            )
            source = StoredTargets(store)
            quality = held_out_targets(source.store, folder.targets_path)
            progress.say(quality["sentence"])
        if not folder.stage("evaluation").is_done(
            evaluation_print
        ):  # only now: targets that are refused cost nothing
            withdraw_results(folder)
        if until != "label":
            for (name, control), student_print in students.items():
                group = folder.controls_path if control else folder.students_path
                outcome = stages.do(
                    f"{group.name}/{name}",
                    student_print,
                    folder=group / name,
                    leaves=[group / name / file for file in ("config.json", "metrics.jsonl")],
                    is_whole=lambda place=group / name: any(place.glob("*.safetensors")),
                    work=lambda name=name, control=control: train_language_student(
                        recipe,
                        name,
                        folder,
                        data,
                        None if control else source,
                        teacher,
                        progress=progress,
                    ),
                )
                # Some hundred megabytes that nobody goes on from now that the stage is on record as
                # done.
                shutil.rmtree(group / name / "checkpoints", ignore_errors=True)
                if outcome.how == "done":
                    withdraw_results(folder)
        if until in ("evaluate", "report"):
            prints["evaluation"] = evaluation_print
            _judge(recipe, folder, data, teacher, stages, prints, until=until, progress=progress)
    return Outcome(
        folder, tuple(stages.outcomes), tuple(str(warning) for warning in data.warnings), quality
    )


def _judge(
    recipe: LanguageRecipe,
    folder: RunFolder,
    data: PreparedDocuments,
    teacher: Deferred[CausalTeacher],
    stages: Stages,
    prints: dict[str, str],
    *,
    until: Until,
    progress: Progress,
) -> None:
    """The last two stages: evaluation and report."""
    outcome = stages.do(
        "evaluation",
        prints["evaluation"],
        leaves=[folder.evaluation_path, folder.predictions_path],
        work=lambda: evaluate_language_run(recipe, folder, data, teacher, progress=progress),
    )
    if outcome.how == "done":
        folder.stage("report").withdraw()  # its page would speak of other timings
    if not stages.nothing_done or not folder.provenance_path.is_file():
        write_provenance(recipe, folder, data, prints, seconds=stages.outcomes)
    if until == "report":
        stages.do(
            "report",
            fingerprint("report", prints["evaluation"]),
            leaves=folder.report_path,
            work=lambda: {"file": str(write_report(folder.path, WORDS))},
        )


def load_causal_teacher(recipe: LanguageRecipe) -> CausalTeacher:
    """The teacher of a recipe, loaded."""
    section = recipe.teacher
    language_model = load_language_model(
        str(section.model), dtype=section.dtype, trust_remote_code=section.trust_remote_code
    )
    return CausalTeacher(
        language_model,
        batch_tokens=section.batch_tokens,
        sequence_length=recipe.task.sequence_length,
    )


def write_token_targets(
    recipe: LanguageRecipe,
    teacher: Deferred[CausalTeacher],
    documents: Sequence[Document],
    *,
    out: Path,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Let the teacher score every document once; a killed call goes on where it was, a damaged part
    is written again.

    Returns:
        Facts for the stage: rows and positions.
    """
    section = recipe.targets
    assert section.kind != "live"  # nothing is written then
    remove_broken_parts(out, progress)
    known = read_manifest(out) if (out / MANIFEST_FILE).is_file() else None
    # Targets that were taken over keep the seed they were drawn with: any is as good.
    seed = recipe.train.seed if known is None else known.seed
    store = label_documents(
        teacher.get(),
        documents,
        out=out,
        kind=section.kind,
        encoding=section.encoding(),
        seed=seed,
        progress=progress,
    )
    written = store.manifest
    return {
        "rows": len(store),
        "positions": written.positions,
        "bytes": written.bytes,
        "teacher": written.teacher,
        "continued": known is not None and bool(known.parts),
    }
