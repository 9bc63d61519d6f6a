"""How much a store may ask of memory: what a part unfolds to is told before it is read, and bounded
by what it takes on disk.

A Parquet file of a few bytes can hold a million rows, or a string of a gigabyte. What tutelage
writes never does: content ids do not compress, and ids of tokens hardly. So a part may unfold to
256 MB, or to 64 times its size if that is more, and a store to twice as much at once. The widest
part that `TargetWriter` makes by itself, one label in 40,000 certain in every row, stays below.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Collection
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.errors import TargetsCorrupt, TargetsError
from tutelage.runs import open_regular
from tutelage.runs.pages import columns_of

FREE_BYTES = 256 * 2**20
"""A part may unfold to so many bytes however small it is."""
UNFOLDED = 64
"""Beyond that, to so many times what it takes on disk."""
MOST_BYTES = 512 * 2**20
"""Of a part that is read as a whole."""
MOST_BYTES_ON_DISK = 8 * 2**30
"""Of a part whose rows are read when they are asked for."""
MOST_ROW_GROUPS = 100_000
FREE_ELEMENTS = 2**21
"""Positions and entries that a row may have however small its part is; decoding takes some hundred
bytes for each."""
ELEMENTS_OF_BYTE = 8
"""Beyond that, so many for each byte of the part."""
_NO_FILE = (errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.ENODEV)


def open_part(path: Path, *, rows: str) -> BufferedReader:
    """Open a file of a store.

    Args:
        path: Of the file.
        rows: How many rows are lost without it, in words.

    Raises:
        TargetsCorrupt: It is missing, or something else is in its place.
        TargetsError: The system does not let us read it.
    """
    try:
        return open_regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TargetsCorrupt(f"{path} is missing ({rows})") from error
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror or error})"
        if error.errno in _NO_FILE:
            raise TargetsCorrupt(f"{reason} ({rows})") from error
        raise TargetsError(f"{reason}. Look at who owns it and at the disk") from error


def refuse_size(size: int, *, lazy: bool) -> None:
    """Refuse a part that nobody wrote.

    Raises:
        TargetsCorrupt: Its size.
    """
    most = MOST_BYTES_ON_DISK if lazy else MOST_BYTES
    if size > most:
        raise TargetsCorrupt(f"has {size:,} bytes; expected at most {most:,} in one part")


def refuse_bomb(
    content: Any, metadata: pq.FileMetaData, *, names: Collection[str], lazy: Collection[str] = ()
) -> None:
    """Refuse a Parquet file that would take much more memory than it takes on disk.

    Args:
        content: The bytes of the file.
        metadata: Its footer.
        names: The columns that are read.
        lazy: Those of them that are read a row group at a time.

    Raises:
        TargetsCorrupt: What it would unfold to.
    """
    if metadata.num_row_groups > MOST_ROW_GROUPS:
        raise TargetsCorrupt(f"has {metadata.num_row_groups:,} row groups")
    try:
        columns = columns_of(content, metadata, names=names)
    except ValueError as error:
        raise TargetsCorrupt(f"is not readable as Parquet ({error})") from error
    of_group = Counter[int]()
    for column in columns:
        of_group[column.group if column.name in lazy else -1] += column.unfolded
    unfolded = of_group.pop(-1, 0) + max(of_group.values(), default=0)
    size, most = len(content), max(FREE_BYTES, UNFOLDED * len(content))
    if unfolded > most:
        raise TargetsCorrupt(
            f"has {size:,} bytes, which unfold to {unfolded:,}; expected at most {most:,}"
        )


def refuse_heap(held: int, *, size: int) -> None:
    """Refuse a store whose parts together would take much more memory than they take on disk.

    Args:
        held: Bytes of memory that the parts read so far take.
        size: Bytes of all parts on disk.

    Raises:
        TargetsCorrupt: What they take.
    """
    most = 2 * max(FREE_BYTES, UNFOLDED * size)
    if held > most:
        raise TargetsCorrupt(
            f"its parts have {size:,} bytes, which unfold to more than {most:,} in memory; this is "
            "no store that tutelage wrote. Label again into another folder"
        )


def refuse_wide_rows(elements: NDArray[np.int64], *, size: int) -> None:
    """Refuse rows that would take much more memory to decode than their part takes on disk.

    Args:
        elements: Positions and entries of each row, `[N]`.
        size: Bytes of the part.

    Raises:
        TargetsCorrupt: The first of them.
    """
    most = max(FREE_ELEMENTS, ELEMENTS_OF_BYTE * size)
    wide = np.flatnonzero(elements > most)
    if wide.size:
        raise TargetsCorrupt(
            f"has {elements[wide[0]]:,} positions and entries in row {wide[0] + 1}, in a part of "
            f"{size:,} bytes; expected at most {most:,}"
        )


def batches(
    elements: NDArray[np.int64], *, rows: int, most: int = 2**20
) -> list[NDArray[np.int64]]:
    """Rows some at a time, so that those of a batch have few elements together.

    Args:
        elements: Of each row, `[N]`.
        rows: Of a batch, at most.
        most: Elements of a batch, at most, where it has more than one row.

    Returns:
        Row numbers, ascending.
    """
    found, start, total = [], 0, 0
    for row, count in enumerate(elements.tolist()):
        if row > start and (row - start == rows or total + count > most):
            found.append(np.arange(start, row))
            start, total = row, 0
        total += count
    if len(elements):
        found.append(np.arange(start, len(elements)))
    return found
