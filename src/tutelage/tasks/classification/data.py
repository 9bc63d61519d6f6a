"""What a classification recipe starts from: its files; its data, read and checked; the texts that
students learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tutelage.data import Prepared, augment, prepare
from tutelage.errors import Problem, RecipeError
from tutelage.runs import fingerprint
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.recipe import inputs_fingerprint
from tutelage.teachers.spec import ClassAssignment
from tutelage.types import Example


def classification_inputs(recipe: Recipe) -> str:
    """The fingerprint of all that a run depends on; nothing is read into examples, torch is not
    loaded (unless the teacher is one that was saved).

    Raises:
        OSError: A file cannot be read.
        ModelError: A model is not there.
    """
    data = recipe.data
    named = [data.train, data.validation, data.test, *data.unlabeled]
    labels = recipe.task.labels
    weights = [student.spec(labels=labels).starts_from() for student in recipe.students.values()]
    return inputs_fingerprint(
        recipe,
        files=[file for file in named if isinstance(file, Path)],
        weights=filter(None, weights),
        besides=recipe.teacher.spec().sources(
            ClassAssignment(recipe.task.labels, descriptions=recipe.task.descriptions or {})
        ),
        limits=data.limits,
    )


def prepare_data(recipe: Recipe) -> Prepared:
    """Read, validate and split the data that a recipe names.

    Raises:
        RecipeError: Every problem of every file at once.
    """
    prepared, problems = read_data(recipe)
    errors = [problem for problem in problems if problem.severity == "error"]
    if prepared is None or errors:
        raise RecipeError(errors)
    return prepared


def read_data(recipe: Recipe) -> tuple[Prepared | None, list[Problem]]:
    """As `prepare_data`, but problems and warnings are given back; None if there is an error among
    them.
    """
    data = recipe.data
    try:
        prepared = prepare(
            data.train,
            recipe.task.labels,
            validation=data.validation,
            test=data.test,
            unlabeled=data.unlabeled,
            text_field=data.text_field,
            label_field=data.label_field,
            group_field=data.group_field,
            labels_required=recipe.teacher.spec().needs_labels,
            limits=data.limits,
            seed=recipe.train.seed,
        )
    except RecipeError as error:
        return None, list(error.problems)
    return prepared, [*_control_problems(recipe, prepared), *prepared.warnings]


def _control_problems(recipe: Recipe, prepared: Prepared) -> list[Problem]:
    """A control without a labelled training row to learn from."""
    if not recipe.evaluate.control or any(one.label is not None for one in prepared.train):
        return []
    message = "no training row has a label, but a control learns from labels alone: set it to false"
    return [Problem("evaluate.control", message)]


def data_fingerprint(prepared: Prepared) -> str:
    """The fingerprint of every split."""
    return rows_fingerprint(prepared.train, prepared.validation, prepared.test, prepared.unlabeled)


def rows_fingerprint(*splits: Sequence[Example]) -> str:
    """The fingerprint of splits: texts by content, with their labels, in order."""
    return fingerprint(
        [[(example.example_id, example.label) for example in split] for split in splits]
    )


def recipe_hash(recipe: Recipe) -> str:
    """The fingerprint of a whole recipe."""
    return fingerprint(recipe)


AUGMENTED = "augmented"
"""Source of texts that were made from training texts."""


def transfer_set(recipe: Recipe, data: Prepared) -> list[Example]:
    """The texts that students learn from: labelled rows, unlabeled rows, augmented copies; each
    text once.
    """
    examples = [*data.train, *data.unlabeled]
    settings = recipe.data.augment
    if settings is not None:
        texts = augment(
            [example.text for example in data.train], settings.spec(), seed=recipe.train.seed
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
