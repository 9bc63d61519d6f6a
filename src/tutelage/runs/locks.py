"""One writer at a time: a lock file that goes with its process, so that a kill never leaves a
folder locked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tutelage.errors import RunExists

LOCK_FILE = ".lock"


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Keep a folder to this process while it writes there.

    The operating system frees the lock when the process ends, however it ends; the file that a kill
    leaves behind locks nothing. After an orderly end it is removed.

    Args:
        path: The folder; made if missing.

    Raises:
        RunExists: Another process is writing there; its number is named.
    """
    path.mkdir(parents=True, exist_ok=True)
    file = _acquire(path)
    try:
        yield
    finally:
        (path / LOCK_FILE).unlink(
            missing_ok=True
        )  # while still held, so that nobody else's is removed
        file.close()


def _acquire(path: Path) -> TextIO:
    import fcntl

    while True:
        file = (path / LOCK_FILE).open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise RunExists(
                f"{path} is being written by process {owner}; expected a folder that nobody else "
                "writes. Wait until "
                "it has finished, stop it, or give another folder"
            ) from error
        if _is_current(file, path):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            return file
        file.close()  # its last owner removed it between our opening and locking it


def _is_current(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), (path / LOCK_FILE).stat())
    except FileNotFoundError:
        return False
