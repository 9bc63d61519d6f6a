"""The reference of the recipe names every key there is."""

from __future__ import annotations

from pathlib import Path

from tutelage.config import schema

REFERENCE = Path(__file__).parents[2] / "docs" / "recipe.md"


def test_every_key_of_the_schema_is_in_the_reference() -> None:
    text = REFERENCE.read_text("utf-8")
    described = schema()
    keys = {key for model in (described, *described["$defs"].values()) for key in model.get("properties", {})}
    assert len(keys) > 50
    assert sorted(key for key in keys if f"`{key}" not in text) == []
