"""What lies at a URL as a file or folder here, brought once and again only where it changed.

In: a path, of any kind. Out: a path on this disk. What was brought is known by the mark that the
store gives an object (its ETag), beside the size and time of the copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import DataError, RunIncomplete
from tutelage.runs.contents import remove
from tutelage.runs.files import atomic_write_json, cache_folder
from tutelage.runs.reading import read_json
from tutelage.runs.remote.objects import Objects, Seen
from tutelage.runs.storage import storing
from tutelage.urls import is_remote, protocol_of, url_of

OURS = ".remote/"
"""Under this lies what the two sides of a run tell each other; no file of the run."""
_TRIES = 5

_brought: dict[tuple[str, str], Path] = {}


def place_here(kind: str, place: Path | str) -> Path:
    """Where in the cache folder a URL has its copy; the names of a URL stay readable.

    Args:
        kind: `runs`, whose content is pushed back, or `copies`, whose is not.
        place: The URL.
    """
    url = url_of(place)
    names = url.partition("://")[2].strip("/")
    return cache_folder() / "remote" / kind / protocol_of(place) / names


def note_of(here: Path) -> Path:
    """Where it is written down what was brought to a place here."""
    name = hashlib.sha256(os.fsencode(here)).hexdigest()[:24]
    return cache_folder() / "remote" / "notes" / f"{name}.json"


def local_file(path: Path) -> Path:
    """The file that a path means: itself, or a copy of the object at a URL, as it is now.

    A process looks once at a URL, so that all of it works on the same bytes. Nothing here knows
    whether somebody else's copy is in use: a changed object takes the place of the old copy by a
    rename.

    Raises:
        FileNotFoundError: There is no such object.
        StorageError: The store refuses, or cannot be reached.
        MissingExtra: The package for the protocol is not installed.
    """
    if not is_remote(path):
        return path
    here = place_here("copies", path)
    key = (url_of(path), str(here))
    if key in _brought and here.is_file():
        return _brought[key]
    objects = Objects(path)
    with storing(here):
        for _ in range(_TRIES):
            if (seen := objects.look()) is None:
                raise FileNotFoundError(f"no such object: {objects.url}")
            _bring(objects, {"": seen}, here)
            if objects.look() == seen:  # else it was written while it was read
                _brought[key] = here
                return here
    raise DataError(
        f"{objects.url} changes while it is read. Wait until it is whole, and give the same "
        "command again"
    )


def local_folder(path: Path) -> Path:
    """The folder that a path means: itself, or a copy of what lies under a URL, for reading alone.

    Raises:
        RunIncomplete: Nothing lies there.
        StorageError: The store refuses, or cannot be reached.
        MissingExtra: The package for the protocol is not installed.
    """
    if not is_remote(path):
        return path
    here, objects = place_here("copies", path), Objects(path)
    listed = {name: seen for name, seen in objects.list().items() if not name.startswith(OURS)}
    if not listed:
        raise RunIncomplete(f"{objects.url} holds nothing; expected a run, a student or a store")
    bring_folder(objects, listed, here)
    return here


def bring_folder(objects: Objects, listed: Mapping[str, Seen], here: Path) -> int:
    """Make a folder hold what a listing tells, and nothing else.

    Args:
        objects: Where it comes from.
        listed: What is wanted, by name.
        here: The folder. A kill leaves some files brought and others not.

    Returns:
        Bytes that were brought.
    """
    with storing(here):
        here.mkdir(parents=True, exist_ok=True)
        for path in [path for path in here.rglob("*") if not path.is_dir() or path.is_symlink()]:
            if path.relative_to(here).as_posix() not in listed:
                remove(path)
        return _bring(objects, listed, here)


def bring_files(objects: Objects, listed: Mapping[str, Seen], here: Path) -> int:
    """Bring some of the files of a folder, each whole or not at all, and leave the others alone.

    Args:
        objects: Where they come from.
        listed: What is wanted, by name.
        here: The folder.

    Returns:
        Bytes that were brought.
    """
    with storing(here):
        return _bring(objects, listed, here)


def _bring(objects: Objects, listed: Mapping[str, Seen], here: Path) -> int:
    """Bring what changed since it was last brought; `""` stands for `here` itself."""
    note, known = note_of(here), _known(here)
    missing = {
        name: here / name if name else here
        for name, seen in listed.items()
        if known.get(name, []) != _fact(seen, here / name if name else here)
    }
    beside = {
        name: path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
        for name, path in missing.items()
    }
    for name, path in missing.items():
        if name and not _is_inside(name, path, here):
            raise DataError(
                f"{objects.url} holds an object of the name {name!r}; expected names of files in "
                "a folder. Remove that object, and give the same command again"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        objects.fetch(beside)
        for name, path in missing.items():
            if path.is_dir():
                remove(path)
            beside[name].replace(path)
    finally:
        for path in beside.values():
            with contextlib.suppress(OSError):
                path.unlink()
    if missing:
        facts = {name: _fact(seen, here / name if name else here) for name, seen in listed.items()}
        others = {name: one for name, one in known.items() if (here / name).is_file()}
        atomic_write_json(note, others | facts)
    return sum(listed[name].size for name in missing)


def _is_inside(name: str, path: Path, here: Path) -> bool:
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        return False
    return Path(os.path.normpath(path)).is_relative_to(here)


def _fact(seen: Seen, path: Path) -> list[Any] | None:
    """What is noted of a copy; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [seen.size, seen.mark, found.st_size, found.st_mtime_ns]


def _known(here: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        known = read_json(note_of(here))
        if isinstance(known, dict):
            return known
    return {}
