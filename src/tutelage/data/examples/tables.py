"""A data file as examples: the right columns, every row checked, every problem collected.

Comes in: a path and the names of its columns. Goes out: a `Table`, and the problems of all rows at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.data.examples.labels import (
    BROKEN,
    Label,
    NoLabel,
    label_indexes,
    label_value,
    names_in,
)
from tutelage.data.formats import read_rows
from tutelage.data.limits import USUAL, ReadingLimits
from tutelage.data.rows import Problems, Rows, check_columns, is_missing, shown, text_usable
from tutelage.errors import DataError, Problem
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
    limits: ReadingLimits = USUAL,
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
        limits: How large rows and the file may be.

    Returns:
        The rows that can be used, and the problems of all others (5 rows of each kind by name, then
        their count). A label is given by its name, whatever the normal form of its letters. In
        jsonl and parquet a number is a name too where any label is called by a number; elsewhere a
        column of whole numbers alone indexes `labels`, which a warning says. An empty one is None.
    """
    path = Path(path)
    problems = Problems(source or path.name)
    fields = [field for field in (text_field, label_field, group_field) if field is not None]
    rows = read_rows(path, problems, fields=fields, limits=limits)
    optional = set() if labels_required or label_field is None else {label_field}
    keys = "text_field, label_field or group_field"
    usable = bool(rows.columns) and check_columns(
        rows, fields, problems, keys=keys, optional=optional, advice=column_advice
    )
    checked = _checked(rows, text_field, label_field, group_field, problems) if usable else []
    names = tuple(labels) if labels is not None else names_in([row.label for row in checked])
    indexes = label_indexes(
        [(row.number, row.label) for row in checked],
        names,
        problems,
        field=label_field,
    )
    examples, groups = [], []
    for row, label in zip(checked, indexes, strict=True):
        if label != BROKEN:
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
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise DataError("; ".join(str(problem) for problem in errors))
    return table.examples


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    text: str
    label: Label | None
    group: str | None


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
        label = label_value(values, label_field, number, problems)
        if not isinstance(label, NoLabel):
            group = values.get(group_field) if group_field is not None else None
            checked.append(_Row(number, text, label, _group(group)))
    return checked


def _group(value: Any) -> str | None:
    """The group that a cell names; what is no text is a group by how it is written."""
    if is_missing(value) or value == "":
        return None
    return value if isinstance(value, str) else shown(value, most=1000)
