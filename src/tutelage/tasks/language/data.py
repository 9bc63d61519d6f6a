"""What a causal_lm recipe starts from: its files, its teacher (asked what its kind knows about
itself), documents read with the teacher's tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.data import PreparedDocuments, prepare_documents
from tutelage.errors import Problem, RecipeError
from tutelage.runs import fingerprint
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.recipe import inputs_fingerprint
from tutelage.teachers.spec import TokenAssignment, placed
from tutelage.types import Document

if TYPE_CHECKING:
    from tutelage.data.documents.prompts import PreparedPrompts
    from tutelage.targets.kinds import TextOptions
    from tutelage.teachers import CausalTeacher
    from tutelage.teachers.api.text_spec import ApiWriterSpec
    from tutelage.teachers.causal.spec import CausalTeacherSpec


def language_inputs(recipe: LanguageRecipe) -> str:
    """The fingerprint of all that a run depends on; no document is tokenized, torch is not loaded.

    Raises:
        OSError: A file cannot be read.
        ModelError: A model is not there.
    """
    from tutelage.tasks.language.accepting import judge_sources

    data, teacher = recipe.data, teacher_spec(recipe)
    weights = [student.spec().starts_from() for student in recipe.students.values()]
    rendered = data.messages_field is not None or data.prompt_field is not None
    return inputs_fingerprint(
        recipe,
        files=[file for file in (data.train, data.validation, data.test) if isinstance(file, Path)],
        weights=filter(None, weights),
        besides=[
            teacher.sources(assignment_of(recipe)),
            # Tomorrow the same rows are rendered into other documents.
            date.today().isoformat() if rendered and teacher.writes_the_date() else None,
            *filter(None, [judge_sources(recipe)]),
        ],
        limits=data.limits,
    )


def teacher_tokenizer(recipe: LanguageRecipe) -> Any:
    """The tokenizer of the teacher, without its weights.

    Raises:
        ModelError: The model is not there, or has no tokenizer.
    """
    return teacher_spec(recipe).tokenizer(assignment_of(recipe))


def prepare_language_data(recipe: LanguageRecipe, tokenizer: Any) -> PreparedDocuments:
    """Read, render, tokenize and split the documents that a recipe names.

    Raises:
        RecipeError: Every problem of every file at once.
    """
    prepared, problems = read_language_data(recipe, tokenizer)
    errors = [problem for problem in problems if problem.severity == "error"]
    if prepared is None or errors:
        raise RecipeError(errors)
    return prepared


def read_language_data(
    recipe: LanguageRecipe, tokenizer: Any
) -> tuple[PreparedDocuments | None, list[Problem]]:
    """As `prepare_language_data`, but problems and warnings are given back; None if there is an
    error among them.
    """
    data = recipe.data
    try:
        prepared = prepare_documents(
            data.train,
            tokenizer,
            validation=data.validation,
            test=data.test,
            text_field=data.text_field,
            prompt_field=data.prompt_field,
            response_field=data.response_field,
            messages_field=data.messages_field,
            train_on=data.train_on,
            sequence_length=recipe.task.sequence_length,
            long_documents=recipe.task.long_documents,
            control_tokens=data.control_tokens,
            limits=data.limits,
            seed=recipe.train.seed,
        )
    except RecipeError as error:
        return None, list(error.problems)
    return prepared, list(prepared.warnings)


def prepare_prompted_data(recipe: LanguageRecipe, tokenizer: Any) -> PreparedPrompts:
    """Read and split the prompts that a recipe names, and the documents of rows with a response.

    Raises:
        RecipeError: Every problem of every file at once.
    """
    from tutelage.data.documents.prompts import prepare_prompts

    data = recipe.data
    return prepare_prompts(
        data.train,
        tokenizer,
        validation=data.validation,
        test=data.test,
        prompt_field=data.prompt_field,
        response_field=data.response_field,
        messages_field=data.messages_field,
        sequence_length=recipe.task.sequence_length,
        long_documents=recipe.task.long_documents,
        train_on=data.train_on,
        control_tokens=data.control_tokens,
        limits=data.limits,
        seed=recipe.train.seed,
    )


def text_options(recipe: LanguageRecipe) -> TextOptions:
    """How the teacher writes, of a recipe with text targets."""
    assert recipe.targets.kind == "text"
    return recipe.targets.spec()


def documents_fingerprint(*splits: Sequence[Document]) -> str:
    """The fingerprint of splits: documents by content, in order."""
    return fingerprint([[document.example_id for document in split] for split in splits])


def teacher_spec(recipe: LanguageRecipe) -> CausalTeacherSpec | ApiWriterSpec:
    """The teacher's kind with its options."""
    return recipe.teacher.spec()


def assignment_of(recipe: LanguageRecipe) -> TokenAssignment:
    """What the teacher shall read."""
    return TokenAssignment(recipe.task.sequence_length)


def teacher_problems(recipe: LanguageRecipe) -> list[Problem]:
    """Everything that keeps the teacher from reading, at its place in the recipe."""
    return placed("teacher", teacher_spec(recipe).problems(assignment_of(recipe)))


def teacher_fingerprint(recipe: LanguageRecipe) -> str:
    """The fingerprint of what the teacher depends on.

    Raises:
        ModelError: The model is not there.
    """
    return teacher_spec(recipe).fingerprint(assignment_of(recipe))


def load_teacher(recipe: LanguageRecipe) -> CausalTeacher | None:
    """The teacher, loaded; None: it is elsewhere, and can be asked for texts only.

    Raises:
        ModelError: It cannot be loaded, or reads fewer tokens than the recipe asks for.
    """
    return teacher_spec(recipe).load(None, assignment_of(recipe))
