"""The students of a classification recipe, each trained on soft targets and, as a control, on
labels alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tutelage.data import Prepared
from tutelage.runs import RunFolder, fingerprint
from tutelage.runs.stages import Deferred
from tutelage.students.classifier.student import ClassifierStudent
from tutelage.targets import TargetStore
from tutelage.tasks.classification.distilling import distill
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teaching import assignment_of, teacher_spec
from tutelage.teachers.teacher import OwnWeights, Teacher, WordMemory
from tutelage.types import SILENT, Example, Progress

if TYPE_CHECKING:
    from tutelage.models import ModelFacts

STUDENT_FILES = ("config.json", "model.safetensors", "metrics.jsonl")
"""What training leaves in a student's folder, whatever the student."""


NO_TEACHER = "no teacher"
"""In the place of its fingerprint, for controls that take nothing of it."""


def uses_teacher(recipe: Recipe, name: str) -> bool:
    """Whether even a control is made of something of the teacher's: its weights or its tokens."""
    spec = student_spec(recipe, name)
    return spec.needs_weights or spec.needs_tokenizer


def student_fingerprint(
    recipe: Recipe,
    name: str,
    teacher_print: str,
    rows_print: str,
    *,
    control: bool,
) -> str:
    """The fingerprint of what a trained student depends on; test rows are none of it.

    Args:
        recipe: The recipe.
        name: The student's.
        teacher_print: Of the teacher, which with a text gives its soft target; `NO_TEACHER` for a
            control that takes nothing of it.
        rows_print: Of the transfer set, and the rows it was made of.
        control: Whether it learns from labels alone.
    """
    weights = student_spec(recipe, name).starts_from()
    return fingerprint(
        "student",
        weights, control, teacher_print, rows_print,
        recipe.students[name], recipe.train_for(name), recipe.objective_for(name),
        recipe.task.labels,
    )  # fmt: skip


def train_student(
    recipe: Recipe,
    name: str,
    folder: RunFolder,
    transfer: Sequence[Example],
    data: Prepared,
    store: TargetStore,
    teacher: Deferred[Teacher],
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
    spec = student_spec(recipe, name)
    if not spec.needs_weights:
        teacher.release()
    done = distill(
        spec,
        transfer,
        None if control else store,
        validation=data.validation,
        objective=recipe.objective_for(name).spec(),
        settings=recipe.train_for(name).spec(),
        out=(folder.controls_path if control else folder.students_path) / name,
        language_model=_teacher_for(spec, recipe, teacher),
        vocabulary_texts=vocabulary_texts(data),
        cache=folder.teacher_path / "embeddings",
        progress=progress,
    )
    return {
        "steps": done.result.steps,
        "best_step": done.result.best_step,
        "best_validation_loss": done.result.best_validation_loss,
    }


def _language_model(teacher: Deferred[Teacher]) -> Any:
    """The teacher's language model, with what it remembers of words if it does; from here on only
    whoever has it keeps it in memory.
    """
    loaded = teacher.get()
    teacher.release()
    if isinstance(loaded, WordMemory):
        return loaded.with_words()
    assert isinstance(loaded, OwnWeights)  # `student_problems` refuses a teacher without
    return loaded.language_model


def vocabulary_texts(data: Prepared) -> list[str]:
    """What the vocabularies of students are made from."""
    return [example.text for example in (*data.train, *data.unlabeled)]


def word_layers(recipe: Recipe, facts: ModelFacts | None) -> tuple[int, ...]:
    """The teacher's layers whose states of words first embeddings are made of.

    Args:
        recipe: Says how students begin.
        facts: Of the teacher's language model; None where it has none here.
    """
    if facts is None or facts.layers is None:
        return ()
    specs = [student_spec(recipe, name) for name in recipe.students]
    found = {spec.reads_layer(facts.layers) for spec in specs}
    return tuple(sorted(layer for layer in found if layer is not None))


def student_spec(recipe: Recipe, name: str) -> ClassifierStudent:
    """The student that a recipe describes under a name."""
    return recipe.students[name].spec(labels=recipe.task.labels)


def _teacher_for(spec: ClassifierStudent, recipe: Recipe, teacher: Deferred[Teacher]) -> Any:
    """What a student needs of the teacher's language model: all of it, its tokenizer, or None."""
    if spec.needs_weights:
        return _language_model(teacher)
    if not spec.needs_tokenizer:
        return None
    tokenizer = teacher_spec(recipe).tokenizer(assignment_of(recipe))
    return SimpleNamespace(model=None, tokenizer=tokenizer)
