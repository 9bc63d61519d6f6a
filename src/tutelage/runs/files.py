"""Files and folders that a kill leaves usable: small files are either old or new, never half
(written beside, synced, renamed), and a folder has one writer at a time, whose lock goes with its
process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tutelage.errors import RunExists, TutelageError


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader or a kill sees the old file or the new one, whole.

    Args:
        path: Where; its folder is made if missing.
        text: What, with line feeds as line ends.
    """
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path, value: Any) -> None:
    """Write a JSON value, indented, atomically.

    Raises:
        ValueError: A number in it is NaN or infinite, which JSON does not know.
    """
    atomic_write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically; see `atomic_write_text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut, where the system has a way to ask for
    it.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_folder() -> Path:
    """Where downloads and converted models are kept between runs.

    `$TUTELAGE_CACHE` if set, else `tutelage` in the platform's cache folder (`$XDG_CACHE_HOME` or
    `~/.cache`; `~/Library/Caches` on macOS; `%LOCALAPPDATA%` on Windows). Not made here.
    """
    own = os.environ.get("TUTELAGE_CACHE")
    if own:
        return Path(own).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tutelage"
    if sys.platform == "win32":
        return (
            Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "tutelage"
        )
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tutelage"


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
    try:
        import fcntl
    except ImportError:
        raise TutelageError(
            f"{path} cannot be locked: this system ({sys.platform}) has no file locks of POSIX, "
            "which keep two processes from writing one run. Use Linux, macOS, or WSL on Windows; "
            "`predict` works here too"
        ) from None

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
