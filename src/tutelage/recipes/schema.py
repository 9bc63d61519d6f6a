"""The JSON schema of recipe files, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from tutelage.config.specs import field_notes
from tutelage.config.values import Section
from tutelage.tasks import all_tasks


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
