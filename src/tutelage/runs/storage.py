"""What the file system says, in words: one line that names the place, what is so, and what to do.

In: an error of the system, of Python or of a library that writes files. Out: a `StorageError`.
Libraries that are not written in Python keep the system's number and words in their text only
(`I/O error: No space left on device (os error 28)`), so it is looked for there.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tutelage.errors import StorageError, TutelageError

SHOWN_CHARACTERS = 240
"""Of a path; a longer one is cut in its middle."""

_NUMBER = re.compile(r"[(\[](?:os error |errno )?(\d{1,3})[)\]]", re.IGNORECASE)
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")
"""What numpy says where it wrote less than it should have; it does not say why."""
_READ_CHARACTERS = 10_000
_AGAIN = "give the same command again: nothing that was whole is lost"


class _Trouble(NamedTuple):
    says: str
    advice: str
    is_wrong_place: bool = False


_NO_ROOM = "Free some space, or choose another disk, and "
_OTHER_PLACE = "Choose another place"
_NO_SUCH_WAY = _Trouble(
    "a folder on the way is not there, or a link leads nowhere",
    "Correct the path, or make what is missing",
    is_wrong_place=True,
)
_NOT_MINE = _Trouble(
    "this user has no right to it",
    "Change its owner or its mode (chown, chmod), or choose another place",
    is_wrong_place=True,
)
_NO_SUCH_WORK = _Trouble(
    "this file system cannot do what is needed (locks, links or this kind of name)",
    "Choose a place on another disk",
    is_wrong_place=True,
)
_GONE = _Trouble("the disk or the network drive is gone", f"Mount it again and {_AGAIN}")

_TROUBLES = {
    "ENOSPC": _Trouble("the disk is full", _NO_ROOM + _AGAIN),
    "EDQUOT": _Trouble("the quota of this user is used up", _NO_ROOM + _AGAIN),
    "EFBIG": _Trouble(
        "the file would be larger than this process may write, or than the disk takes",
        f"Raise the limit (ulimit -f unlimited), or choose another disk, and {_AGAIN}",
    ),
    "EROFS": _Trouble(
        "the file system is read-only", "Choose a place that can be written", is_wrong_place=True
    ),
    "EACCES": _NOT_MINE,
    "EPERM": _NOT_MINE,
    "ENAMETOOLONG": _Trouble(
        "the name is longer than the file system takes",
        "Choose a shorter one: most take 255 bytes for a name and 4,096 for a path",
        is_wrong_place=True,
    ),
    "ENOENT": _NO_SUCH_WAY,
    "ENOTDIR": _Trouble(
        "a file lies where a folder is expected", _OTHER_PLACE, is_wrong_place=True
    ),
    "EISDIR": _Trouble("a folder lies where a file is expected", _OTHER_PLACE, is_wrong_place=True),
    "EEXIST": _Trouble(
        "something else has this name: a file, or a link that leads nowhere",
        f"{_OTHER_PLACE}, or move it away",
        is_wrong_place=True,
    ),
    "ENOTEMPTY": _Trouble(
        "files came into the folder meanwhile", f"See who writes there, and {_AGAIN}"
    ),
    "ELOOP": _Trouble("links on the way lead in a circle", _OTHER_PLACE, is_wrong_place=True),
    "EMFILE": _Trouble(
        "this process has no file handles left",
        f"Raise the limit (ulimit -n 1024) and {_AGAIN}",
    ),
    "ENFILE": _Trouble(
        "this machine has no file handles left", f"Close other programs and {_AGAIN}"
    ),
    "EIO": _Trouble(
        "the disk reports an error in reading or writing",
        f"Look at the disk (dmesg tells more), or choose another, and {_AGAIN}",
    ),
    "ESTALE": _GONE,
    "ENODEV": _GONE,
    "ENXIO": _GONE,
    "ENOTCONN": _GONE,
    "EBUSY": _Trouble("another program is using it", f"Close that program and {_AGAIN}"),
    "ETXTBSY": _Trouble("another program is using it", f"Close that program and {_AGAIN}"),
    "EILSEQ": _Trouble(
        "the name is not UTF-8",
        "Rename it, or choose another place: the files that a run writes name it",
        is_wrong_place=True,
    ),
    "ENOLCK": _NO_SUCH_WORK,
    "ENOSYS": _NO_SUCH_WORK,
    "EOPNOTSUPP": _NO_SUCH_WORK,
}
_BY_NUMBER = {
    getattr(errno, name): trouble for name, trouble in _TROUBLES.items() if hasattr(errno, name)
}


def shown(path: Path | str) -> str:
    """A path as a message quotes it: on one line, of bounded length, printable anywhere."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    half = SHOWN_CHARACTERS // 2
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:half]}...{text[-half:]}"


def refusal(number: int, path: Path | str | None) -> StorageError:
    """The error for what the system calls by this number.

    Args:
        number: One of the module `errno`.
        path: Where; None where the system did not say.
    """
    trouble = _BY_NUMBER[number]
    says = trouble.says if path is None else f"{shown(path)}: {trouble.says}"
    return StorageError(
        f"{says}. {trouble.advice}", errno=number, is_wrong_place=trouble.is_wrong_place
    )


def storage_error(error: BaseException, path: Path | None = None) -> StorageError | None:
    """What an error says of the file system; None where it speaks of something else.

    Args:
        error: Of Python, or of a library: the system's number is looked for in its text then.
        path: What was being written or read, or the folder in which it lies: told where the error
            names no file of its own.
    """
    if isinstance(error, StorageError):
        return error
    if isinstance(error, TutelageError):
        return None
    number = error.errno if isinstance(error, OSError) else None
    if number is None and isinstance(error, OSError) and _CUT_SHORT.fullmatch(str(error)):
        return StorageError(
            f"{shown(path or 'a file')}: the disk is full, or the file would be larger than this "
            "process may write. Free some space, choose another disk, or raise the limit (ulimit "
            f"-f unlimited), and {_AGAIN}"
        )
    if number is None:
        number = _told_number(str(error))
    if number is None or number not in _BY_NUMBER:
        return None
    return refusal(number, _place(error, path))


def _told_number(text: str) -> int | None:
    """The system's number in a message that also has the system's words for it."""
    numbers = [int(match[1]) for match in _NUMBER.finditer(text[:_READ_CHARACTERS])]
    return next((number for number in numbers if os.strerror(number) in text), None)


def _place(error: BaseException, path: Path | None) -> Path | None:
    """The file that an error names, unless it is one that only stands in for `path` while it is
    written.
    """
    names = (error.filename2, error.filename) if isinstance(error, OSError) else ()
    for name in names:
        if not isinstance(name, (str, bytes)):
            continue
        told = Path(os.fsdecode(name))
        if not told.name.endswith(".tmp"):
            return told
    return path


@contextmanager
def storing(path: Path | None) -> Iterator[None]:
    """Turn what goes wrong on disk inside into a `StorageError`.

    Args:
        path: What is written or read inside, or the folder in which it lies.

    Raises:
        StorageError: In the place of an error of the file system, whoever raised it.
    """
    try:
        yield
    except Exception as error:
        if (found := storage_error(error, path)) is None or found is error:
            raise
        raise found from error


def require_utf8(path: Path | str) -> None:
    """Refuse a path that is no UTF-8: it could not be written into the files of a run.

    Raises:
        StorageError: It is none.
    """
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        raise refusal(errno.EILSEQ, path) from None
