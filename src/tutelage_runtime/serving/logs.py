"""Structured logs: one JSON object a line, on stderr.

No texts, no headers, no tokens. What went wrong is told by its kind and where, since the message of
an error may quote a text.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO


class Log(Protocol):
    """Writes what happens."""

    def __call__(self, event: str, /, *, level: str = "info", **fields: Any) -> None:
        """Write one line.

        Args:
            event: What happened, such as `request`.
            level: `info`, `warning` or `error`.
            fields: What else is known; those that are None are left out.
        """
        ...


def json_log(stream: TextIO | None = None) -> Log:
    """Writes JSON lines to a stream; None: stderr."""
    out = sys.stderr if stream is None else stream
    encode = json.JSONEncoder(separators=(",", ":"), default=str).encode

    def log(event: str, /, *, level: str = "info", **fields: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": now, "level": level, "event": event}
        line |= {name: value for name, value in fields.items() if value is not None}
        try:
            out.write(encode(line) + "\n")
            out.flush()
        except (OSError, ValueError):
            pass  # a log that nobody reads any more is no reason to stop answering

    return log


def told(error: BaseException) -> dict[str, Any]:
    """An error as a log may have it: its kind and the places it passed, without its message."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames
    ]
    return {"error": type(error).__name__, "where": places}


class LibraryHandler(logging.Handler):
    """Passes what uvicorn and asyncio say on to a log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        error = record.exc_info[1] if record.exc_info else None
        self._log(
            "library",
            level="error" if record.levelno >= logging.ERROR else "warning",
            logger=record.name,
            message=record.getMessage()[:300] if error is None else None,
            **({} if error is None else told(error)),
        )
