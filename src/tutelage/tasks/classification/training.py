"""The students of a classification recipe, each trained on soft targets and, as a control, on
labels alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from tutelage.data import Prepared
from tutelage.losses import ForwardKL
from tutelage.models import load_tokenizer
from tutelage.runs import RunFolder, fingerprint
from tutelage.runs.stages import Deferred
from tutelage.students.classifier.student import ClassifierStudent
from tutelage.targets import TargetStore
from tutelage.tasks.classification.data import rows_fingerprint
from tutelage.tasks.classification.distilling import distill
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teaching import teacher_model
from tutelage.teachers.teacher import OwnWeights
from tutelage.train import TrainSettings
from tutelage.types import SILENT, Example, Progress

STUDENT_FILES = ("config.json", "model.safetensors", "metrics.jsonl")
"""What training leaves in a student's folder, whatever the student."""


def student_fingerprint(
    recipe: Recipe,
    name: str,
    teacher_print: str,
    data: Prepared,
    transfer: Sequence[Example],
    *,
    control: bool,
) -> str:
    """The fingerprint of what a trained student depends on; test rows are none of it.

    Args:
        recipe: The recipe.
        name: The student's.
        teacher_print: Of the teacher, which with a text gives its soft target.
        data: The rows.
        transfer: The transfer set made of them.
        control: Whether it learns from labels alone.
    """
    weights = student_spec(recipe, name).starts_from()
    return fingerprint(
        "student",
        weights, control, teacher_print, rows_fingerprint(transfer, data.train, data.unlabeled, data.validation),
        recipe.students[name], recipe.train_for(name), recipe.objective_for(name), recipe.task.labels,
    )  # fmt: skip


def train_student(
    recipe: Recipe,
    name: str,
    folder: RunFolder,
    transfer: Sequence[Example],
    data: Prepared,
    store: TargetStore,
    teacher: Deferred[OwnWeights],
    *,
    control: bool,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train one student, or its control, and save it in the run.

    A control sees the same initial weights, texts, order and number of steps; only the loss is the
    label's cross-entropy alone.

    Returns:
        Facts for the stage: best step, best validation loss, steps.
    """
    objective = recipe.objective_for(name)
    spec = student_spec(recipe, name)
    done = distill(
        spec,
        transfer,
        None if control else store,
        validation=data.validation,
        objective=ForwardKL(
            loss_temperature=objective.loss_temperature, soft_weight=objective.soft_weight
        ),
        settings=TrainSettings(**recipe.train_for(name).model_dump()),
        out=(folder.controls_path if control else folder.students_path) / name,
        language_model=_teacher_for(spec, recipe, teacher),
        vocabulary_texts=[example.text for example in (*data.train, *data.unlabeled)],
        cache=folder.teacher_path / "embeddings",
        progress=progress,
    )
    return {
        "steps": done.result.steps,
        "best_step": done.result.best_step,
        "best_validation_loss": done.result.best_validation_loss,
    }


def student_spec(recipe: Recipe, name: str) -> ClassifierStudent:
    """The student that a recipe describes under a name."""
    return recipe.students[name].spec(labels=recipe.task.labels)


def _teacher_for(spec: ClassifierStudent, recipe: Recipe, teacher: Deferred[Any]) -> Any:
    """What a student needs of the teacher's language model: all of it, its tokenizer, or None."""
    if spec.needs_weights:
        return teacher.get().language_model
    if not spec.needs_tokenizer:
        return None
    own_code = recipe.teacher.trust_remote_code
    tokenizer = load_tokenizer(teacher_model(recipe), trust_remote_code=own_code)
    return SimpleNamespace(model=None, tokenizer=tokenizer)
