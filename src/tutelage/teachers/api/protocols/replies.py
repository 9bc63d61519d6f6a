"""Reading JSON that a stranger's server wrote: what is there, or what was there instead.

In: parts of a reply. Out: values of the type that was expected, or a `BadAnswer` of the sort
`wrong_shape` that quotes what stood in their place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.errors import one_line
from tutelage.teachers.api.protocol import BadAnswer

LOG_ZERO = -9999.0
"""What servers write for a log-probability that they do not tell: the token is not in the list."""
ROUNDING = 0.01
"""How far above 1 a probability may stand, since servers round."""


def said(value: Any) -> str:
    """A value of a reply as a message shows it: on one line, cut."""
    return one_line(repr(value), most=80)


def wrong(what: str, value: Any, expected: str) -> BadAnswer:
    """The error that says what was there instead of what was expected."""
    return BadAnswer("wrong_shape", f"{what} is {said(value)}; expected {expected}")


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """The value, if it is an object of JSON.

    Raises:
        BadAnswer: It is not.
    """
    if not isinstance(value, Mapping):
        raise wrong(what, value, "an object")
    return value


def sequence(value: Any, what: str) -> Sequence[Any]:
    """The value, if it is a list.

    Raises:
        BadAnswer: It is not.
    """
    if not isinstance(value, (list, tuple)):
        raise wrong(what, value, "a list")
    return value


def string(value: Any, what: str) -> str:
    """The value, if it is text.

    Raises:
        BadAnswer: It is not.
    """
    if not isinstance(value, str):
        raise wrong(what, value, "text")
    return value


def is_number(value: Any) -> bool:
    """Whether JSON's value is a number; its booleans are not, though Python's are."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def probability(value: Any, what: str) -> float:
    """The value from 0 to 1, if it is a probability up to rounding.

    Raises:
        BadAnswer: It is not.
    """
    if not is_number(value) or not -ROUNDING <= value <= 1 + ROUNDING:  # NaN is not in between
        raise wrong(what, value, "a number from 0 to 1")
    return min(max(float(value), 0.0), 1.0)


def share(value: Any) -> float | None:
    """A share that a server tells beside its answer, from 0 to 1; None where it says none."""
    is_share = is_number(value) and -ROUNDING <= value <= 1 + ROUNDING
    return min(max(float(value), 0.0), 1.0) if is_share else None


def listed_probability(value: Any, what: str) -> float | None:
    """The probability of a token whose log-probability is told; None: it is not told.

    Raises:
        BadAnswer: The value is no log-probability.
    """
    if not is_number(value) or not value <= ROUNDING:  # NaN is not below it
        raise wrong(what, value, "a log-probability, 0 at most")
    return None if value <= LOG_ZERO else min(math.exp(value), 1.0)


def first_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first of the `choices` of a chat or a completion.

    Raises:
        BadAnswer: There is none.
    """
    choices = sequence(body.get("choices"), "`choices`")
    if not choices:
        raise BadAnswer("empty", "`choices` is an empty list; expected one choice")
    return mapping(choices[0], "the first of `choices`")
