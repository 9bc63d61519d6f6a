"""JSON with some of its values changed as values: a fuzzer that changes bytes alone seldom leaves it
JSON, and then sees only the parser.
"""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.5, 1e308,
    float("inf"), float("nan"), "", "a", ".", "..", "../x", "/etc/passwd", "a\0b", "\ud800", "*",
    "\u202e", "é", "x" * 300, "x" * 5_000, [], {}, [[]], [None], {"": None}, [1, 2, 3], ["a", "a"],
    {"a": 1}, [{"a": []}],
]  # fmt: skip
"""What is put in the place of others."""


def mutated(content: bytes, draw: random.Random) -> bytes | None:
    """JSON with one to three of its values or keys changed; None where it is no JSON."""
    with suppress(ValueError, RecursionError):
        value = json.loads(content)
        for _ in range(draw.randint(1, 3)):
            value = _changed(value, draw)
        return json.dumps(value).encode()
    return None


def _changed(value: Any, draw: random.Random) -> Any:
    """A value with something in it, or itself, replaced, removed, repeated or renamed."""
    if not isinstance(value, (dict, list)) or not value or draw.random() < 0.15:
        return draw.choice(VALUES)
    if isinstance(value, list):
        place = draw.randrange(len(value))
        match draw.randrange(6):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return [*value, value[place]]
            case _:
                return [*value[:place], _changed(value[place], draw), *value[place + 1 :]]
    key = draw.choice(list(value))
    match draw.randrange(6):
        case 0:
            return {name: one for name, one in value.items() if name != key}
        case 1:
            new = draw.choice([one for one in VALUES if isinstance(one, str)])
            return {(new if name == key else name): one for name, one in value.items()}
        case _:
            return value | {key: _changed(value[key], draw)}
