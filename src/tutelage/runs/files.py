"""Small files that are either old or new, never half: written beside, synced, renamed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


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
