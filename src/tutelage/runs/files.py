"""Files that a kill leaves usable: old or new, never half (written beside, synced, renamed)."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tutelage.errors import StorageError
from tutelage.runs.storage import require_utf8, shown, storing

UNFINISHED_FILE = re.compile(r"\..+\.\d+\.tmp")
"""Names of files that are being written, or that a kill left."""

_NAME_BYTES = 200
"""Of a file's name that go into the name of the one beside it: file systems take 255 in all."""
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""What file systems answer that do not sync folders."""


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader or a kill sees the old file or the new one, whole.

    Args:
        path: Where; its folder is made if missing.
        text: What, with line feeds as line ends.

    Raises:
        StorageError: The file system refuses; the old file is still there.
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
    with replacing(path) as beside:
        beside.write_bytes(content)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a finished file a second name; where the file system cannot, copy it, atomically.

    Raises:
        FileExistsError: There is a file of that name.
        StorageError: The file system refuses.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without links
        atomic_write_bytes(target, source.read_bytes())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to write into; whole and synced, it takes the place of `path`.

    Args:
        path: Where; its folder is made if missing. Others may read the file as the umask says,
            whatever the library that writes it thinks.

    Raises:
        StorageError: The file system refuses; what was at `path` is still there.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(path)
        try:
            beside.touch()
            mode = stat.S_IMODE(beside.stat().st_mode)
            yield beside
            _settle(beside, mode)
            beside.replace(path)
        finally:
            with suppress(OSError):
                beside.unlink()
        sync_folder(path.parent)


def settle_folder(folder: Path) -> None:
    """Have the disk hold every file of a folder that a library wrote, readable as the umask says.

    Raises:
        StorageError: The file system refuses.
    """
    with storing(folder):
        mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.is_symlink():
                _settle(path, mode)
        sync_folder(folder)


def _settle(path: Path, mode: int) -> None:
    # Some libraries write files that their owner alone may read.
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    name = path.name.encode("utf-8", "surrogateescape")[:_NAME_BYTES].decode("utf-8", "ignore")
    return path.with_name(f".{name}.{os.getpid()}.tmp")


def remove_unfinished(folder: Path) -> None:
    """Remove what kills left half written, in a folder that nobody else writes."""
    with suppress(OSError):
        for path in folder.iterdir():
            if UNFINISHED_FILE.fullmatch(path.name):
                path.unlink()


def place_for(path: Path) -> Path:
    """Where the file that a person asked for will lie, asked before the work that fills it.

    Args:
        path: As it was given.

    Returns:
        `path`, or what it points to where it is a link.

    Raises:
        StorageError: There can be no such file: the folder cannot be written, or something else
            lies there.
    """
    require_utf8(path)
    with storing(path):
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "a device or a pipe"
            raise StorageError(
                f"{shown(path)} is {kind}; expected a file, or a name that is free. Give another "
                "name",
                is_wrong_place=True,
            )
        place = Path(os.path.realpath(path)) if path.is_symlink() else path
        beside = _beside(place)
        beside.touch()
        beside.unlink()
    return place


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut, where the system has a way to ask for
    it.
    """
    if sys.platform == "win32":
        return
    with storing(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise
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
