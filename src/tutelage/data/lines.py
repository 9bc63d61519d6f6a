"""Data files of text, read line by line: csv, tsv, jsonl.

Comes in: a path and the columns that are needed. Goes out: rows with only those; what cannot be
read is noted in `Problems`. A line is never taken whole before its length is known.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.data.limits import MOST_DEPTH, ReadingLimits, is_deeper
from tutelage.data.rows import MOST_COLUMNS, Problems, Rows, listed_columns, shown
from tutelage.types import same_name

_MOST_FIELD_CHARACTERS = 2**31 - 1
"""The csv module refuses fields above 131,072 characters unless told otherwise; whole documents are
longer, and whole records are bounded here."""

_BLOCK_BYTES = 2**20


class _UnreadableError(Exception):
    """The file cannot be read on; its problem is noted."""


class _Lines:
    """The lines of a text file, one at a time. State: what was read since the last row."""

    def __init__(
        self, path: Path, problems: Problems, limits: ReadingLimits, *, newline: str
    ) -> None:
        """Read `path`; a line ends as `newline` says, in the sense of `open`."""
        self._path, self._problems, self._limits, self._newline = path, problems, limits, newline
        self._row_bytes = 0
        self._is_blank = True
        self.row_line = 1
        """The line that the row in hand begins on."""
        self.number = 0
        """The line that was given last, counted from 1."""

    def row_ends(self) -> None:
        """Count the bytes of the next row from here."""
        self._row_bytes, self.row_line = 0, self.number + 1

    def __iter__(self) -> Iterator[str]:
        """The lines with their ends.

        Raises:
            _UnreadableError: The file is empty, not UTF-8 or too large, or a row is too large.
        """
        self._check_size()
        most = self._limits.of_row
        try:
            with self._path.open(encoding="utf-8-sig", newline=self._newline) as file:
                while line := file.readline(most + 1):
                    self.number += 1
                    self._row_bytes += len(line) if line.isascii() else len(line.encode("utf-8"))
                    if self._row_bytes > most:
                        raise self._too_large()
                    self._is_blank = self._is_blank and not line.strip()
                    yield line
        except UnicodeDecodeError:
            self._tell_what_is_not_utf8()
            raise _UnreadableError from None
        if self._is_blank:
            self._problems.add_file("the file is empty")
            raise _UnreadableError

    def _check_size(self) -> None:
        size, most = self._path.stat().st_size, self._limits.of_text
        if size > most:
            self._problems.add_file(
                f"the file has {size:,} bytes; expected at most {most:,}: cut it into several "
                "files, or raise data.max_file_bytes"
            )
            raise _UnreadableError
        with self._path.open("rb") as file:
            first = file.read(2)
        if first in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            converted = f"iconv -f UTF-16 -t UTF-8 {self._path.name} > utf8{self._path.suffix}"
            self._problems.add_file(
                f"byte 0, line 1: this is UTF-16, not UTF-8; convert it: {converted}", line=1
            )
            raise _UnreadableError

    def _too_large(self) -> _UnreadableError:
        self._problems.add_file(
            f"the row that begins here has more than {self._limits.of_row:,} bytes; end every row "
            "with a line end and every quote with a quote, cut long texts, or raise "
            "data.max_row_bytes",
            line=self.row_line,
        )
        return _UnreadableError()

    def _tell_what_is_not_utf8(self) -> None:
        """Where the first byte stands that is no UTF-8, and how many more lines have such."""
        broken = _broken_lines(self._path)
        line, start, byte = next(broken)
        more = sum(1 for _ in broken)
        others = f" ({more:,} more lines are broken too)" if more else ""
        name, suffix = self._path.name, self._path.suffix
        self._problems.add_file(
            f"byte {start:,} (0x{byte:02x}) is not UTF-8{others}; save the file as UTF-8, "
            "for instance if it is "
            f"Windows-1252: iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8{suffix}",
            line=line,
        )


def _broken_lines(path: Path) -> Iterator[tuple[int, int, int]]:
    """Each line with bytes that are no UTF-8: its number, the place of the first such byte in the
    file, and that byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    place, number, is_broken = 0, 1, False
    with path.open("rb") as file:
        while block := file.readline(_BLOCK_BYTES):
            pending, ends = len(decoder.getstate()[0]), block.endswith(b"\n")
            if not is_broken:
                try:
                    decoder.decode(block, final=ends)
                except UnicodeDecodeError as error:
                    is_broken = True
                    start = place - pending + error.start
                    yield number, start, error.object[error.start]
            place += len(block)
            if ends:
                decoder.reset()
                number, is_broken = number + 1, False
    if not is_broken and (rest := decoder.getstate()[0]):
        yield number, place - len(rest), rest[0]


def read_separated(
    path: Path,
    problems: Problems,
    separator: str,
    *,
    fields: Sequence[str],
    limits: ReadingLimits,
) -> Rows:
    """The rows of a csv or tsv file; see `formats.read_rows`."""
    rows = Rows()
    lines = _Lines(path, problems, limits, newline="")
    before = csv.field_size_limit(_MOST_FIELD_CHARACTERS)
    # strict: a quote that is never closed would otherwise swallow the rest of the file as one text.
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        # Read as a whole, so that the process-wide limit is back in place before anything else
        # runs.
        _take_records(reader, lines, rows, problems, fields=fields, separator=separator)
    except csv.Error as error:
        problems.add_file(
            f"the record that ends here cannot be read ({error}); a field that starts with a quote "
            "must end with one, and a quote inside it is written twice",
            line=reader.line_num,
        )
        rows.values.clear()
    except _UnreadableError:
        return Rows()
    finally:
        csv.field_size_limit(before)
    return rows


def _take_records(
    reader: Any,
    lines: _Lines,
    rows: Rows,
    problems: Problems,
    *,
    fields: Sequence[str],
    separator: str,
) -> None:
    """Fill `rows`: columns from the first record, values from the others; blank lines are none."""
    asked = _asked(fields)
    names: list[str] = []
    places: dict[str, int] = {}
    number = 0
    for record in reader:
        lines.row_ends()
        if not record:
            continue
        if not names:
            names = [asked.get(same_name(name), name) for name in map(str.strip, record)]
            places = {name: place for place, name in enumerate(names) if name in fields}
            rows.columns = [
                name for place, name in enumerate(names) if place < MOST_COLUMNS or name in places
            ]
            rows.hint = _separator_hint(names, separator)
            continue
        number += 1
        if len(record) == len(names):
            rows.values.append((number, {name: record[place] for name, place in places.items()}))
            continue
        message = (
            f"line {reader.line_num} has {len(record)} fields, the header has {len(names)} "
            f"({listed_columns(names)}); "
            + (
                "put text that holds the separator in quotes"
                if len(record) > len(names)
                else "fill in the rest"
            )
        )
        problems.add("with another number of fields than the header", number, message)


def _separator_hint(names: Sequence[str], separator: str) -> str:
    others = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}
    hint = ""
    for other, word in others.items():
        if len(names) == 1 and other in names[0]:
            hint = f" The file seems to be separated by {word}: save it with {others[separator]}."
    return hint


def read_jsonl(
    path: Path, problems: Problems, *, fields: Sequence[str], limits: ReadingLimits
) -> Rows:
    """The rows of a jsonl file; see `formats.read_rows`."""
    rows = Rows()
    columns: dict[str, None] = {}
    asked = _asked(fields)
    number = 0
    # Only "\n" ends a line: text may hold other characters that Python takes for line ends.
    lines = _Lines(path, problems, limits, newline="\n")
    try:
        for line in lines:
            lines.row_ends()
            if not line.strip():
                continue
            number += 1
            try:
                value = json.loads(line.removesuffix("\n"), object_pairs_hook=_each_once)
            except (ValueError, RecursionError) as error:
                if number == 1 and line.lstrip().startswith("["):
                    problems.add_file(
                        "this is one JSON list; expected one object on each line: jq -c '.[]' "
                        f"{path.name} > lines.jsonl"
                    )
                    return Rows()
                problems.add("that are not JSON", number, f"line {lines.number} {_why(error)}")
                continue
            if not isinstance(value, dict):
                message = (
                    f"line {lines.number} holds {shown(value)}; expected an object such as "
                    '{"text": "..."}'
                )
                problems.add("that are not JSON objects", number, message)
                continue
            kept = {name: value[name] for name in fields if name in value}
            wrong = RecursionError() if is_deeper(kept) else None
            for key in map(str, value) if asked else ():
                name = asked.get(same_name(key))
                if name is not None and kept.setdefault(name, value[key]) is not value[key]:
                    wrong = _KeyTwiceError(name)
            if wrong is not None:
                problems.add("that are not JSON", number, f"line {lines.number} {_why(wrong)}")
                continue
            rows.values.append((number, kept))
            room = max(MOST_COLUMNS - len(columns), 0)
            columns.update(dict.fromkeys([*islice(value, room), *kept]))
    except _UnreadableError:
        return Rows()
    rows.columns = list(columns)
    return rows


class _KeyTwiceError(ValueError):
    """An object has a key twice, of which Python would keep the last in silence."""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, each key of which is there once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _KeyTwiceError(next(key for key, count in counts.items() if count > 1))
    return found


def _why(error: Exception) -> str:
    """Why a line could not be read, in words that follow its number."""
    match error:
        case json.JSONDecodeError():
            return f"is not JSON ({error.msg}, column {error.colno}); write one object a line"
        case _KeyTwiceError():
            return f"has the key {shown(str(error))} twice; keep one of them"
        case RecursionError():
            return (
                f"has lists and objects in more than {MOST_DEPTH} levels; write what is inside "
                "them on fewer"
            )
        case _:
            return "holds a number of thousands of digits; write it as text"


def _asked(fields: Sequence[str]) -> dict[str, str]:
    """The columns that are needed by what their names are the same as; only those of more than
    ASCII, of which there are several spellings.
    """
    return {same_name(name): name for name in fields if not name.isascii()}
