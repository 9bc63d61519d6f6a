"""How much of a data file may come into memory, and what is refused before it is opened.

A pipe or a device may never end, a compressed file may hold a thousand times its size, and one line
may be all of it. So a file is read row by row, and what a row and a file may hold is bounded. A
recipe can raise the bounds: `data.max_row_bytes`, `data.max_file_bytes`.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

ROW_BYTES = 2**24
"""A row of 16 MiB is several times the longest novel."""

FILE_BYTES = 2**33
"""Text is taken into memory whole, where it needs several times the 8 GiB."""

UNFOLDED_BYTES = 2**27
"""What any parquet file may unfold to, however small it is."""

UNFOLDING = 50
"""How many times its own size a larger parquet file may unfold to: rows that all begin with the
same long instruction have been seen at 25, a file made to fill memory has thousands."""

MOST_DEPTH = 100
"""Levels of lists and objects inside each other; conversations with tools have about ten."""


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """What is refused for its size; None: what is usual."""

    row_bytes: int | None = None
    """The most bytes of one row: of a line of jsonl, of a record of csv, of the needed cells of a
    row of parquet, overhead included."""

    file_bytes: int | None = None
    """The most bytes of a file; of a parquet file, of all that its needed columns unfold to."""

    @property
    def of_row(self) -> int:
        """Bytes that a row may have."""
        return ROW_BYTES if self.row_bytes is None else self.row_bytes

    @property
    def of_text(self) -> int:
        """Bytes that a csv, tsv or jsonl file may have."""
        return FILE_BYTES if self.file_bytes is None else self.file_bytes

    def of_parquet(self, size: int) -> int:
        """Bytes that a parquet file of `size` bytes may unfold to."""
        usual = min(FILE_BYTES, max(UNFOLDED_BYTES, UNFOLDING * size))
        return usual if self.file_bytes is None else self.file_bytes


USUAL = ReadingLimits()
"""The limits that hold where none are given."""


def not_a_file(path: Path) -> str | None:
    """What a path leads to where that is no plain file, in words; None where it is one.

    Raises:
        OSError: There is nothing, or it cannot be looked at.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return None
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "no plain file")


def is_deeper(value: object, most: int = MOST_DEPTH) -> bool:
    """Whether lists and objects lie more than `most` levels inside each other.

    Walked level by level, for a function that calls itself ends where Python's own stack does.
    """
    level: list[object] = [value]
    for _ in range(most + 1):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True
