"""What a causal_lm recipe starts from: its files, the teacher's tokenizer, documents read with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from tutelage.data import PreparedDocuments, prepare_documents
from tutelage.errors import Problem, RecipeError
from tutelage.runs import fingerprint
from tutelage.tasks.inputs import inputs_fingerprint
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.teaching import assignment_of, teacher_spec
from tutelage.types import Document


def language_inputs(recipe: LanguageRecipe) -> str:
    """The fingerprint of all that a run depends on; no document is tokenized, torch is not loaded.

    Raises:
        OSError: A file cannot be read.
        ModelError: A model is not there.
    """
    data, teacher = recipe.data, teacher_spec(recipe)
    weights = [student.spec().starts_from() for student in recipe.students.values()]
    rendered = data.messages_field is not None or data.prompt_field is not None
    return inputs_fingerprint(
        recipe,
        files=[file for file in (data.train, data.validation, data.test) if isinstance(file, Path)],
        models=filter(None, weights),
        besides=[
            teacher.sources(assignment_of(recipe)),
            # Tomorrow the same rows are rendered into other documents.
            date.today().isoformat() if rendered and teacher.writes_the_date() else None,
        ],
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
            seed=recipe.train.seed,
        )
    except RecipeError as error:
        return None, list(error.problems)
    return prepared, list(prepared.warnings)


def documents_fingerprint(*splits: Sequence[Document]) -> str:
    """The fingerprint of splits: documents by content, in order."""
    return fingerprint([[document.example_id for document in split] for split in splits])
