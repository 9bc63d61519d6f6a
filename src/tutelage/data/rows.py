"""The rows of a data file, whether what stands in their columns can be used, and the problems of
the file, collected row by row without flooding the person who reads them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from tutelage.errors import Problem, nearest

ROWS_SHOWN = 5
"""How many rows of one kind of problem are named; the rest is counted."""


class Problems:
    """Collects the problems of one file. State: the problems so far, by kind."""

    def __init__(self, source: str, *, shown: int = ROWS_SHOWN) -> None:
        """Collect for the file that messages call `source`; of each kind so many rows are named."""
        self.source = source
        self._shown = shown
        self._of_file: list[Problem] = []
        self._warnings: list[Problem] = []
        self._of_rows: dict[str, list[Problem]] = {}
        self._counts: dict[str, int] = {}

    def add_file(self, message: str, *, line: int | None = None) -> None:
        """Note something wrong with the file as a whole, or at a line of it."""
        self._of_file.append(
            Problem(self.source if line is None else f"{self.source}, line {line}", message)
        )

    def add_warning(self, message: str) -> None:
        """Note what a person should know about the file, though it stops nothing."""
        self._warnings.append(Problem(self.source, message, "warning"))

    def add(self, kind: str, row: int, message: str | Callable[[], str]) -> None:
        """Note something wrong with a row; `kind` completes "and 12 more rows ...".

        A message that takes time to find is given as a function, called where it is shown.
        """
        self._counts[kind] = self._counts.get(kind, 0) + 1
        shown_so_far = self._of_rows.setdefault(kind, [])
        if len(shown_so_far) < self._shown:
            said = message if isinstance(message, str) else message()
            shown_so_far.append(Problem(f"{self.source}, row {row}", said))

    def listed(self) -> list[Problem]:
        """All problems: of the file, then of rows by kind, each kind closed by the count of rows
        not shown; then the warnings.
        """
        listed = list(self._of_file)
        for kind, problems in self._of_rows.items():
            listed += problems
            if hidden := self._counts[kind] - len(problems):
                listed.append(
                    Problem(
                        self.source,
                        f"and {hidden:,} more rows {kind}"
                        if hidden > 1
                        else f"and 1 more row {kind}",
                    )
                )
        return listed + self._warnings


def shown(value: object, *, most: int = 60) -> str:
    """A value as it stands in a message: quoted, on one line, cut to `most` characters.

    No more of it is looked at than is shown: it may be megabytes, or lists inside each other.
    """
    text = _beginning(value, most + 1)
    return text if len(text) <= most else text[: most - 3] + "..."


def _beginning(value: object, room: int) -> str:
    """At least the first `room` characters of how Python spells a value, and not many more."""
    match value:
        case str() | bytes():
            return repr(value[:room])
        case bool():
            return repr(value)
        case int() if value.bit_length() > 4 * room:
            return f"a number of about {value.bit_length() * 0.30103:,.0f} digits"
        case dict():
            ends, pairs = "{}", value.items()
            parts = (
                f"{_beginning(key, room)}: {_beginning(inner, room - 1)}" for key, inner in pairs
            )
        case list():
            ends, parts = "[]", (_beginning(inner, room - 1) for inner in value)
        case _:
            return repr(value)
    text = ends[0]
    for number, part in enumerate(parts if room > 0 else ()):
        text += (", " if number else "") + part
        if len(text) > room:
            return text
    return text + ends[1]


MOST_COLUMNS = 1000
"""The names of so many columns are kept for messages, besides those that are needed."""


def listed_columns(columns: Sequence[str], *, most: int = 20) -> str:
    """The first names of columns, as a message shows them."""
    cut = (name if len(name) <= 60 else f"{name[:57]}..." for name in columns[:most])
    names = ", ".join(cut)
    return f"{names} and more" if len(columns) > most else names


@dataclass
class Rows:
    """The rows of a file before any meaning is looked at."""

    columns: list[str] = field(default_factory=list)
    """The columns, in the order of the file: the first `MOST_COLUMNS`, and all that are needed;
    empty when the file could not be read at all."""

    values: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """For each readable row its number, counted from 1 without the header, and its values by
    column, of the needed columns only."""

    hint: str = ""
    """A sentence for the case that a column is missing: what may be wrong with the file."""


def check_columns(
    rows: Rows,
    fields: Sequence[str],
    problems: Problems,
    *,
    keys: str,
    optional: Collection[str] = (),
    advice: str | None = None,
) -> bool:
    """Whether every needed column is there once.

    Args:
        rows: The file as it was read.
        fields: The columns that are needed.
        problems: Takes what is wrong.
        keys: The keys of the recipe that name columns, for the advice.
        optional: Those of the columns that may be missing.
        advice: Where to name another column; None means in the recipe, under these keys.
    """
    usable = True
    for name in fields:
        count = rows.columns.count(name)
        if count == 1 or (count == 0 and name in optional):
            continue
        usable = False
        existing = listed_columns([f"`{column}`" for column in rows.columns])
        if count:
            problems.add_file(f"the column `{name}` is there {count} times; rename all but one")
            continue
        guess = nearest(name, rows.columns)
        meant = f"; did you mean `{guess}`?" if guess else "."
        problems.add_file(
            f"no column `{name}`{meant} The columns are {existing}.{rows.hint} "
            f"{advice or f'Name the right one in the recipe: {keys} under data'}"
        )
    return usable


def text_usable(text: Any, number: int, field: str, problems: Problems) -> TypeGuard[str]:
    """Whether a cell holds text with something in it and no broken character.

    Args:
        text: What stands in the cell.
        number: The row.
        field: The column.
        problems: Takes what is wrong.
    """
    if is_missing(text):
        message = (
            f"`{field}` is missing{' (NaN)' if text is not None else ''}; delete the row or fill "
            f"it in"
        )
        problems.add("with a missing text", number, message)
    elif not isinstance(text, str):
        message = (
            f"`{field}` is {shown(text)} ({type(text).__name__}); expected text: write it as a "
            f"string"
        )
        problems.add("whose text is not a string", number, message)
    elif not text.strip():
        problems.add(
            "with an empty text", number, f"`{field}` is empty; delete the row or fill it in"
        )
    elif not is_whole(text):
        message = (
            f"`{field}` holds half of a character (a lone surrogate): a text was cut inside it; "
            f"write it again"
        )
        problems.add("with a broken character", number, message)
    else:
        return True
    return False


def is_whole(text: str) -> bool:
    """Whether a text can be written down: JSON can spell halves of characters that UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: null, or the NaN that tables put in its place."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The file name where it is the only one of its kind among the paths, otherwise the whole
    path.
    """
    different = Counter(path.name for path in dict.fromkeys(paths))
    return {path: path.name if different[path.name] == 1 else str(path) for path in paths}
