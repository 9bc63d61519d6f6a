"""What stands in the cells of a row: numbers for labels, or the labels that somebody chose.

In: rows of a data file and where their answers stand. Out: for each row that has an answer a number
for each label, a share or a count; what cannot be one is noted with its row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.data.examples.labels import (
    BROKEN,
    Label,
    NoLabel,
    label_indexes,
    label_value,
    names_in,
)
from tutelage.data.rows import Problems, shown
from tutelage.teachers.recorded.layout import Form, Layout
from tutelage.types import same_name

MOST_NUMBER = 1e12
"""No share and no count of votes is larger; a number of thousands of digits is no float."""
_SEPARATORS = "|;"
"""Between labels that stand in one cell of text."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """A row whose text can be used."""

    number: int
    text: str
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """What rows say of labels, before it is made a distribution."""

    labels: tuple[str, ...]
    rows: list[TextRow]
    """The N rows that say something."""
    values: NDArray[np.float64]
    """Shares or counts, not negative, [N, C]."""
    unanswered: int
    """Rows whose answer is empty."""


def read_numbers(
    rows: Sequence[TextRow], layout: Layout, labels: Sequence[str] | None, problems: Problems
) -> Numbers:
    """The numbers in the columns of a layout.

    Args:
        rows: Of the file.
        layout: Where the answers stand; not that of a log.
        labels: In the order that is wanted; None: those of the file, sorted.
        problems: Takes what is wrong.
    """
    if layout.by_label:
        return _from_columns(rows, layout, problems)
    assert layout.answer is not None
    return _from_cells(rows, layout.answer, layout.form, labels, problems)


def _from_columns(rows: Sequence[TextRow], layout: Layout, problems: Problems) -> Numbers:
    whole = layout.form == "votes"
    kept: list[TextRow] = []
    values: list[list[float]] = []
    unanswered = 0
    for row in rows:
        cells = {column: row.cells.get(column) for column in layout.by_label.values()}
        empty = [column for column, cell in cells.items() if _is_empty(cell)]
        if len(empty) == len(cells):
            unanswered += 1
            continue
        if empty and not whole:
            message = f"`{empty[0]}` is empty, but other labels have a probability; fill it in"
            problems.add("with a missing probability", row.number, message)
            continue
        found = [
            0.0 if _is_empty(cell) else _number(cell, column, row.number, problems, whole=whole)
            for column, cell in cells.items()
        ]
        if None not in found:
            kept.append(row)
            values.append([float(one) for one in found if one is not None])
    array = np.array(values, np.float64).reshape(len(kept), len(layout.by_label))
    return Numbers(tuple(layout.by_label), kept, array, unanswered)


def _from_cells(
    rows: Sequence[TextRow],
    field: str,
    form: Form,
    labels: Sequence[str] | None,
    problems: Problems,
) -> Numbers:
    known = None if labels is None else set(map(same_name, labels))
    chosen: list[tuple[int, Label, float]] = []  # place among the kept rows, label, share or count
    kept: list[TextRow] = []
    unanswered = 0
    for row in rows:
        pairs = _pairs(row, field, form, known, problems)
        if pairs is None:
            continue
        if not pairs:
            unanswered += 1
            continue
        chosen += [(len(kept), label, value) for label, value in pairs]
        kept.append(row)
    names = tuple(labels) if labels is not None else names_in([label for _, label, _ in chosen])
    said = [(kept[place].number, label) for place, label, _ in chosen]
    indexes = label_indexes(said, names, problems, field=field)
    values = np.zeros((len(kept), len(names)), np.float64)
    broken = set()
    for (place, _, value), index in zip(chosen, indexes, strict=True):
        if index == BROKEN:
            broken.add(place)
        elif index is not None:
            values[place, index] += value
    good = [place for place in range(len(kept)) if place not in broken]
    return Numbers(names, [kept[place] for place in good], values[good], unanswered)


def _pairs(
    row: TextRow, field: str, form: Form, known: set[str] | None, problems: Problems
) -> list[tuple[Label, float]] | None:
    """Labels of a cell, each with its share or count; empty: nothing stands there; None: it cannot
    be used, which is noted.
    """
    cell = row.cells.get(field)
    if _is_empty(cell):
        return []
    if isinstance(cell, str) and cell.lstrip()[:1] in ("{", "["):
        try:
            cell = json.loads(cell)
        except ValueError as error:
            message = f"`{field}` is {shown(cell)}, which is no JSON ({error}); write it again"
            problems.add("with broken JSON", row.number, message)
            return None
    if isinstance(cell, list) and cell and all(isinstance(one, tuple) for one in cell):
        cell = dict(cell)  # what parquet's maps become
    if isinstance(cell, Mapping):
        return _of_mapping(cell, row.number, field, form, problems)
    if form == "probabilities":
        message = (
            f"`{field}` is {shown(cell)}; expected the probability of each label, such as "
            '{"LABEL": 0.7, ...}'
        )
        problems.add("without probabilities", row.number, message)
        return None
    parts = cell if isinstance(cell, list) else [cell]
    if isinstance(cell, str) and known is not None and same_name(cell.strip()) not in known:
        parts = _split(cell)
    pairs: list[tuple[Label, float]] = []
    for part in parts:
        label = label_value({field: part}, field, row.number, problems)
        if isinstance(label, NoLabel):
            return None
        if label is not None:
            pairs.append((label, 1.0))
    return pairs


def _of_mapping(
    cell: Mapping[Any, Any], number: int, field: str, form: Form, problems: Problems
) -> list[tuple[Label, float]] | None:
    """What an object says of labels; those with nothing are those of parquet's structs that were
    not there.
    """
    pairs: list[tuple[Label, float]] = []
    whole = form != "probabilities"
    for label, value in cell.items():
        if value is None:
            continue
        found = _number(value, f"{field}.{label}", number, problems, whole=whole)
        if found is None:
            return None
        pairs.append((same_name(str(label).strip()), found))
    return pairs


def _split(cell: str) -> list[str]:
    for separator in _SEPARATORS:
        cell = cell.replace(separator, _SEPARATORS[0])
    return [part for part in cell.split(_SEPARATORS[0]) if part.strip()]


def _is_empty(cell: Any) -> bool:
    """Whether nothing was written; NaN is a number that went wrong where others stand."""
    return cell is None or cell in ("", [], {}) or (isinstance(cell, str) and not cell.strip())


def _number(cell: Any, column: str, row: int, problems: Problems, *, whole: bool) -> float | None:
    """A share or a count; None: it is none, which is noted."""
    value = _value(cell)
    if value is None:
        expected = "how many chose the label" if whole else "a probability"
        message = f"`{column}` is {shown(cell)}; expected {expected}"
        problems.add("with something that is no number", row, message)
    elif value < 0:
        problems.add("with a negative number", row, f"`{column}` is {shown(cell)}, below 0")
        value = None
    elif whole and value != int(value):
        message = (
            f"`{column}` is {shown(cell)}; votes are whole numbers: for shares say form: "
            "probabilities"
        )
        problems.add("with a part of a vote", row, message)
        value = None
    return value


def _value(cell: Any) -> float | None:
    """The finite number of a cell, also where it is written as text."""
    if isinstance(cell, str):
        try:
            value = float(cell.strip().removesuffix("%"))
        except ValueError:
            return None
    elif isinstance(cell, (int, float)) and not isinstance(cell, bool):
        value = float(cell) if abs(cell) < MOST_NUMBER else math.inf
    else:
        return None
    return value if math.isfinite(value) and abs(value) < MOST_NUMBER else None
