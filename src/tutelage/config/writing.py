"""From a recipe object back to YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

_PLAIN = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_/.-]|:(?=[A-Za-z0-9]))*")
_WORDS_WITH_A_MEANING = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "none"}
"""Quoted for the sake of readers that speak YAML 1.1."""

_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON may hold as it is and YAML would take for a line break or refuse."""


def dump_recipe(recipe: BaseModel) -> str:
    """Write a recipe as YAML, with every default spelled out.

    Args:
        recipe: The recipe, of any task.

    Returns:
        YAML in the order of the sections. The same recipe always gives the same text; loading it
        gives an equal recipe.
    """
    return as_yaml(recipe.model_dump(mode="json"))


def as_yaml(values: dict[str, Any]) -> str:
    """JSON values as YAML, in their order, as `dump_recipe` writes them."""
    return "".join(f"{line}\n" for line in _lines(values, ""))


def _lines(mapping: dict[str, Any], indent: str) -> Iterator[str]:
    # What chooses among alternatives comes first, as people write it.
    for key, value in sorted(mapping.items(), key=lambda pair: pair[0] not in ("kind", "method")):
        if isinstance(value, dict) and value:
            yield f"{indent}{_scalar(key)}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{_scalar(key)}: [{', '.join(_scalar(item) for item in value)}]"
        else:
            yield f"{indent}{_scalar(key)}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS_WITH_A_MEANING:
            return value
        quoted = json.dumps(value, ensure_ascii=False)
        return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
    return json.dumps(value)
