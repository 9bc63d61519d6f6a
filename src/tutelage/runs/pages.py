"""What a Parquet file unfolds to, told from the headers of its pages before anything is unfolded.

In: the bytes of a file, and what its footer says. Out: about the bytes of memory that each column
of a row group takes. The footer has sizes too, but nothing holds it to them: a footer that says a
kilobyte may have pages of gigabytes behind it. The headers of pages are what a reader goes by.

Source: the format of Parquet (parquet.thrift, PageHeader) in the compact protocol of Thrift.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

_LEVELS = 8
"""Bytes that tell where a value lies, in its list and among the values of a column."""
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_DICTIONARY_PAGE = 2
_BY_REFERENCE = (2, 8)
"""Encodings PLAIN_DICTIONARY and RLE_DICTIONARY."""
_BY_PREFIX = 7
"""Encoding DELTA_BYTE_ARRAY: a string begins with what the one before it has."""
_MOST_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Column:
    """One column of one row group."""

    group: int
    """The row group."""
    name: str
    """The column, or the outermost one around it."""
    unfolded: int
    """About the bytes of memory it takes."""


def columns_of(content: Any, metadata: Any, *, names: Collection[str]) -> list[Column]:
    """What the columns of a file unfold to.

    Args:
        content: The bytes of the file, anything that is indexed like bytes.
        metadata: Its `pyarrow.parquet.FileMetaData`.
        names: The columns that will be read.

    Raises:
        ValueError: A header that no writer makes, in a few words.
    """
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(metadata.num_columns):
            column = group.column(place)
            name = column.path_in_schema.split(".")[0]
            if name in names:
                kind = metadata.schema.column(place)
                found.append(Column(number, name, _unfolded(content, column, kind)))
    return found


def _unfolded(content: Any, column: Any, kind: Any) -> int:
    start, size = column.data_page_offset, column.total_compressed_size
    if column.has_dictionary_page and 0 < (column.dictionary_page_offset or 0) < start:
        start = column.dictionary_page_offset
    if start < 0 or size < 0 or column.num_values < 0 or start + size > len(content):
        raise ValueError("it has a column that lies outside of it")
    at, end, values, plain, dictionary, repeated = start, start + size, 0, 0, 0, 0
    while at < end:
        page, at = _page(content, at, end)
        at += page.compressed
        plain += page.unfolded
        if page.kind == _DICTIONARY_PAGE:
            dictionary += page.unfolded
            continue
        values += page.values
        if page.encoding in _BY_REFERENCE:
            repeated += page.values * dictionary
        elif page.encoding == _BY_PREFIX:
            repeated += page.values * page.unfolded
    values = max(values, column.num_values)
    if kind.physical_type == "BYTE_ARRAY":
        return plain + repeated + values * _LEVELS
    width = _WIDTHS.get(kind.physical_type, kind.length or 0)
    return max(plain, values * (max(width, 0) + _LEVELS // 2))


@dataclass(frozen=True, slots=True)
class _Page:
    kind: int
    unfolded: int
    compressed: int
    values: int
    encoding: int


def _page(content: Any, at: int, end: int) -> tuple[_Page, int]:
    """A header, and where what it heads begins."""
    fields, at = _struct(content, at, end, 0)
    kind, unfolded, compressed = (fields.get(number, -1) for number in (1, 2, 3))
    # Data pages, dictionary pages, data pages of the second version: of the last, the fourth field
    # is the encoding, of the others the second.
    inner = next((fields[number] for number in (5, 7, 8) if number in fields), {})
    encoding_at = 4 if 8 in fields else 2
    if not isinstance(inner, dict) or not all(
        isinstance(number, int) and number >= 0
        for number in (kind, unfolded, compressed, inner.get(1, 0), inner.get(encoding_at, 0))
    ):
        raise ValueError("it has a page whose header makes no sense")
    return _Page(kind, unfolded, compressed, inner.get(1, 0), inner.get(encoding_at, 0)), at


def _struct(content: Any, at: int, end: int, depth: int) -> tuple[dict[int, Any], int]:
    """Whole numbers and structs of a struct by their number; all else is passed over."""
    if depth > _MOST_DEPTH:
        raise ValueError("it has a page whose header makes no sense")
    fields: dict[int, Any] = {}
    number = 0
    while True:
        byte, at = _byte(content, at, end)
        if byte == 0:
            return fields, at
        if byte >> 4:
            number += byte >> 4
        else:
            number, at = _zigzag(content, at, end)
        fields[number], at = _value(content, at, end, byte & 15, depth)


def _value(content: Any, at: int, end: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):  # true and false have no bytes of their own
        return None, at
    if kind == 3:
        return None, at + 1
    if kind in (4, 5, 6):
        return _zigzag(content, at, end)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        size, at = _varint(content, at, end)
        return None, at + size
    if kind == 12:
        return _struct(content, at, end, depth + 1)
    raise ValueError("it has a page whose header makes no sense")  # no page has lists or maps


def _byte(content: Any, at: int, end: int) -> tuple[int, int]:
    if at >= end:
        raise ValueError("it has a page without an end")
    return content[at], at + 1


def _varint(content: Any, at: int, end: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte, at = _byte(content, at, end)
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError("it has a page whose header makes no sense")


def _zigzag(content: Any, at: int, end: int) -> tuple[int, int]:
    number, at = _varint(content, at, end)
    return (number >> 1) ^ -(number & 1), at
