"""The teacher of a classification recipe, asked what its kind knows about itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.data import Prepared
from tutelage.errors import ModelError, Problem, RecipeError
from tutelage.tasks.classification.recipe import Recipe
from tutelage.teachers.spec import ClassAssignment, Reading, TeacherSpec, placed
from tutelage.types import SILENT, Progress

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.teachers import Teacher


def teacher_spec(recipe: Recipe) -> TeacherSpec[ClassAssignment, Teacher]:
    """The teacher's kind with its options."""
    return recipe.teacher.spec()


def assignment_of(
    recipe: Recipe,
    data: Prepared | None = None,
    *,
    reading: Reading | None = None,
    answers: Path | None = None,
) -> ClassAssignment:
    """What the teacher shall tell apart, the rows it may learn from, where it keeps what it reads
    and what it is told.
    """
    return ClassAssignment(
        recipe.task.labels,
        None if data is None else data.train,
        None if data is None else data.train_groups,
        reading,
        descriptions=recipe.task.descriptions or {},
        answers=answers,
        besides=() if data is None else (*data.unlabeled, *data.validation, *data.test),
        validation=None if data is None else data.validation,
    )


def teacher_problems(recipe: Recipe, data: Prepared | None) -> list[Problem]:
    """Everything that keeps the teacher from answering, at its place in the recipe.

    Args:
        recipe: The recipe.
        data: Its rows; None where they cannot be read.
    """
    spec, assignment = teacher_spec(recipe), assignment_of(recipe, data)
    problems = spec.problems(assignment)
    if data is not None and spec.has_weights and not problems:
        problems = _tokens_without_rows(spec, assignment, data)
    return placed("teacher", problems)


def _tokens_without_rows(
    spec: TeacherSpec[ClassAssignment, Teacher], assignment: ClassAssignment, data: Prepared
) -> list[Problem]:
    """A tokenizer that cannot be read, or one that makes tokens of the texts for which the model
    has no embedding; a GGUF file is not converted to look.
    """
    from tutelage.models.reading import require_embedded

    facts = spec.facts(assignment)
    if facts is None or facts.needs_conversion:
        return []
    try:
        tokenizer = spec.tokenizer(assignment, convert=False)
        require_embedded(
            texts_of(data), facts.vocabulary, tokenizer, name=str(tokenizer.name_or_path)
        )
    except ModelError as error:
        return [Problem("model", str(error))]
    return []


def texts_of(data: Prepared) -> list[str]:
    """Every text that a teacher or a student is given."""
    rows = (*data.train, *data.unlabeled, *data.validation, *data.test)
    return [example.text for example in rows]


def require_teacher(recipe: Recipe, data: Prepared) -> None:
    """Refuse a teacher that cannot answer.

    Raises:
        RecipeError: Every reason.
    """
    problems = teacher_problems(recipe, data)
    if any(problem.severity == "error" for problem in problems):
        raise RecipeError(problems)


def teacher_facts(recipe: Recipe) -> ModelFacts | None:
    """Size and shape of the teacher's language model, from files' headers; None where it has none
    here.

    Raises:
        ModelError: The model is not there or cannot be read, or is a fitted classifier for other
            labels.
    """
    return teacher_spec(recipe).facts(assignment_of(recipe))


def teacher_fingerprint(recipe: Recipe, data: Prepared) -> str:
    """The fingerprint of what the teacher depends on: its weights, its section, the rows it is
    fitted to.

    Raises:
        ModelError: The model is not there, or is a saved teacher that cannot be used here.
    """
    return teacher_spec(recipe).fingerprint(assignment_of(recipe, data))


def fit_teacher(
    recipe: Recipe,
    data: Prepared,
    *,
    out: Path,
    reading: Reading | None = None,
    answers: Path | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Make the teacher and save it in `out`, in the place of what is there.

    Returns:
        Facts for provenance: kind, model, fingerprint, parameters, description.
    """
    # Its files may be links into another run: they are never written into.
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    assignment = assignment_of(recipe, data, reading=reading, answers=answers)
    return teacher_spec(recipe).make(assignment, out=out, progress=progress)


def load_teacher(
    recipe: Recipe,
    data: Prepared,
    folder: Path,
    *,
    reading: Reading | None = None,
    answers: Path | None = None,
) -> Teacher:
    """The teacher that `fit_teacher` saved.

    Raises:
        ModelError: The folder or the weights below it are not what they were.
    """
    assignment = assignment_of(recipe, data, reading=reading, answers=answers)
    return teacher_spec(recipe).load(folder, assignment)
