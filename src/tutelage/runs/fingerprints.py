"""Names for content: the same inputs have the same fingerprint on every machine and in every
process.

In: any mixture of plain values, dataclasses, pydantic models, arrays. Out: 16 hexadecimal
characters. A stage whose inputs have a known fingerprint need not be done again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import numpy as np

FINGERPRINT_BYTES = 8


def fingerprint(*parts: object) -> str:
    """Name the content of `parts`, 16 hexadecimal characters of BLAKE2b.

    Args:
        parts: None, booleans, numbers, strings, bytes, paths, enums, sequences, sets, mappings,
            dataclasses, pydantic models and numpy arrays, nested at will. Mappings and sets count
            without order.

    Returns:
        The same characters for the same content; 1, 1.0, True and "1" are four different contents.

    Raises:
        TypeError: A part of another type, which has no content that could be relied upon.

    Example:
        >>> fingerprint({"b": 1, "a": [2, 3]}) == fingerprint({"a": (2, 3), "b": 1})
        True
    """
    return blake2b(
        _canonical(list(parts)).encode("utf-8"), digest_size=FINGERPRINT_BYTES
    ).hexdigest()


def fingerprint_file(path: Path) -> str:
    """Name the bytes of a file, 16 hexadecimal characters of BLAKE2b.

    Raises:
        FileNotFoundError: There is no such file.
    """
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=FINGERPRINT_BYTES)).hexdigest()


def seed_sequence(seed: int, *names: str | int) -> int:
    """Derive an independent seed for one purpose, in [0, 2**63).

    Every random choice of a run gets a seed of its own, so that adding one does not move the
    others.

    Args:
        seed: The seed of the run; 0 is a seed like any other.
        names: What it is for, for instance `"order", epoch`.
    """
    digest = blake2b(_canonical(["seed", seed, *names]).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _canonical(value: object) -> str:
    # ASCII, so that even a lone surrogate in a text has a name.
    return json.dumps(
        _plain(value), ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=True
    )


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return {"bytes": value.hex()}
        case list() | tuple():  # long ones: the abstract classes below are slow to ask
            return [_plain(item) for item in value]
        case Path():
            return {"path": str(value)}
        case Enum():
            return {"enum": [type(value).__name__, _plain(value.value)]}
        case np.ndarray() if not value.dtype.hasobject:
            content = blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
            return {"array": [str(value.dtype), list(value.shape), content]}
        case np.generic():
            return _plain(value.item())
        case Mapping():
            return {
                "mapping": sorted((_canonical(key), _plain(item)) for key, item in value.items())
            }
        case Set():
            return {"set": sorted(_canonical(item) for item in value)}
        case Sequence():
            return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"record": [type(value).__name__, _plain(fields)]}
    # A pydantic model, told by its method: this room works without pydantic.
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
        return {"record": [type(value).__name__, _plain(dump())]}
    raise TypeError(
        f"{type(value).__name__} has no content that a fingerprint could rely on: give plain "
        "values, dataclasses, "
        "pydantic models, paths, bytes or numpy arrays"
    )
