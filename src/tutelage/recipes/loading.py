"""From a recipe file to frozen objects, with every problem reported at once; and the JSON schema of
such files, for editors that complete and check YAML.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from tutelage.config.problems import in_words
from tutelage.config.source import Keys, read_source
from tutelage.config.specs import field_notes
from tutelage.config.values import MOST_NAME, Section
from tutelage.errors import Problem, RecipeError
from tutelage.runs import restore_recipe
from tutelage.runs.remote import local_file
from tutelage.runs.storage import require_utf8, storing
from tutelage.tasks import KINDS, all_tasks, task_named
from tutelage.types import SILENT, Progress
from tutelage.urls import url_of

if TYPE_CHECKING:
    from tutelage.tasks.classification.recipe import Recipe
    from tutelage.tasks.language.recipe import LanguageRecipe


def load_recipe(path: Path, *, overrides: Sequence[str] = ()) -> Recipe | LanguageRecipe:
    """Read a recipe, lay the overrides over it, and check all of it.

    `task.kind` says which class the recipe becomes. Relative paths become absolute, starting from
    the folder of the recipe. No data file or model is opened.

    Args:
        path: The recipe file, or its URL: then relative paths are URLs beside it.
        overrides: Texts such as `train.epochs=3`; the value is read as YAML.

    Returns:
        The recipe with every default filled in: `Recipe` for classification, `LanguageRecipe` for
        causal_lm.

    Raises:
        RecipeError: The recipe cannot be used; `problems` holds every reason, each with its line.
        StorageError: Its folder has a name that is no UTF-8, and the paths in it would have too.

    Example:
        >>> load_recipe(Path("r.yaml"))
        Traceback (most recent call last):
        tutelage.errors.RecipeError: r.yaml: no such file; write one with: tutelage init r.yaml
    """
    path, folder = Path(path), Path(path).parent
    try:
        path = local_file(path)
    except FileNotFoundError:
        message = "no such object; correct the URL"
        raise RecipeError([Problem(url_of(path), message)]) from None
    with storing(path):
        require_utf8(path.absolute())
    source = read_source(path, overrides=overrides)
    task = task_named(source.at("task", "kind"))
    # A section whose lines are all commented out reads as null; it means its defaults.
    given = {
        key: value
        for key, value in source.values.items()
        if value is not None or key not in task.recipe.model_fields
    }
    given.setdefault("name", re.sub(r"[^A-Za-z0-9_-]", "-", path.stem)[:MOST_NAME] or "recipe")
    problems = [*source.problems, *task.recipe_problems(source)]
    try:
        recipe = task.recipe.model_validate(given, context={"folder": folder})
    except ValidationError as error:
        errors = error.errors(include_url=False)
        words: dict[Keys, Sequence[str]] = {("task", "kind"): tuple(KINDS)}
        problems += in_words(errors, source, recipe=task.recipe, words=words)
        recipe = None
    if recipe is None or problems:
        raise RecipeError(sorted(problems, key=_by_line))
    return recipe


def _by_line(problem: Problem) -> tuple[int, int]:
    """Overrides first, then the file from top to bottom."""
    line = problem.where.rpartition(":")[2]
    return (1, int(line)) if line.isdigit() else (0, 0)


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe file, whichever its task.

    Returns:
        A JSON schema (draft 2020-12) with a description for every section and key. `$defs` holds
        both kinds of recipe; `task.kind` chooses between them.
    """
    tasks = list(all_tasks())
    _, described = models_json_schema([(task.recipe, "validation") for task in tasks])
    sections = described["$defs"]
    for task in tasks:
        # A recipe file may leave its name out; only the object always has one.
        sections[task.recipe.__name__]["required"].remove("name")
    for section in sections.values():
        if "description" in section:
            section["description"] = " ".join(section["description"].split())
    for model in _sections(Section):
        properties = sections.get(model.__name__, {}).get("properties", {})
        for key, text in field_notes(model).items():
            if key in properties:
                properties[key]["description"] = text
    first, *others = tasks
    chosen: dict[str, Any] = {"$ref": f"#/$defs/{first.recipe.__name__}"}
    for task in others:
        is_task = {"properties": {"kind": {"const": task.kind}}, "required": ["kind"]}
        chosen = {
            "if": {"properties": {"task": is_task}, "required": ["task"]},
            "then": {"$ref": f"#/$defs/{task.recipe.__name__}"},
            "else": chosen,
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe",
        "description": "What a run of tutelage does, from data to report.",
        "type": "object",
        **chosen,
        "$defs": sections,
    }


def _sections(model: type[Section]) -> list[type[Section]]:
    return [found for child in model.__subclasses__() for found in (child, *_sections(child))]


def open_recipe(
    path: Path, *, overrides: Sequence[str] = (), progress: Progress = SILENT
) -> tuple[Any, Path | None]:
    """The recipe of a file, or of a run folder together with that folder.

    Args:
        path: The file or the folder; a damaged recipe in a run is put back from the run's record.
        overrides: As for `load_recipe`.
        progress: Told what was put back.

    Raises:
        RecipeError: As for `load_recipe`, or the folder is none of a run.
    """
    if not path.is_dir():
        return load_recipe(path, overrides=overrides), None
    if (damage := restore_recipe(path)) is not None:
        progress.say(f"{damage}: put back from the record of the run")
    inside = path / "recipe.yaml"
    if not inside.is_file():
        message = "is a folder without recipe.yaml: give a recipe file or a run folder"
        raise RecipeError([Problem(str(path), message)])
    return load_recipe(inside, overrides=overrides), path
