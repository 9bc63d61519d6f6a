"""What a classification recipe starts from: its data, read and checked."""

from __future__ import annotations

from tutelage.config import Recipe
from tutelage.data import Prepared, prepare
from tutelage.errors import Problem, RecipeError
from tutelage.runs import fingerprint


def prepare_data(recipe: Recipe) -> Prepared:
    """Read, validate and split the data that a recipe names.

    Raises:
        RecipeError: Every problem of every file at once.
    """
    prepared, problems = read_data(recipe)
    if prepared is None:
        raise RecipeError([problem for problem in problems if problem.severity == "error"])
    return prepared


def read_data(recipe: Recipe) -> tuple[Prepared | None, list[Problem]]:
    """As `prepare_data`, but problems and warnings are given back; None if there is an error among them."""
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
            labels_required=recipe.teacher.kind == "classifier" and recipe.teacher.fit.method != "none",
            seed=recipe.train.seed,
        )
    except RecipeError as error:
        return None, list(error.problems)
    return prepared, list(prepared.warnings)


def data_fingerprint(prepared: Prepared) -> str:
    """The fingerprint of every split: texts by content, with their labels, in order."""
    return fingerprint(
        [
            [(example.example_id, example.label) for example in split]
            for split in (prepared.train, prepared.validation, prepared.test, prepared.unlabeled)
        ]
    )


def recipe_hash(recipe: Recipe) -> str:
    """The fingerprint of a whole recipe."""
    return fingerprint(recipe)
