"""The reference of the recipe names every key there is, and says of it what the recipe itself
says."""

from __future__ import annotations

from pathlib import Path

from tutelage.losses.table import TABLE
from tutelage.recipes.loading import schema

REFERENCE = Path(__file__).parents[2] / "docs" / "recipe.md"


def test_every_key_of_the_schema_is_in_the_reference() -> None:
    text = REFERENCE.read_text("utf-8")
    described = schema()
    keys = {
        key
        for model in (described, *described["$defs"].values())
        for key in model.get("properties", {})
    }
    assert len(keys) > 50
    assert sorted(key for key in keys if f"`{key}" not in text) == []


def test_what_a_key_means_is_said_as_in_the_schema() -> None:
    text = REFERENCE.read_text("utf-8")
    sections = {
        name: model for name, model in schema()["$defs"].items() if not name.endswith("Recipe")
    }
    meanings = {
        f"{name}.{key}": value["description"]
        for name, model in sections.items()
        for key, value in model["properties"].items()
    }
    assert len(meanings) > 100
    assert {key: meaning for key, meaning in meanings.items() if f"| {meaning} |" not in text} == {}


def test_what_a_divergence_is_is_said_as_in_the_table() -> None:
    text = REFERENCE.read_text("utf-8").replace("\\|", "|")
    rows = [f"| `{name}` | {facts.meaning} |\n" for name, facts in TABLE.items()]
    assert [row for row in rows if row not in text] == []
