"""Reading small files that somebody else may have written: never a pipe, never without end, never
deeper than can be gone into.

In: a path. Out: its bytes or the JSON value in it, or an error that says in a few words why not;
the caller knows what the file was for and what to do.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

MOST_JSON_BYTES = 16 * 2**20
"""A JSON text unfolds to some 25 times its bytes, so that no file takes more than 400 MB."""
MOST_DIGITS = 40
"""Of a number in JSON. Every count, seed and size that is ever written has fewer; thousands of
digits take long to read, and Python refuses to print them."""


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading, if it is one: a pipe would be waited for, a device may never end.

    A link is followed.

    Raises:
        FileNotFoundError: There is nothing, or a link to nothing.
        OSError: It is a folder, a pipe, a device; or the system says no. `strerror` says which.
    """
    # Opening a pipe for reading waits for a writer, unless it is asked not to.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, *, most: int) -> bytes:
    """The bytes of a file of at most `most` bytes.

    Raises:
        FileNotFoundError: There is nothing.
        OSError: It is no file, or cannot be read.
        ValueError: It is larger.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def read_json(path: Path, *, most: int = MOST_JSON_BYTES) -> Any:
    """The JSON value in a file; see `parse_json`.

    Raises:
        FileNotFoundError: There is nothing.
        OSError: It is no file, or cannot be read.
        ValueError: It is larger than `most` bytes, or no JSON.
    """
    return parse_json(read_bytes(path, most=most))


def parse_json(content: bytes) -> Any:
    """The JSON value in UTF-8 bytes: every number finite and of a sensible length, every text
    Unicode, nested no deeper than Python goes.

    Raises:
        ValueError: Why not, in a few words.
    """
    try:
        text = content.decode("utf-8")
        value = json.loads(
            text, parse_int=_whole, parse_float=_finite, parse_constant=_refuse_constant
        )
        if "\\u" in text:  # the only way to half a character
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start:,} is no UTF-8") from error
    except UnicodeEncodeError as error:
        raise ValueError("it has half a surrogate pair, which is no text") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return value


_BINARY = getattr(os, "O_BINARY", 0)


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"it has a number of {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits[:1000])
    if len(digits) > 1000 or not math.isfinite(number):
        raise ValueError(
            f"it has the number {digits[:MOST_DIGITS]}, which is too large or too long"
        )
    return number


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"it has {word}, which is no JSON")
