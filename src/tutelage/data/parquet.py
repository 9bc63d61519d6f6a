"""Data files of Parquet, read batch by batch.

Comes in: a path and the columns that are needed. Goes out: rows with only those. A value that is
there a million times stands in the file once, so texts stay such references until it is known what
they unfold to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.data.limits import MOST_DEPTH, ReadingLimits, is_deeper
from tutelage.data.rows import MOST_COLUMNS, Problems, Rows
from tutelage.runs.pages import chunks_of, footer_of
from tutelage.types import same_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROWS_AT_ONCE = 4096
_ROW_OVERHEAD = 100
"""Bytes of a row besides its cells."""
_VALUE_OVERHEAD = 50
"""Bytes of a text, a number or a list in Python besides its content."""


def read_parquet(
    path: Path, problems: Problems, *, fields: Sequence[str], limits: ReadingLimits
) -> Rows:
    """The rows of a parquet file; see `formats.read_rows`."""
    rows = Rows()
    try:
        _take(path, rows, problems, fields=fields, limits=limits)
    except Exception as error:  # bytes that are damaged may end in any of numpy's and arrow's
        said = (str(error).splitlines() or [type(error).__name__])[0]
        problems.add_file(f"this is not a readable parquet file ({said}); write it again")
        return Rows()
    return rows


def _take(
    path: Path, rows: Rows, problems: Problems, *, fields: Sequence[str], limits: ReadingLimits
) -> None:
    import pyarrow.parquet as pq  # takes a third of a second: only those with such files pay

    size = path.stat().st_size
    most = limits.of_parquet(size)
    plain = pq.ParquetFile(path)
    asked = {same_name(name): name for name in fields}
    there = [str(name) for name in plain.schema_arrow.names]
    names = [asked.get(same_name(name), name) for name in there]
    renamed = dict(zip(there, names, strict=True))
    needed = [name for name in there if renamed[name] in fields]
    with path.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as content:
        footer = footer_of(content)
    described = _Described(plain.metadata, footer, needed)
    unfolded = max(described.unfolded_bytes, plain.metadata.num_rows * _ROW_OVERHEAD)
    given = [name for place, name in enumerate(names) if place < MOST_COLUMNS or name in fields]
    if any(names.count(name) > 1 for name in fields):  # which is refused as soon as it is seen
        rows.columns = given
        return
    # What is compressed to nothing is refused before it is unpacked.
    if unfolded > most:
        problems.add_file(_too_much(size, most))
        return
    file = pq.ParquetFile(path, read_dictionary=described.texts)
    number = unfolded = 0
    for batch in _batches(file, needed):
        weights = _ROW_OVERHEAD + sum(
            (_weights(column) for column in batch.columns), start=_zeros(batch.num_rows)
        )
        unfolded += int(weights.sum())
        if unfolded > most:
            rows.values.clear()
            problems.add_file(_too_much(size, most))
            return
        fits = weights <= limits.of_row
        kept = batch if fits.all() else batch.take(fits.nonzero()[0])
        cells = [_column_values(kept.column(place)) for place in range(kept.num_columns)]
        keys = [renamed[str(name)] for name in kept.schema.names]
        places = iter(range(kept.num_rows))
        for fit in fits.tolist():
            number += 1
            if not fit:
                problems.add(
                    "that are too large",
                    number,
                    f"the row has more than {limits.of_row:,} bytes; cut long texts, or raise "
                    "data.max_row_bytes",
                )
                continue
            place = next(places)
            row = {key: values[place] for key, values in zip(keys, cells, strict=True)}
            if is_deeper(row):
                problems.add(
                    "that are nested too deep",
                    number,
                    f"the row has lists and objects in more than {MOST_DEPTH} levels; write what "
                    "is inside them on fewer",
                )
                continue
            rows.values.append((number, row))
    rows.columns = given


def _batches(file: Any, needed: Sequence[str]) -> Iterator[Any]:
    """The rows of a file, some at a time; each group alone, for texts inside lists refer to a
    dictionary of their group.
    """
    for group in range(file.metadata.num_row_groups):
        yield from file.iter_batches(
            _ROWS_AT_ONCE, row_groups=[group], columns=needed, use_threads=False
        )


def _too_much(size: int, most: int) -> str:
    return (
        f"the file of {size:,} bytes unfolds to more than {most:,} bytes in memory; write it as "
        "several files, or raise data.max_file_bytes if all of it is meant"
    )


class _Described:
    """What the end of a parquet file says of its columns."""

    def __init__(self, metadata: Any, footer: bytes, needed: Sequence[str]) -> None:
        """Look at the needed columns."""
        self.unfolded_bytes = 0
        """What the pages of the needed columns unpack to."""
        texts: dict[str, None] = {}
        kinds = [metadata.schema.column(place) for place in range(metadata.num_columns)]
        groups = chunks_of(footer, columns=len(kinds))
        for place, kind in enumerate(kinds):
            path = kind.path
            if not any(path == name or path.startswith(f"{name}.") for name in needed):
                continue
            self.unfolded_bytes += sum(max(group[place].unfolded, 0) for group in groups)
            if kind.physical_type == "BYTE_ARRAY":
                texts[path] = None
        self.texts = list(texts)
        """The needed columns of text, at the ends of lists and objects too."""


def _zeros(count: int) -> NDArray[np.int64]:
    import numpy as np

    return np.zeros(count, np.int64)


def _weights(array: Any) -> NDArray[np.int64]:
    """About the bytes that each of N values takes as Python values, [N]."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        # Only those values that are used: a dictionary is that of many batches.
        places = pc.fill_null(array.indices, 0).to_numpy(zero_copy_only=False)
        used, which = np.unique(places, return_inverse=True)
        lengths = _weights(array.dictionary.take(pa.array(used))) if len(array.dictionary) else used
        return lengths[which]
    if pa.types.is_struct(kind):
        children = (_weights(array.field(place)) for place in range(kind.num_fields))
        return sum(children, start=_zeros(len(array))) + 4 * _VALUE_OVERHEAD
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        inner = [array.keys, array.items] if pa.types.is_map(kind) else [array.values]
        within = sum((_weights(one) for one in inner), start=_zeros(len(inner[0])))
        before = np.append(0, np.cumsum(within + 8))
        offsets = array.offsets.to_numpy(zero_copy_only=False)
        return before[offsets[1:]] - before[offsets[:-1]] + _VALUE_OVERHEAD
    if (
        pa.types.is_binary(kind)
        or pa.types.is_string(kind)
        or (pa.types.is_large_binary(kind) or pa.types.is_large_string(kind))
    ):
        lengths = pc.fill_null(pc.call_function("binary_length", [array]), 0).to_numpy(
            zero_copy_only=False
        )
        return lengths.astype(np.int64) + _VALUE_OVERHEAD
    each = array.nbytes // max(len(array), 1)
    return np.full(len(array), each + _VALUE_OVERHEAD, np.int64)


def _column_values(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, ArithmeticError, ImportError, pa.ArrowException):
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    import pyarrow as pa

    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        # Written by a tool that did not check; the bytes are refused as "not text" with their row.
        return bytes(error.object)
    except (ValueError, OverflowError, ArithmeticError, ImportError, pa.ArrowException):
        return Unreadable(str(scalar.type))


class Unreadable:
    """A value that Python has no form for, such as a date before the year 1."""

    def __init__(self, kind: str) -> None:
        """Of a type that arrow calls `kind`."""
        self._kind = kind

    def __repr__(self) -> str:
        """What it is, for a message."""
        return f"a {self._kind} that cannot be read"
