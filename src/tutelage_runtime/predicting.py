"""`predict`: texts from the command line, a file or stdin; a line of answer for each.

In: texts, or a csv, tsv or jsonl with a column of them, or a file with one on each line. Out:
label, probability and text, or one JSON object a line. A file is read, and answered, a part at a
time.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tutelage_runtime.student import TextError
from tutelage_runtime.terminal import Parser, exit_code_of, parse

if TYPE_CHECKING:
    import argparse

    from tutelage_runtime.session import Student

TEXTS_AT_ONCE = 1024
_LONGEST_CELL = _LONGEST_LINE = 1 << 24


def main(
    arguments: Sequence[str] | None = None,
    *,
    folder: Path | None = None,
    program: str = "tutelage-runtime predict",
) -> int:
    """Answer texts, and give the exit code.

    Args:
        arguments: Words after the command's; None takes them from the process.
        folder: Of the exported student; None: the first word names it.
        program: How the command is called.
    """
    parser = Parser(prog=program, description="Answer texts with an exported student.")
    if folder is None:
        parser.add_argument("folder", type=Path, help="of an exported student")
    parser.set_defaults(folder=folder)
    parser.add_argument(
        "text", nargs="*", help="texts; without any, and without --file, the lines of stdin"
    )
    parser.add_argument(
        "--file",
        type=Path,
        help="csv, tsv or jsonl with a column of texts, or txt with a text a line",
    )
    parser.add_argument("--text-field", default="text", help="the column of --file [text]")
    parser.add_argument("--json", action="store_true", help="one JSON object for each text")
    options = parse(parser, arguments)
    return exit_code_of(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from tutelage_runtime.session import load

    if options.text and options.file is not None:
        raise TextError("give texts, or --file, and not both")
    if not options.text and options.file is None and sys.stdin.isatty():
        raise TextError("give texts, or --file, or texts on stdin, one a line")
    student = load(options.folder)
    show = _as_json if options.json else _as_line
    if options.text:
        _answer(student, options.text, show)
    elif options.file is None:
        _answer(student, _lines(sys.stdin), show)
    else:
        reader = _reader(options.file, options.text_field)
        # utf-8-sig: spreadsheets write a mark at the beginning.
        with options.file.open(encoding="utf-8-sig", newline="") as file:
            try:
                _answer(student, reader(file), show)
            except UnicodeDecodeError as error:
                raise TextError(f"{options.file} is not UTF-8 ({error}): convert it") from None
            except csv.Error as error:
                raise TextError(f"{options.file} cannot be read: {error}") from None
    return 0


def _answer(student: Student, texts: Iterable[str], show: Callable[..., str]) -> None:
    labels, coming = student.labels, iter(texts)
    while part := _part(coming):
        for text, probs in zip(part, student.probs(part).tolist(), strict=True):
            sys.stdout.write(show(text, dict(zip(labels, probs, strict=True))) + "\n")


def _part(coming: Iterator[str]) -> list[str]:
    """The next texts, fewer of long ones."""
    part: list[str] = []
    characters = 0
    while len(part) < TEXTS_AT_ONCE and characters < _LONGEST_LINE:
        text = next(coming, None)
        if text is None:
            break
        part.append(text)
        characters += len(text)
    return part


def _as_line(text: str, probs: dict[str, float]) -> str:
    label = max(probs, key=probs.__getitem__)
    return f"{label}\t{probs[label]:.4f}\t{' '.join(text.split())}"


def _as_json(text: str, probs: dict[str, float]) -> str:
    label = max(probs, key=probs.__getitem__)
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    answer = {"text": text, "label": label, "probs": {k: round(p, 6) for k, p in probs.items()}}
    return json.dumps(answer, ensure_ascii=not utf8)


def _reader(path: Path, field: str) -> Callable[[TextIO], Iterator[str]]:
    """What reads the texts of a file, by its ending."""
    match path.suffix.lower():
        case ".txt":
            return _lines
        case ".csv":
            return lambda file: _cells(file, path, field, ",")
        case ".tsv":
            return lambda file: _cells(file, path, field, "\t")
        case ".jsonl":
            return lambda file: _values(file, path, field)
        case other:
            raise TextError(
                f"{path} ends in {other or 'nothing'}; expected .csv, .tsv, .jsonl or .txt: "
                "convert the file"
            )


def _bounded(file: TextIO) -> Iterator[str]:
    """The lines of a file, none of which is all of a large one."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise TextError(
                f"{getattr(file, 'name', 'stdin')}, line {number} has {_LONGEST_LINE:,} characters "
                "or more: cut it"
            )
        yield line


def _lines(file: TextIO) -> Iterator[str]:
    return (line.rstrip("\r\n") for line in _bounded(file))


def _cells(file: TextIO, path: Path, field: str, delimiter: str) -> Iterator[str]:
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.DictReader(_bounded(file), delimiter=delimiter)
    if field not in (found := rows.fieldnames or ()):
        raise _no_field(path, field, found)
    for number, row in enumerate(rows, start=1):
        if row[field] is None:
            raise TextError(f"{path}, row {number} has no {field!r}: complete or remove it")
        yield row[field]


def _values(file: TextIO, path: Path, field: str) -> Iterator[str]:
    for number, line in enumerate(_bounded(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TextError(f"{path}, line {number} is no JSON ({error}): correct it") from None
        if not isinstance(row, dict) or not isinstance(row.get(field), str):
            raise _no_field(f"{path}, line {number}", field, row if isinstance(row, dict) else ())
        yield row[field]


def _no_field(place: object, field: str, found: Iterable[str]) -> TextError:
    there = ", ".join(list(found)[:20]) or "nothing"
    return TextError(f"{place} has no text {field!r} but {there}: name another with --text-field")
