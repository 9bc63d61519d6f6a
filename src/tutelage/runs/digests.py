"""Digests of files and folders, so that what is used is what was put there.

In: a file. Out: its SHA-256, remembered while nothing was written to it. In: a folder that was made
once and is used often (unpacked, joined or converted models in the cache). Out: whether every file
in it still has the bytes that it was left with.

Hashing reads 1.5 GB a second where the processor helps, a third of that elsewhere: 0.1 s for the
demo's model as it is published, 0.4 s for its plain copy. So what lies in the cache is hashed when
it is used, once a process. Files of people, which may have any size, are hashed when something was
written to them: the system keeps the time of the last change, and unlike the time of modification
nobody can set it back. A disk that rots without being written to is noticed in the cache alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from tutelage.runs.files import atomic_write_json, atomic_write_text, cache_folder
from tutelage.runs.reading import open_regular, read_json

REMEMBERED_FROM_BYTES = 8 * 2**20
"""Smaller files are read whenever their digest is asked for."""
SETTLED_NS = 2_000_000_000
"""A file that changed less than this before it was hashed may change again without its times
telling: clocks of file systems are coarse."""
NOTE = ".digests.json"

_seen_whole: dict[tuple[str, str], Any] = {}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read now.

    Raises:
        OSError: It is no file, or cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; files over 8 MB are read once and remembered.

    The memory lies in the user's cache folder. It holds while path, size, inode and both times of
    the file, in nanoseconds, are the same. Where it cannot be read it counts for nothing, and where
    it cannot be written the file is read again the next time.

    Raises:
        OSError: It is no file, or cannot be read.
    """
    before = path.stat()
    if before.st_size < REMEMBERED_FROM_BYTES:
        return sha256_of(path)
    key = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    note, seen = cache_folder() / "digests" / f"{key}.json", _state(before)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = read_json(note)
        if {name: known.get(name) for name in seen} == seen and _is_digest(known.get("sha256")):
            return known["sha256"]
    started = time.time_ns()
    digest = sha256_of(path)
    if _state(path.stat()) == seen and _settled(seen, started):
        shown = os.fsencode(path).decode("utf-8", "replace")
        with contextlib.suppress(OSError):
            atomic_write_text(note, json.dumps({**seen, "sha256": digest, "path": shown}))
    return digest


def note_folder(folder: Path, *, note: str = NOTE) -> None:
    """Write down what is in a folder, so that `is_whole` can tell.

    Args:
        folder: All its files are complete.
        note: Name of the file that is written into it.
    """
    atomic_write_json(
        folder / note,
        {
            name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
            for name, path in _files(folder, note).items()
        },
    )


def is_whole(folder: Path, *, note: str = NOTE) -> bool:
    """Whether a folder holds the files that were noted, with the bytes they had, and no others.

    All bytes are read; in one process, once while nothing is written. Hidden files do not count.

    Args:
        folder: It may not be there.
        note: As it was given to `note_folder`. One that is missing or cannot be read is as none:
            then the answer is no.
    """
    try:
        known, files = read_json(folder / note), _files(folder, note)
        if not isinstance(known, dict) or set(known) != set(files):
            return False
        started = time.time_ns()
        states = {name: _state(path.stat()) for name, path in files.items()}
        seen = (known, states)
        if _seen_whole.get((str(folder), note)) == seen:
            return True
        whole = all(
            isinstance(fact, dict)
            and states[name]["size"] == fact.get("size")
            and sha256_of(files[name]) == fact.get("sha256")
            for name, fact in known.items()
        )
    except (OSError, ValueError):
        return False
    if whole and all(_settled(state, started) for state in states.values()):
        _seen_whole[str(folder), note] = seen
    return whole


def _files(folder: Path, note: str) -> dict[str, Path]:
    """The files in a folder by their name inside it."""
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }
    return {
        name: path for name, path in found.items() if name != note and not path.name.startswith(".")
    }


def _state(stat: os.stat_result) -> dict[str, int]:
    """What changes when a file is written to; on Windows the last one is when it was made."""
    return {
        "size": stat.st_size,
        "inode": stat.st_ino,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
    }


def _settled(state: dict[str, int], now_ns: int) -> bool:
    return max(state["mtime_ns"], state["ctime_ns"]) < now_ns - SETTLED_NS


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64
