"""What all protocols need to read JSON of strangers: values of a type, or a `Refusal` of 422."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage_runtime.serving.answering import Asked, Option, Refusal, Reply
from tutelage_runtime.serving.limits import Limits

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Wire:
    """One protocol."""

    read: Callable[[Mapping[str, Any], Limits], Asked]
    """What a body asks; raises `Refusal`."""
    word: Callable[[Asked, Reply], dict[str, Any]]
    """The body of a reply."""
    error: Callable[[Refusal], tuple[int, dict[str, Any]]]
    """Status and body of an error."""


def wrong(place: Place, message: str, code: str = "wrong_type") -> Refusal:
    """A body of the wrong shape."""
    return Refusal(422, code, f"`{path_of(place)}` {message}", place=place)


def path_of(place: Sequence[str | int]) -> str:
    """A place as people write it.

    Example:
        >>> path_of(("questions", 0, "choices"))
        'questions[0].choices'
    """
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def required(body: Mapping[str, Any], key: str, place: Place = ()) -> Any:
    """The value of a key that must be there."""
    if key not in body:
        raise wrong((*place, key), "is missing", "missing")
    return body[key]


def string(value: Any, place: Place) -> str:
    """A string."""
    if not isinstance(value, str):
        raise wrong(place, f"is {_kind(value)}, not a string")
    return value


def maybe_string(value: Any, place: Place) -> str | None:
    """A string, or null for none."""
    return None if value is None else string(value, place)


def array(value: Any, place: Place) -> list[Any]:
    """An array."""
    if not isinstance(value, list):
        raise wrong(place, f"is {_kind(value)}, not an array")
    return value


def mapping(value: Any, place: Place) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise wrong(place, f"is {_kind(value)}, not an object")
    return value


def require_different(options: Sequence[Option], place: Place, *, least: int, most: int) -> None:
    """Refuse too few or many options, and those that are given twice; true is not "true"."""
    if len(options) < least:
        raise wrong(place, f"has {len(options)} options; at least {least} are needed", "too_short")
    if len(options) > most:
        raise wrong(place, f"has {len(options):,} options; at most {most:,} are taken", "too_many")
    if len(set(options)) < len(options):
        raise wrong(place, "names an option twice", "duplicate")


def best(probs: Sequence[float]) -> int:
    """The place of the most probable option, the first of equal ones."""
    return max(range(len(probs)), key=probs.__getitem__)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
