"""A data file as examples: the right columns, every row checked, every problem collected.

Comes in: a path and the names of its columns. Goes out: a `Table`, and the problems of all rows at
once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.data.formats import read_rows
from tutelage.data.rows import Problems, Rows, check_columns, is_missing, shown, text_usable
from tutelage.errors import DataError, Problem, nearest
from tutelage.types import Example


@dataclass(frozen=True, slots=True)
class Table:
    """The usable rows of one data file."""

    source: str
    """The name of the file in messages."""

    examples: list[Example]
    """The rows without a problem, in the order of the file."""

    groups: list[str | None] | None
    """For each example the value of the group column, None where it is empty; None: no group column
    was asked for."""

    labels: tuple[str, ...]
    """The label names that `Example.label` indexes."""

    num_rows: int
    """All data rows of the file, those with a problem included."""


def read_table(
    path: Path | str,
    *,
    text_field: str = "text",
    label_field: str | None = "label",
    labels: Sequence[str] | None = None,
    group_field: str | None = None,
    labels_required: bool = False,
    source: str | None = None,
    column_advice: str | None = None,
) -> tuple[Table, list[Problem]]:
    """Read a csv, tsv, jsonl or parquet file and check every row.

    Args:
        path: The file; its ending says the format. Text files are UTF-8, with or without a byte
            order mark.
        text_field: The column of the text.
        label_field: The column of the label; None: the file is read as unlabeled.
        labels: The label names. None: the distinct names in the file, sorted.
        group_field: A column whose equal values must stay together in splits; None: no groups.
        labels_required: Whether a missing label column is a problem; otherwise every row is
            unlabeled.
        source: The name of the file in messages; None: its name without folders.
        column_advice: What to do about a missing column, for messages; None: name another in the
            recipe.

    Returns:
        The rows that can be used, and the problems of all others (5 rows of each kind by name, then
        their count). A label is given by name, or in jsonl and parquet also as a whole number that
        indexes `labels`; an empty one is None.
    """
    path = Path(path)
    problems = Problems(source or path.name)
    fields = [field for field in (text_field, label_field, group_field) if field is not None]
    rows = read_rows(path, problems, fields=fields)
    optional = set() if labels_required or label_field is None else {label_field}
    keys = "text_field, label_field or group_field"
    usable = bool(rows.columns) and check_columns(
        rows, fields, problems, keys=keys, optional=optional, advice=column_advice
    )
    checked = _checked(rows, text_field, label_field, group_field, problems) if usable else []
    names = tuple(labels) if labels is not None else _names_in(checked)
    examples, groups = [], []
    for row in checked:
        label = _label_index(row, names, problems)
        if label is not _BROKEN:
            examples.append(Example(row.text, label=label, source=problems.source, row=row.number))
            groups.append(row.group)
    table = Table(
        problems.source,
        examples,
        groups if group_field is not None else None,
        names,
        len(rows.values),
    )
    return table, problems.listed()


def read_examples(
    path: Path | str,
    *,
    text_field: str = "text",
    label_field: str = "label",
    labels: Sequence[str] | None = None,
    group_field: str | None = None,
) -> list[Example]:
    """Read a data file whose rows must all be usable.

    Args:
        path: A csv, tsv, jsonl or parquet file.
        text_field: The column of the text.
        label_field: The column of the label; where it is missing or empty the example has no label.
        labels: The label names in the order of their indexes. None: the distinct names in the file,
            sorted.
        group_field: A column to check along with the others; None: none. `read_table` gives its
            values.

    Returns:
        One example for each row, in the order of the file.

    Raises:
        DataError: Any row, or the file itself, cannot be used; the message holds every problem with
            its row.
    """
    table, problems = read_table(
        path, text_field=text_field, label_field=label_field, labels=labels, group_field=group_field
    )
    if problems:
        raise DataError("; ".join(str(problem) for problem in problems))
    return table.examples


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    text: str
    label: str | int | None
    group: str | None


_BROKEN = -1
"""The index of a label that is not in the list."""


def _checked(
    rows: Rows,
    text_field: str,
    label_field: str | None,
    group_field: str | None,
    problems: Problems,
) -> list[_Row]:
    checked = []
    for number, values in rows.values:
        text = values.get(text_field)
        if not text_usable(text, number, text_field, problems):
            continue
        label = _label_value(values, label_field, number, problems)
        if label is not _BROKEN_VALUE:
            group = values.get(group_field) if group_field is not None else None
            checked.append(
                _Row(number, text, label, None if is_missing(group) or group == "" else str(group))
            )
    return checked


class _BrokenValue:
    """Marks a label cell that holds neither a name nor an index."""


_BROKEN_VALUE = _BrokenValue()


def _label_value(
    values: Mapping[str, Any], field: str | None, number: int, problems: Problems
) -> Any:
    value = values.get(field) if field is not None else None
    if is_missing(value):
        return None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float) and value.is_integer():
        return int(value)  # whole numbers become floats when a table had empty cells
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    message = (
        f"`{field}` is {shown(value)} ({type(value).__name__}); expected the name of a label, or "
        f"its index"
    )
    problems.add("whose label is neither text nor a whole number", number, message)
    return _BROKEN_VALUE


def _names_in(rows: Sequence[_Row]) -> tuple[str, ...]:
    names = {row.label for row in rows if isinstance(row.label, str)}
    largest = max((row.label for row in rows if isinstance(row.label, int)), default=-1)
    # Numbers alone index themselves; beside names they are refused as names that nobody listed.
    return tuple(sorted(names)) if names else tuple(str(index) for index in range(largest + 1))


def _label_index(row: _Row, names: Sequence[str], problems: Problems) -> int | None:
    if row.label is None:
        return None
    if (
        str(row.label) in names
    ):  # a label that is called "1" is meant by 1, whatever stands at index 1
        return names.index(str(row.label))
    if isinstance(row.label, int) and 0 <= row.label < len(names):
        return row.label
    listed = ", ".join(names)
    if isinstance(row.label, int):
        message = (
            f"the label {row.label} is not an index from 0 to {len(names) - 1}; the labels are "
            f"{listed}"
        )
    else:
        guess = nearest(row.label, list(names))
        meant = (
            f"did you mean `{guess}`?"
            if guess
            else "correct the row, or add the label to task.labels"
        )
        message = f"the label {shown(row.label)} is not one of {listed}; {meant}"
    problems.add("with a label outside the list", row.number, message)
    return _BROKEN
