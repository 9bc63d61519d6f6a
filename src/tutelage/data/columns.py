"""The columns of a data file, and whether what stands in them is text that can be used."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, TypeGuard

from tutelage.data.formats import Rows
from tutelage.data.problems import Problems, nearest, shown


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
    for field in fields:
        count = rows.columns.count(field)
        if count == 1 or (count == 0 and field in optional):
            continue
        usable = False
        existing = ", ".join(f"`{column}`" for column in rows.columns)
        if count:
            problems.add_file(f"the column `{field}` is there {count} times; rename all but one")
            continue
        guess = nearest(field, rows.columns)
        meant = f"; did you mean `{guess}`?" if guess else "."
        problems.add_file(
            f"no column `{field}`{meant} The columns are {existing}.{rows.hint} "
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
        message = f"`{field}` is missing{' (NaN)' if text is not None else ''}; delete the row or fill it in"
        problems.add("with a missing text", number, message)
    elif not isinstance(text, str):
        message = f"`{field}` is {shown(text)} ({type(text).__name__}); expected text: write it as a string"
        problems.add("whose text is not a string", number, message)
    elif not text.strip():
        problems.add(
            "with an empty text", number, f"`{field}` is empty; delete the row or fill it in"
        )
    elif not is_whole(text):
        message = f"`{field}` holds half of a character (a lone surrogate): a text was cut inside it; write it again"
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
