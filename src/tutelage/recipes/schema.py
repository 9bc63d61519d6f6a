"""The JSON schema of recipe files, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from tutelage.config.specs import field_notes
from tutelage.config.values import Section
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.language.recipe import LanguageRecipe


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe file, whichever its task.

    Returns:
        A JSON schema (draft 2020-12) with a description for every section and key. `$defs` holds
        both kinds of recipe; `task.kind` chooses between them.
    """
    _, described = models_json_schema([(Recipe, "validation"), (LanguageRecipe, "validation")])
    sections = described["$defs"]
    for recipe in (Recipe, LanguageRecipe):
        # A recipe file may leave its name out; only the object always has one.
        sections[recipe.__name__]["required"].remove("name")
    for one in sections.values():
        one["description"] = " ".join(one["description"].split())  # whatever its lines are
    for model in _sections(Section):
        properties = sections.get(model.__name__, {}).get("properties", {})
        for key, text in field_notes(model).items():
            if key in properties:
                properties[key]["description"] = text
    is_language = {
        "properties": {
            "task": {"properties": {"kind": {"const": "causal_lm"}}, "required": ["kind"]}
        }
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe",
        "description": "What a run of tutelage does, from data to report.",
        "type": "object",
        "if": {**is_language, "required": ["task"]},
        "then": {"$ref": "#/$defs/LanguageRecipe"},
        "else": {"$ref": "#/$defs/Recipe"},
        "$defs": sections,
    }


def _sections(model: type[Section]) -> list[type[Section]]:
    return [found for child in model.__subclasses__() for found in (child, *_sections(child))]
