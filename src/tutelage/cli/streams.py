r"""Output that every terminal can show, and JSON that every program can read.

In: text of any characters. Out: the same on a stream that may know few of them (LANG=C in a
container, a Windows code page, a pipe): what the stream's encoding lacks becomes a plain stand-in
or a backslash escape, in JSON a `\u` escape, which means the same. Files are UTF-8 whatever the
terminal.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from tutelage.errors import TutelageError

_STAND_INS = str.maketrans(
    {
        **dict.fromkeys("─━╸╺╴╶–—", "-"),
        **dict.fromkeys("’‘", "'"),
        **dict.fromkeys("“”", '"'),
        "×": "x",
        "…": "...",
        "│": "|",
        "≥": ">=",
        "≤": "<=",
        "→": "->",
        "±": "+/-",
        "\u00a0": " ",
    }
)
"""What our own words and the lines of rich are made of, in ASCII."""
HANDLER = "tutelage.plain"
"""The name under which `codecs` knows what becomes of a character that a stream cannot show."""


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    given = error.object[error.start : error.end]
    shown = given.translate(_STAND_INS).encode("ascii", "backslashreplace").decode("ascii")
    return shown, error.end


codecs.register_error(HANDLER, _plain)


def adapt_streams() -> None:
    """Let stdout and stderr take any text; for the start of a process that types results.

    A stream that was closed (`>&-`) swallows what is written. Streams that are no files, such as a
    test's, are left as they are.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, nowhere)
        elif isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors=HANDLER)


def write_result(text: str) -> None:
    """Put a result on stdout.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        TutelageError: It cannot be written, for instance to a full disk.
    """
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon_stdout()
        raise TutelageError(
            f"the result cannot be written to stdout ({error.strerror}): give it another place"
        ) from None


def write_json(value: Any) -> None:
    r"""Put a JSON value on stdout, on one line: characters as they are where stdout can show them,
    `\u` escapes where it cannot. Either way it reads as the same value.
    """
    write_json_line(json.dumps(value, ensure_ascii=False))


def write_json_line(line: str) -> None:
    """Put on stdout what is JSON already; see `write_json`."""
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        # Outside of its strings JSON is ASCII, so whatever is not stands in a string.
        line = re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], line)
    write_result(line)


def abandon_stdout() -> None:
    """Let go of a stdout that takes nothing any more, so that the end of the process does not try
    once more and fail.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
