"""What a file held when it was finished: size and SHA-256, and whether it still does.

In: files of a run. Out: sums to keep in a record, and later each file that is not what it was.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tutelage.errors import RunDamaged
from tutelage.runs.digests import sha256_of
from tutelage.runs.storage import storing

UNFINISHED = ("checkpoints", ".*")
"""Names of what belongs to work in progress; it is no result, and is not taken over."""
OF_OTHERS = ("export", "embeddings")
"""Names in the folder of a stage that another stage fills: its own results, and token vectors of
the teacher, whose files are named by their content."""
FOR_PEOPLE = ("tensorboard",)
"""Names of what nothing is made from: where it is damaged, `verify` says so and `run` goes on."""

Sums = Mapping[str, Mapping[str, Any]]
"""By path relative to the run, with `/`: `{"bytes": size, "sha256": 64 hexadecimal characters}`."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not what it was when its stage was finished."""

    path: str
    """Relative to the run."""
    what: str
    """In words that follow the path: `is gone`."""

    def __str__(self) -> str:
        """On one line."""
        return f"{self.path} {self.what}"

    @property
    def matters(self) -> bool:
        """Whether anything is made from the file."""
        return not any(part in FOR_PEOPLE for part in self.path.split("/"))


def sums_of(run: Path, places: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Size and checksum of finished files.

    Args:
        run: The run folder.
        places: Files in it, and folders whose files all count, but for work in progress and what
            other stages leave there. What is not there has no sum.
    """
    files = sorted({file for place in places for file in _files(place)})
    return {
        file.relative_to(run).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in files
    }


def damages(run: Path, sums: Sums, *, sizes_only: bool = False) -> list[Damage]:
    """Each file that is not what it was, in the order of the sums; every byte is read.

    Args:
        run: The run folder.
        sums: From `sums_of`.
        sizes_only: Look at sizes alone and read nothing: at once, but other bytes go unnoticed.

    Raises:
        StorageError: The file system does not let a file be read.
    """
    found = (
        (path, _difference(run / path, known, sizes_only=sizes_only))
        for path, known in sums.items()
    )
    return [Damage(path, what) for path, what in found if what is not None]


def remove(path: Path) -> None:
    """Remove a file, or a folder that lies in its place, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


def leads_out(path: Path, run: Path) -> bool:
    """Whether the folder that something lies in is outside of the run, through a link perhaps: then
    it is not ours to remove or to replace.
    """
    return not path.parent.resolve().is_relative_to(run.resolve())


def place_in(run: Path, name: str) -> Path:
    """Where a file lies that a record names, for somebody who will remove or replace it.

    Raises:
        RunDamaged: It lies outside of the run.
    """
    if leads_out(run / name, run):
        raise RunDamaged(
            f"{run / name} lies outside of the run, where a link leads, so it is neither removed "
            "nor put back. Have a look at that link, and put a folder in its place"
        )
    return run / name


def _difference(path: Path, known: Mapping[str, Any], *, sizes_only: bool) -> str | None:
    # A file that cannot be read just now, or by this user, is not damaged: nothing is made again.
    with storing(path):
        return _compared(path, known, sizes_only=sizes_only)


def _compared(path: Path, known: Mapping[str, Any], *, sizes_only: bool) -> str | None:
    try:
        if not path.is_file():
            return "is no file any more" if path.exists() or path.is_symlink() else "is gone"
        size = path.stat().st_size
        if size != known["bytes"]:
            return f"has {size:,} bytes where {known['bytes']:,} were written"
        if not sizes_only and sha256_of(path) != known["sha256"]:
            return "holds other bytes than were written"
    except FileNotFoundError:
        return "is gone"
    return None


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    elif place.is_dir():
        for found in place.iterdir():
            if not any(fnmatch(found.name, name) for name in (*UNFINISHED, *OF_OTHERS)):
                yield from _files(found)
