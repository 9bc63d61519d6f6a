"""The recipe is a contract: a change of any key, default or range shows up here as a change of the
checked-in schema.

After a decided change, write the file again: `python tests/contracts/test_recipe_schema.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.recipes.loading import schema

SCHEMA_FILE = Path(__file__).parent / "golden" / "recipe_schema.json"


def as_text() -> str:
    return json.dumps(schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_schema_is_the_one_checked_in() -> None:
    assert json.loads(as_text()) == json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def test_every_key_is_described() -> None:
    sections: dict[str, Any] = schema()["$defs"]
    bare = [
        f"{name}.{key}"
        for name, one in sections.items()
        for key, value in one["properties"].items()
        if "description" not in value
    ]
    assert bare == []
    assert len(sections) > 35


def test_unknown_keys_are_refused_everywhere() -> None:
    assert all(one["additionalProperties"] is False for one in schema()["$defs"].values())


def holds(condition: dict[str, Any], value: Any) -> bool:
    """What a schema checker does with nested `properties` and `required`."""
    for key in ("task", "kind"):
        if key not in condition["required"] or key not in value:
            return False
        condition, value = condition["properties"][key], value[key]
    return value == condition["const"]


@pytest.mark.parametrize(
    ("task", "recipe"),
    [
        ({"task": {"kind": "causal_lm"}}, "LanguageRecipe"),
        ({"task": {"kind": "classification"}}, "Recipe"),
        ({"task": {}}, "Recipe"),
        ({}, "Recipe"),
    ],
)
def test_the_kind_of_task_chooses_the_recipe(task: dict[str, Any], recipe: str) -> None:
    described = schema()
    chosen: dict[str, Any] = described
    while "if" in chosen:
        chosen = chosen["then" if holds(chosen["if"], task) else "else"]
    assert chosen == {"$ref": f"#/$defs/{recipe}"}
    assert described["$defs"][recipe]["required"][0] == "task"


if __name__ == "__main__":
    SCHEMA_FILE.parent.mkdir(exist_ok=True)
    SCHEMA_FILE.write_text(as_text(), encoding="utf-8")
