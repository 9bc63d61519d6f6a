"""The options of a frozen spec held against what its own annotations say.

In: a frozen dataclass whose fields are annotated with types, `Literal` words and `annotated_types`
bounds. Out: nothing, or a `ValueError` that names the field, its value and what was expected. A
recipe is held against the same annotations by pydantic (see `config.specs`); this is for callers
in Python, and needs neither pydantic nor torch.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen

from tutelage.errors import one_line


def check_options(spec: Any) -> None:
    """Refuse a spec whose options are out of range, or do not go together; for `__post_init__`.

    What each option may be is read from its annotation; what several mean for each other is asked
    of the method `check_together`, where the spec has one.

    Args:
        spec: An instance of a dataclass.

    Raises:
        ValueError: An option is not what its annotation says, or `check_together` refuses them.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Cell:
        ...     width: Annotated[int, Ge(1)] = 8
        ...     def __post_init__(self) -> None:
        ...         check_options(self)
        >>> Cell(width=0)
        Traceback (most recent call last):
        ValueError: width is 0: expected a whole number of at least 1
    """
    names = (field.name for field in fields(spec) if field.init)
    check_values(type(spec), {name: getattr(spec, name) for name in names})
    check_together = getattr(spec, "check_together", None)
    if check_together is not None:
        check_together()


def check_values(spec: type, values: Mapping[str, Any]) -> None:
    """Refuse values that a spec would refuse one by one, without a whole spec.

    Args:
        spec: A dataclass.
        values: Some of its options by name.

    Raises:
        ValueError: One of them is not what its annotation says.
    """
    hints = annotations_of(spec)
    for name, value in values.items():
        options = list(_options(hints[name]))
        if not any(_fits(value, option) for option in options):
            expected = " or ".join(_expected(option) for option in options)
            raise ValueError(f"{name} is {_shown(value)}: expected {expected}")


@cache
def annotations_of(spec: type) -> dict[str, Any]:
    """The annotation of every field of a dataclass, bounds included.

    Args:
        spec: A dataclass; every name in its annotations is imported at run time.
    """
    return get_type_hints(spec, include_extras=True)


def _options(hint: Any, bounds: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The alternatives of an annotation, each with its bounds."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *extra = get_args(hint)
        yield from _options(inner, (*bounds, *extra))
    elif origin in (Union, types.UnionType):
        for part in get_args(hint):
            yield from _options(part, bounds)
    else:
        yield hint, bounds


def _fits(value: Any, option: tuple[Any, tuple[Any, ...]]) -> bool:
    kind, bounds = option
    if kind is type(None) or kind is None:
        return value is None
    if get_origin(kind) is Literal:
        return any(value == word and type(value) is type(word) for word in get_args(kind))
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        number = Integral if kind is int else Real
        if not isinstance(value, number) or isinstance(value, bool) or not _is_finite(value):
            return False
    elif value is None and kind is not Any:
        return False
    return all(_within(value, bound) for bound in bounds)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _within(value: Any, bound: Any) -> bool:
    match bound:
        case Ge(ge=least):
            return value >= least
        case Gt(gt=below):
            return value > below
        case Le(le=most):
            return value <= most
        case Lt(lt=above):
            return value < above
        case MinLen(min_length=fewest):
            return len(value) >= fewest
        case _:
            return True  # what only a recipe is held against


def _expected(option: tuple[Any, tuple[Any, ...]]) -> str:
    kind, bounds = option
    if kind is type(None) or kind is None:
        return "None"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(str(word) for word in get_args(kind))}"
    nouns = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
    noun = nouns.get(kind) or f"a {getattr(get_origin(kind) or kind, '__name__', kind)}"
    limits = " and ".join(words for bound in bounds if (words := _limit(bound)))
    return f"{noun} {limits}".rstrip()


def _shown(value: Any) -> str:
    try:
        return one_line(repr(value), most=100)
    except ValueError:  # more digits than Python writes out
        return "a number of very many digits"


def _limit(bound: Any) -> str:
    match bound:
        case Ge(ge=least):
            return f"of at least {least}"
        case Gt(gt=below):
            return f"above {below}"
        case Le(le=most):
            return f"of at most {most}"
        case Lt(lt=above):
            return f"below {above}"
        case MinLen(min_length=fewest):
            return f"of at least {fewest} entries" if fewest != 1 else "that is not empty"
        case _:
            return ""
