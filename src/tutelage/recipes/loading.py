"""From a recipe file to frozen objects, with every problem reported at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tutelage.config.problems import TASKS, explain
from tutelage.config.source import Source, read_source
from tutelage.config.values import nearest
from tutelage.errors import Problem, RecipeError
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.recipe_checks import language_problems
from tutelage.tasks.objectives import objective_problems


def load_recipe(path: Path, *, overrides: Sequence[str] = ()) -> Recipe | LanguageRecipe:
    """Read a recipe, lay the overrides over it, and check all of it.

    `task.kind` says which class the recipe becomes. Relative paths become absolute, starting from
    the folder of the recipe. No data file or model is opened.

    Args:
        path: The recipe file.
        overrides: Texts such as `train.epochs=3`; the value is read as YAML.

    Returns:
        The recipe with every default filled in: `Recipe` for classification, `LanguageRecipe` for
            causal_lm.

    Raises:
        RecipeError: The recipe cannot be used; `problems` holds every reason, each with its line.

    Example:
        >>> load_recipe(Path("reviews.yaml"))
        Traceback (most recent call last):
        tutelage.errors.RecipeError: reviews.yaml: no such file; write one with: tutelage init
            reviews.yaml
    """
    path = Path(path)
    source = read_source(path, overrides=overrides)
    values = source.values
    model = _recipe_class(_at(values, "task", "kind"))
    # A section whose lines are all commented out reads as null; it means its defaults.
    given = {
        key: value
        for key, value in values.items()
        if value is not None or key not in model.model_fields
    }
    given.setdefault("name", re.sub(r"[^A-Za-z0-9_-]", "-", path.stem) or "recipe")
    checked = (
        language_problems(source)
        if model is LanguageRecipe
        else [*_verbalizer_problems(source), *objective_problems(source, "class_probabilities")]
    )
    problems = [*source.problems, *checked]
    try:
        recipe = model.model_validate(given, context={"folder": path.parent})
    except ValidationError as error:
        problems += explain(error.errors(include_url=False), source, recipe=model)
        recipe = None
    if recipe is None or problems:
        raise RecipeError(sorted(problems, key=_by_line))
    return recipe


def _recipe_class(kind: Any) -> type[Recipe] | type[LanguageRecipe]:
    """The class for a kind of task; a misspelled kind is checked as the task that it is most
    like.
    """
    meant = nearest(kind, list(TASKS)) if isinstance(kind, str) else None
    return LanguageRecipe if meant == "causal_lm" else Recipe


def _verbalizer_problems(source: Source) -> list[Problem]:
    """Verbalizers must speak about exactly the task's labels. Checked on raw values, so that
    nothing hides it.
    """
    labels, verbalizers = (
        _at(source.values, "task", "labels"),
        _at(source.values, "teacher", "verbalizers"),
    )
    if not isinstance(labels, list) or not isinstance(verbalizers, dict):
        return []
    keys, problems = ("teacher", "verbalizers"), []
    for label in verbalizers:
        if label not in labels:
            guess = nearest(label, [one for one in labels if isinstance(one, str)])
            meant = (
                f"did you mean `{guess}`?"
                if guess
                else f"the labels are {', '.join(map(str, labels))}"
            )
            problems.append(
                Problem(
                    source.where((*keys, label)),
                    f"`teacher.verbalizers`: no label `{label}`; {meant}",
                )
            )
    if absent := [str(label) for label in labels if label not in verbalizers]:
        message = f"`teacher.verbalizers` has no word for {', '.join(absent)}; give every label a word, or drop the section"
        problems.append(Problem(source.where(keys), message))
    owner: dict[str, str] = {}
    for label, words in verbalizers.items():
        for word in words if isinstance(words, list) else [words]:
            if isinstance(word, str) and owner.setdefault(word, label) != label:
                message = f"`teacher.verbalizers`: `{word}` stands for both {owner[word]} and {label}; choose another"
                problems.append(Problem(source.where((*keys, label)), message))
    return problems


def _at(values: Any, *keys: str) -> Any:
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _by_line(problem: Problem) -> tuple[int, int]:
    """Overrides first, then the file from top to bottom."""
    line = problem.where.rpartition(":")[2]
    return (1, int(line)) if line.isdigit() else (0, 0)
