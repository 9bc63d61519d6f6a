"""The formats a data file may have: csv, tsv, jsonl, parquet. Each reader gives rows as dicts,
unchecked.

A reader notes what it cannot read in `Problems` and goes on with the next row where that is
possible.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tutelage.data.rows import Problems, Rows, shown
from tutelage.errors import nearest

_MOST_FIELD_CHARACTERS = 2**31 - 1
"""The csv module refuses fields above 131,072 characters unless told otherwise; whole documents are
longer."""


def read_rows(path: Path, problems: Problems, *, fields: Sequence[str]) -> Rows:
    """Read a file in the format that its ending names.

    Args:
        path: The file.
        problems: Takes what is wrong.
        fields: The columns that are needed; of a parquet file no others are read.

    Returns:
        The readable rows; none when the file is missing, empty, or in no format known here.
    """
    suffix = path.suffix.lower()
    readers: dict[str, Callable[[], Rows]] = {
        ".csv": lambda: _read_separated(path, problems, separator=","),
        ".tsv": lambda: _read_separated(path, problems, separator="\t"),
        ".jsonl": lambda: _read_jsonl(path, problems),
        ".parquet": lambda: _read_parquet(path, problems, fields=fields),
    }
    if suffix not in readers:
        problems.add_file(
            f"{path} ends in {suffix or 'nothing'}; expected {', '.join(readers)}: convert the file"
        )
        return Rows()
    if path.is_dir():
        problems.add_file(f"{path} is a folder; expected one {suffix} file")
        return Rows()
    if not path.exists():
        there = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest(
            path.name, sorted(there), cutoff=0.75
        )  # all names of a folder look alike in their ending
        advice = (
            f"did you mean {guess}?"
            if guess
            else "correct the path; relative paths start at the recipe's folder"
        )
        problems.add_file(f"no such file: {path}; {advice}")
        return Rows()
    try:
        rows = readers[suffix]()
    except OSError as error:
        problems.add_file(f"{path} cannot be read: {error.strerror or error}")
        return Rows()
    if rows.columns and not rows.values and not problems.listed():
        problems.add_file("the file has no rows; expected at least one example")
    return rows


def _read_text(path: Path, problems: Problems) -> str | None:
    raw = path.read_bytes()
    if not raw.strip():
        problems.add_file("the file is empty")
        return None
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        converted = f"iconv -f UTF-16 -t UTF-8 {path.name} > utf8{path.suffix}"
        problems.add_file(
            f"byte 0, line 1: this is UTF-16, not UTF-8; convert it: {converted}", line=1
        )
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind a byte order mark; people count from the start of the file.
        start = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        bad_lines = [
            number for number, line in enumerate(raw.split(b"\n"), start=1) if not _is_utf8(line)
        ]
        line = raw[:start].count(b"\n") + 1
        others = (
            f" ({len(bad_lines) - 1:,} more lines are broken too)" if len(bad_lines) > 1 else ""
        )
        problems.add_file(
            f"byte {start:,} (0x{raw[start]:02x}) is not UTF-8{others}; save the file as UTF-8, "
            "for instance if it is "
            f"Windows-1252: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8{path.suffix}",
            line=line,
        )
        return None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _read_separated(path: Path, problems: Problems, *, separator: str) -> Rows:
    text = _read_text(path, problems)
    if text is None:
        return Rows()
    rows = Rows()
    records = _records(text, separator, problems)
    header = next(records, None)
    if header is None:
        return rows
    rows.columns = [column.strip() for column in header[1]]
    others = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}
    for other, name in others.items():
        if len(rows.columns) == 1 and other in rows.columns[0]:
            rows.hint = (
                f" The file seems to be separated by {name}: save it with {others[separator]}."
            )
    for number, (line, record) in enumerate(records, start=1):
        if len(record) == len(rows.columns):
            rows.values.append((number, dict(zip(rows.columns, record, strict=True))))
            continue
        message = (
            f"line {line} has {len(record)} fields, the header has {len(rows.columns)} "
            f"({', '.join(rows.columns)}); "
            + (
                "put text that holds the separator in quotes"
                if len(record) > len(rows.columns)
                else "fill in the rest"
            )
        )
        problems.add("with another number of fields than the header", number, message)
    return rows


def _records(text: str, separator: str, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """The records of a separated file with the line each ends on; blank lines are no records."""
    before = csv.field_size_limit(_MOST_FIELD_CHARACTERS)
    # strict: a quote that is never closed would otherwise swallow the rest of the file as one text.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        # Read as a whole, so that the process-wide limit is back in place before anything else
        # runs.
        records = [(reader.line_num, record) for record in reader if record]
        broken = None
    except csv.Error as error:
        records, broken = [], error
    finally:
        csv.field_size_limit(before)
    if broken is not None:
        advice = (
            "a field that starts with a quote must end with one, and a quote inside it is written "
            "twice"
        )
        problems.add_file(
            f"the record that ends here cannot be read ({broken}); {advice}", line=reader.line_num
        )
    yield from records


def _read_jsonl(path: Path, problems: Problems) -> Rows:
    text = _read_text(path, problems)
    rows = Rows()
    if text is None:
        return rows
    if text.lstrip().startswith("[") and not _is_json(text.split("\n", 1)[0]):
        problems.add_file(
            f"this is one JSON list; expected one object on each line: jq -c '.[]' {path.name} > "
            "lines.jsonl"
        )
        return rows
    columns: dict[str, None] = {}
    number = 0
    # Only "\n" ends a line: text may hold other characters that Python takes for line ends.
    for line_number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        number += 1
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            message = (
                f"line {line_number} is not JSON ({error.msg}, column {error.colno}); write one "
                f"object a line"
            )
            problems.add("that are not JSON", number, message)
            continue
        except (RecursionError, ValueError) as error:
            problems.add(
                "that are not JSON", number, f"line {line_number} cannot be read ({error})"
            )
            continue
        if not isinstance(value, dict):
            message = (
                f'line {line_number} holds {shown(value)}; expected an object such as {{"text": '
                f'"..."}}'
            )
            problems.add("that are not JSON objects", number, message)
            continue
        columns.update(dict.fromkeys(value))
        rows.values.append((number, value))
    rows.columns = list(columns)
    return rows


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path, problems: Problems, *, fields: Sequence[str]) -> Rows:
    import pyarrow as pa  # takes a third of a second, so only those who have parquet files pay
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        table = file.read(columns=[name for name in dict.fromkeys(names) if name in fields])
    except (pa.ArrowException, OSError) as error:
        problems.add_file(
            f"this is not a readable parquet file ({str(error).splitlines()[0]}); write it again"
        )
        return Rows()
    columns = [_column_values(table.column(index)) for index in range(table.num_columns)]
    rows = Rows(columns=names)
    rows.values = [
        (number, dict(zip(table.column_names, values, strict=True)))
        for number, values in enumerate(zip(*columns, strict=True), start=1)
    ]
    return rows


def _column_values(column: Any) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        # Written by a tool that did not check; the bytes are refused as "not text" with their row.
        return bytes(error.object)
