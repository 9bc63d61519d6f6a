"""How large a request may be, and the reading of JSON within that.

In: bytes that a stranger sent. Out: JSON of bounded depth, and texts that are Unicode.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage_runtime.serving.answering import Refusal


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for; more gets an error that names the limit."""

    body_bytes: int = 1 << 20
    """Of a request's body: 413."""
    text_characters: int = 100_000
    """Of one text: 422, which OpenAI and vLLM word as 400; so are the next three."""
    texts: int = 256
    """Of one request (`/classify`)."""
    questions: int = 400
    """Of one request; OpenAI's own limit."""
    options: int = 1_024
    """Of one question."""
    depth: int = 32
    """Of arrays and objects in each other: 400."""
    body_seconds: float = 10.0
    """Within which a body must have come: 408."""


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_NO_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[^\[\]{}"]++', re.DOTALL)
"""Strings, a last one without its end too, and whatever is no bracket; each sign is read once."""
_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def read_json(body: bytes, limits: Limits) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        Refusal: 400, it is no JSON (NaN is none), no UTF-8, or too deep; 422, it is no object.
    """
    try:
        text = body.decode("utf-8")
        if body.count(b"[") + body.count(b"{") > limits.depth and _depth(text) > limits.depth:
            raise Refusal(
                400, "too_deep", f"the JSON is nested more than {limits.depth} levels deep"
            )
        value = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise Refusal(400, "invalid_json", "the body is not UTF-8; send JSON in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "invalid_json", f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refusal(422, "wrong_type", "the body is no JSON object; send {...}")
    return value


def _depth(text: str) -> int:
    """How deep brackets stand in each other, those within strings left out."""
    brackets = np.frombuffer(_NO_BRACKETS.sub("", text).encode(), dtype=np.uint8)
    opening = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opening, 1, -1)).max(initial=0))


def require_text(text: str, limits: Limits, place: tuple[str | int, ...]) -> str:
    """A text that students may be given.

    Raises:
        Refusal: 422, it is too long; 400, it has half of a surrogate pair, which is no character.
    """
    if len(text) > limits.text_characters:
        raise Refusal(
            422,
            "text_too_long",
            f"a text has {len(text):,} characters; at most {limits.text_characters:,} are taken",
            place=place,
        )
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise Refusal(
                400,
                "invalid_unicode",
                "a text has a lone surrogate (\\ud800 to \\udfff), which is no character",
                place=place,
            ) from None
    return text


def as_text(value: Any) -> str:
    """JSON as a student reads it: compact, keys in their order, letters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def require_number(given: int, most: int, what: str, place: tuple[str | int, ...]) -> None:
    """Refuse more than a limit of something that is counted.

    Raises:
        Refusal: 422.
    """
    if given > most:
        raise Refusal(
            422,
            "too_many",
            f"{given:,} {what}; at most {most:,} are taken at a time: send them in parts",
            place=place,
        )
