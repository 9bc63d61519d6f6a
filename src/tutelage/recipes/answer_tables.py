"""Answers as a table on disk: csv, tsv, jsonl or parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Source: OWASP, CSV injection."""


def is_formula(cell: object) -> bool:
    """Whether a spreadsheet would take a cell for a formula."""
    return isinstance(cell, str) and cell.startswith(_FORMULA_BEGINS)


def as_text(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with an apostrophe before every such cell, which spreadsheets read as text."""
    return {key: f"'{cell}" if is_formula(cell) else cell for key, cell in row.items()}


DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""Formats that spreadsheets open by themselves."""


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]], *, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file,
            fieldnames=list(rows[0]) if rows else ["row", "text", "label"],
            delimiter=delimiter,
        )
        writer.writeheader()
        writer.writerows(rows)


def _write_tsv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    _write_csv(path, rows, delimiter=DELIMITERS[".tsv"])


def _write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)


WRITERS = {
    ".csv": _write_csv,
    ".tsv": _write_tsv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
"""Writes rows to a file, by its ending."""
