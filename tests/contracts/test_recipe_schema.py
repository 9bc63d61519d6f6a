"""The recipe is a contract: a change of any key, default or range shows up here as a change of the checked-in schema.

After a decided change, write the file again: `python tests/contracts/test_recipe_schema.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tutelage.config import schema

SCHEMA_FILE = Path(__file__).parent / "golden" / "recipe_schema.json"


def as_text() -> str:
    return json.dumps(schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_schema_is_the_one_checked_in() -> None:
    assert json.loads(as_text()) == json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def test_every_key_is_described() -> None:
    described = schema()
    sections: dict[str, Any] = {"Recipe": described, **described["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, one in sections.items()
        for key, value in one["properties"].items()
        if "description" not in value
    ]
    assert bare == []
    assert len(sections) > 15


def test_unknown_keys_are_refused_everywhere() -> None:
    described = schema()
    assert all(one["additionalProperties"] is False for one in (described, *described["$defs"].values()))


if __name__ == "__main__":
    SCHEMA_FILE.parent.mkdir(exist_ok=True)
    SCHEMA_FILE.write_text(as_text(), encoding="utf-8")
