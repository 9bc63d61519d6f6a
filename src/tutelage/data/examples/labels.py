"""What stands in a label column, as indexes into the task's labels.

A label is given by its name. Jsonl and parquet also hold numbers: where any label of the task is
called by a number, a number is a name; elsewhere numbers are indexes, but only where the whole
column holds nothing else, and the person is told. Anything between would be a guess.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from tutelage.data.rows import Problems, is_missing, shown
from tutelage.errors import nearest
from tutelage.types import same_name

Label = str | int | float
"""A name, or a number: floats are what a table made of whole numbers beside empty cells."""

BROKEN = -1
"""The index of a label that is none of the task's."""

MOST_INDEXED = 100_000
"""Where no labels were given, so many classes may be counted by numbers."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?")
_LISTED = 20
"""So many labels are listed in a message."""


class NoLabel:
    """Marks a label cell that holds neither a name nor a number."""


def label_value(
    values: Mapping[str, Any], field: str | None, number: int, problems: Problems
) -> Label | NoLabel | None:
    """The label of a row as the file has it; None: the row is unlabelled.

    Args:
        values: The cells of the row.
        field: The column of the label; None: there is none.
        number: The row.
        problems: Takes what is wrong.
    """
    value = values.get(field) if field is not None else None
    if is_missing(value):
        return None
    if isinstance(value, str):
        return same_name(value.strip()) or None
    if isinstance(value, float) and value.is_integer():
        return int(value)  # whole numbers become floats when a table had empty cells
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    message = (
        f"`{field}` is {shown(value)} ({type(value).__name__}); expected the name of a label, or "
        "its index"
    )
    problems.add("whose label is neither text nor a whole number", number, message)
    return NoLabel()


def names_in(labels: Sequence[Label | None]) -> tuple[str, ...]:
    """The labels of a file where the task names none: its distinct names, sorted; of numbers
    alone, those from 0 to the largest.
    """
    names = {label for label in labels if isinstance(label, str)}
    whole = [label for label in labels if isinstance(label, int) and label < MOST_INDEXED]
    # Numbers alone index themselves; beside names they are refused as names that nobody listed.
    return tuple(sorted(names)) if names else tuple(map(str, range(max(whole, default=-1) + 1)))


def label_indexes(
    rows: Sequence[tuple[int, Label | None]],
    names: Sequence[str],
    problems: Problems,
    *,
    field: str | None,
) -> list[int | None]:
    """The index of each row's label in `names`.

    Args:
        rows: For each row its number and its label, as `label_value` gives it.
        names: The labels of the task.
        problems: Takes what is wrong, and a warning where numbers are taken as indexes.
        field: The column of the label, for messages.

    Returns:
        For each row the index, None where it has no label, `BROKEN` where it has a wrong one.
    """
    known = {same_name(name): index for index, name in enumerate(names)}
    by_number = _numbers(names)
    texts = next((label for _, label in rows if isinstance(label, str)), None)
    found: list[int | None] = []
    indexed = False
    for number, label in rows:
        index: int | None = BROKEN
        if label is None:
            index = None
        elif isinstance(label, str):
            index = known.get(label, BROKEN)
        elif by_number is not None:
            index = known.get(str(label), BROKEN)
            if index == BROKEN and (isinstance(label, int) or math.isfinite(label)):
                index = by_number.get(Fraction(label), BROKEN)
        elif texts is None and isinstance(label, int) and 0 <= label < len(names):
            index, indexed = label, True
        if index == BROKEN:
            assert label is not None
            problems.add(
                "with a label outside the list",
                number,
                partial(_not_one, label, names, is_name=by_number is not None, beside=texts),
            )
        found.append(index)
    if indexed:
        meant = [f"{index} is {name}" for index, name in enumerate(names[:_LISTED])]
        problems.add_warning(
            f"`{field}` holds whole numbers alone, which are taken as indexes into task.labels: "
            f"{', '.join(meant)}{' and so on' if len(names) > _LISTED else ''}; write the names "
            "if that is not meant"
        )
    return found


def _numbers(names: Sequence[str]) -> dict[Fraction, int] | None:
    """The labels that are called by a number, by that number; None: no label is.

    Of labels that are the same number, such as 1 and 01, each is meant by its own spelling only.
    """
    numbers = [
        (Fraction(name), index) for index, name in enumerate(names) if _NUMBER.fullmatch(name)
    ]
    counts = Counter(value for value, _ in numbers)
    return {value: index for value, index in numbers if counts[value] == 1} if numbers else None


def _not_one(label: Label, names: Sequence[str], *, is_name: bool, beside: str | None) -> str:
    """Why a label is none of the task's."""
    more = " and more" if len(names) > _LISTED else ""
    listed = ", ".join(names[:_LISTED]) + more
    if isinstance(label, str):
        guess = nearest(label, list(names))
        meant = (
            f"did you mean `{guess}`?"
            if guess
            else "correct the row, or add the label to task.labels"
        )
        return f"the label {shown(label)} is not one of {listed}; {meant}"
    if is_name:
        return (
            f"the label {shown(label)} is not one of {listed}, which are names, as labels that are "
            "numbers always are; correct the row, or add the label to task.labels"
        )
    if beside is not None:
        return (
            f"the label {shown(label)} is a number, but other rows have names, such as "
            f"{shown(beside)}; the labels are {listed}: write its name"
        )
    return (
        f"the label {shown(label)} is not an index from 0 to {len(names) - 1}; the labels are "
        f"{listed}"
    )
