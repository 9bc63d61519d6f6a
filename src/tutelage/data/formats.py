"""The formats a data file may have: csv, tsv, jsonl, parquet. Each reader gives rows as dicts,
unchecked.

A reader notes what it cannot read in `Problems` and goes on with the next row where that is
possible. No more than a row is held besides what is needed of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from tutelage.data.limits import USUAL, ReadingLimits, not_a_file
from tutelage.data.lines import read_jsonl, read_separated
from tutelage.data.parquet import read_parquet
from tutelage.data.rows import Problems, Rows
from tutelage.errors import TutelageError, nearest
from tutelage.runs.remote import local_file
from tutelage.urls import is_remote, url_of

_MOST_NEIGHBOURS = 1000
"""Files of a folder that are looked at for one that may have been meant."""


def read_rows(
    path: Path, problems: Problems, *, fields: Sequence[str], limits: ReadingLimits = USUAL
) -> Rows:
    """Read a file in the format that its ending names.

    Args:
        path: The file, or that of a URL, of which the copy in the cache is read.
        problems: Takes what is wrong.
        fields: The columns that are needed; the values of no others are kept.
        limits: How large rows and the file may be.

    Returns:
        The readable rows; none when the file is missing, empty, endless, or in no format known
        here.
    """
    if is_remote(path):
        try:
            path = local_file(path)
        except FileNotFoundError:
            problems.add_file(f"no such object: {url_of(path)}; correct the URL")
            return Rows()
        except (OSError, TutelageError) as error:
            problems.add_file(str(error))
            return Rows()
    suffix = path.suffix.lower()
    readers: dict[str, Callable[[], Rows]] = {
        ".csv": lambda: read_separated(path, problems, ",", fields=fields, limits=limits),
        ".tsv": lambda: read_separated(path, problems, "\t", fields=fields, limits=limits),
        ".jsonl": lambda: read_jsonl(path, problems, fields=fields, limits=limits),
        ".parquet": lambda: read_parquet(path, problems, fields=fields, limits=limits),
    }
    if suffix not in readers:
        problems.add_file(
            f"{path} ends in {suffix or 'nothing'}; expected {', '.join(readers)}: convert the file"
        )
        return Rows()
    try:
        if (other := not_a_file(path)) is not None:
            may = "" if other == "a folder" else ", which may never end"
            problems.add_file(f"{path} is {other}{may}; expected one {suffix} file")
            return Rows()
        rows = readers[suffix]()
    except (FileNotFoundError, NotADirectoryError):
        problems.add_file(f"no such file: {path}; {_meant(path)}")
        return Rows()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        problems.add_file(f"{path} cannot be read: {said}")
        return Rows()
    if rows.columns and not rows.values and not problems.listed():
        problems.add_file("the file has no rows; expected at least one example")
    return rows


def _meant(path: Path) -> str:
    """What to do about a path that leads nowhere."""
    try:
        there = [other.name for other in islice(path.parent.iterdir(), _MOST_NEIGHBOURS)]
    except OSError:
        there = []
    # All names of a folder look alike in their ending.
    guess = nearest(path.name, sorted(there), cutoff=0.75)
    return (
        f"did you mean {guess}?"
        if guess
        else "correct the path; relative paths start at the recipe's folder"
    )
