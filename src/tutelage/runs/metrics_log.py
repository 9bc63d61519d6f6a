"""metrics.jsonl: one JSON object a line, in order of steps, free of anything that a clock
decides.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tutelage.runs.files import atomic_write_text
from tutelage.runs.storage import storing


class MetricsLog:
    """The training curve of one student on disk.

    Records hold `step` and whatever was measured there. Two runs under one seed write the same
    bytes; so do a run and a killed run that was started again, because a resume drops what came
    after its checkpoint.
    """

    def __init__(self, path: Path) -> None:
        """Append to `path`, which need not exist."""
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record; it is on the disk when this returns.

        Raises:
            ValueError: A number in it is NaN or infinite.
            StorageError: The file system refuses; what is left of the line is passed over.
        """
        line = json.dumps(record, ensure_ascii=False, allow_nan=False)
        with storing(self.path), self._opened() as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                # A line that a kill cut short is closed first, or it would swallow this one.
                line = line if file.read(1) == b"\n" else "\n" + line
            file.write((line + "\n").encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())

    def _opened(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path.open("ab+")

    def truncate_after(self, step: int) -> None:
        """Drop records beyond `step`, and a line that a kill cut short, so that a resume at `step`
        can go on.
        """
        if not self.path.is_file():
            return
        kept = [
            line
            for line, record in self._lines()
            if record is not None and record.get("step", 0) <= step
        ]
        atomic_write_text(self.path, "".join(f"{line}\n" for line in kept))

    @staticmethod
    def read(path: Path) -> list[dict[str, Any]]:
        """The records of a file, without a line that a kill cut short; empty if there is no
        file.
        """
        if not path.is_file():
            return []
        return [record for _, record in MetricsLog(path)._lines() if record is not None]

    def _lines(self) -> list[tuple[str, dict[str, Any] | None]]:
        # Bytes first: a cut can fall inside a character. Only "\n" ends a line, whatever a text in
        # a record holds.
        return [
            (line.decode("utf-8", "replace"), _record(line))
            for line in self.path.read_bytes().split(b"\n")
            if line
        ]


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
