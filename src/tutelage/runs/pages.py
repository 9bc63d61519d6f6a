"""What a Parquet file unfolds to, told from the headers of its pages before anything is unfolded.

In: the bytes of a file, and what its footer says. Out: about the bytes of memory that each column
of a row group takes. The footer has sizes too, but nothing holds it to them: a footer that says a
kilobyte may have pages of gigabytes behind it. The headers of pages are what a reader goes by.

The footer is read here too, for what pyarrow tells of a column chunk (`row_group(g).column(c)`)
ends the process where the chunk contradicts its schema: its C++ throws, and its Python does not
catch (26.0.1). Readers of rows catch it.

Source: the format of Parquet (parquet.thrift: PageHeader, FileMetaData) in the compact protocol of
    Thrift.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
_SENSELESS = "it has a header or footer that makes no sense"
_MOST_DEPTH = 12
_MOST_FOOTER = 1 << 25
_Wanted = Mapping[int, Any]
"""The fields of a struct that are kept, by number, with those of the structs in them."""
_OF_PAGE: _Wanted = {1: {}, 2: {}, 3: {}, 5: {1: {}, 2: {}}, 7: {1: {}, 2: {}}, 8: {1: {}, 4: {}}}
_OF_FOOTER: _Wanted = {4: {1: {3: {5: {}, 6: {}, 7: {}, 9: {}, 11: {}}}}}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of one row group."""

    group: int
    """The row group."""
    name: str
    """The column, or the outermost one around it."""
    unfolded: int
    """About the bytes of memory it takes."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the footer says of one column of one row group."""

    values: int
    unfolded: int
    """Bytes of its pages unpacked, if the footer does not lie."""
    size: int
    """Bytes in the file."""
    data_at: int
    dictionary_at: int
    """0: it has none."""


def footer_of(content: Any) -> bytes:
    """The footer of a file.

    Args:
        content: The bytes of the file, anything that is indexed like bytes.

    Raises:
        ValueError: It has none, in a few words.
    """
    tail, end = content[-8:], len(content) - 8
    size = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or size > end:
        raise ValueError("it has no footer")
    if size > _MOST_FOOTER:
        raise ValueError(f"its footer has {size:,} bytes; expected at most {_MOST_FOOTER:,}")
    return content[end - size : end]


def chunks_of(footer: bytes, *, columns: int) -> list[list[Chunk]]:
    """What a footer says of every column of every row group.

    Args:
        footer: As `footer_of` gives it.
        columns: That the schema has.

    Raises:
        ValueError: It contradicts itself, in a few words.
    """
    fields, _ = _struct(footer, 0, len(footer), 0, _OF_FOOTER)
    groups = [_chunks(group) for group in _list(fields.get(4))]
    if any(len(group) != columns for group in groups):
        raise ValueError(f"it has a row group without all of its {columns:,} columns")
    return groups


def _chunks(group: Any) -> list[Chunk]:
    found = []
    for chunk in _list(group.get(1) if isinstance(group, dict) else None):
        told = chunk.get(3) if isinstance(chunk, dict) else None
        if not isinstance(told, dict):
            raise ValueError("it has a column that its footer does not tell of")
        numbers = [told.get(number, 0) for number in (5, 6, 7, 9, 11)]
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError("it has a column that its footer does not tell of")
        found.append(Chunk(*numbers))
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


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
    kinds = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    for number, group in enumerate(chunks_of(footer_of(content), columns=len(kinds))):
        for kind, chunk in zip(kinds, group, strict=True):
            name = kind.path.split(".")[0]
            if name in names:
                found.append(Column(number, name, _unfolded(content, chunk, kind)))
    return found


def _unfolded(content: Any, chunk: Chunk, kind: Any) -> int:
    start, size = chunk.data_at, chunk.size
    if 0 < chunk.dictionary_at < start:
        start = chunk.dictionary_at
    if start < 0 or size < 0 or chunk.values < 0 or start + size > len(content):
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
    values = max(values, chunk.values)
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
    fields, at = _struct(content, at, end, 0, _OF_PAGE)
    kind, unfolded, compressed = (fields.get(number, -1) for number in (1, 2, 3))
    # Data pages, dictionary pages, data pages of the second version: of the last, the fourth field
    # is the encoding, of the others the second.
    inner = next((fields[number] for number in (5, 7, 8) if number in fields), {})
    encoding_at = 4 if 8 in fields else 2
    if not isinstance(inner, dict) or not all(
        isinstance(number, int) and number >= 0
        for number in (kind, unfolded, compressed, inner.get(1, 0), inner.get(encoding_at, 0))
    ):
        raise ValueError(_SENSELESS)
    return _Page(kind, unfolded, compressed, inner.get(1, 0), inner.get(encoding_at, 0)), at


def _struct(
    content: Any, at: int, end: int, depth: int, wanted: _Wanted
) -> tuple[dict[int, Any], int]:
    """Whole numbers, structs and lists of these by their number; all else is passed over."""
    if depth > _MOST_DEPTH:
        raise ValueError(_SENSELESS)
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
        inner = wanted.get(number)
        value, at = _value(content, at, end, byte & 15, depth, inner or {})
        if inner is not None:
            fields[number] = value


def _value(
    content: Any, at: int, end: int, kind: int, depth: int, wanted: _Wanted
) -> tuple[Any, int]:
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
    if kind in (9, 10):
        return _elements(content, at, end, depth, wanted)
    if kind == 12:
        return _struct(content, at, end, depth + 1, wanted)
    raise ValueError(_SENSELESS)  # nothing there is a map


def _elements(
    content: Any, at: int, end: int, depth: int, wanted: _Wanted
) -> tuple[list[Any], int]:
    """A list; kept where its structs are wanted."""
    if depth > _MOST_DEPTH:
        raise ValueError(_SENSELESS)
    byte, at = _byte(content, at, end)
    count, kind = byte >> 4, byte & 15
    if count == 15:
        count, at = _varint(content, at, end)
    found = []
    for _ in range(count):
        if at >= end:  # each takes a byte or more
            raise ValueError(_SENSELESS)
        if kind in (1, 2):  # in a list, true and false have one
            value, at = None, at + 1
        else:
            value, at = _value(content, at, end, kind, depth + 1, wanted)
        if wanted:
            found.append(value)
    return found, at


def _byte(content: Any, at: int, end: int) -> tuple[int, int]:
    if at >= end:
        raise ValueError("it has a header without an end")
    return content[at], at + 1


def _varint(content: Any, at: int, end: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte, at = _byte(content, at, end)
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError(_SENSELESS)


def _zigzag(content: Any, at: int, end: int) -> tuple[int, int]:
    number, at = _varint(content, at, end)
    return (number >> 1) ^ -(number & 1), at
