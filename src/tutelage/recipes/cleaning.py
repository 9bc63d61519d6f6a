"""What a finished run no longer needs: `tutelage clean`.

In: a run folder. Out: each file or folder that nothing is made from any more, with its size, and
nothing of it removed unless that is asked for. What a stage recorded is never among it, so a second
`run` finds everything done, and `verify` finds everything as it was made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import RunDamaged, RunIncomplete
from tutelage.recipes.listing import size_of, state_of
from tutelage.recipes.predicting import STUDENTS
from tutelage.runs import RunFolder, lock, recorded, storing
from tutelage.runs.contents import leads_out, remove
from tutelage.runs.files import UNFINISHED_FILE

_UNFINISHED_FOLDER = re.compile(r"\.saving-\d+|\.taken")
"""Folders in which a student is being saved, or a stage taken over."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that a finished run no longer needs."""

    path: str
    """Relative to the run, with `/`."""
    size_bytes: int
    what: str
    """What it is, and when it would be made again."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What can go, or went."""

    run: Path
    leftovers: tuple[Leftover, ...]
    removed: bool

    @property
    def size_bytes(self) -> int:
        """Of all of it."""
        return sum(one.size_bytes for one in self.leftovers)


def clean_run(run: Path, *, really: bool = False) -> Cleaning:
    """Find what a finished run no longer needs, and remove it if that is asked for.

    Args:
        run: The run folder.
        really: Remove it; else it is only named.

    Raises:
        RunIncomplete: It is no run folder, or not finished: what lies there is gone on from.
        RunDamaged: A record or a file of it is not what it was.
        RunExists: Another process is at work there.
        StorageError: Something cannot be removed.
    """
    if not run.is_dir() or not recorded(run):
        raise RunIncomplete(
            f"{run} has no records of stages (.stages/*.json), so it is no run folder. Give one, "
            "for instance runs/recipe"
        )
    with lock(run, reading=not really), storing(run):
        state, problems = state_of(run)
        if state == "damaged":
            raise RunDamaged(
                f"{run}: {problems[0]}, so what it still needs is not known. Make it again first: "
                f"tutelage run {run}"
            )
        if state == "unfinished":
            raise RunIncomplete(
                f"{run} is not finished, and what lies there is gone on from; expected a run with "
                f"its report. Finish it first: tutelage run {run}"
            )
        found = tuple(_leftovers(run))
        if really:
            for one in found:
                remove(run / one.path)
    return Cleaning(run, found, removed=really)


def _leftovers(run: Path) -> Iterator[Leftover]:
    """Each once, the folders first."""
    kept = {path for stage in recorded(run) for path in stage.sums}
    folder = RunFolder(run)
    places = [
        (folder.readings_path, "what the teacher made of the texts, for students in training")
    ]
    for group in STUDENTS:
        places += [
            (student / "checkpoints", "training goes on from it after a kill")
            for student in sorted((run / group).glob("*"))
        ]
    places += [
        (
            folder.teacher_path / "embeddings",
            "the teacher's word vectors, made again for a student that starts from them",
        )
    ]
    places += [(path, "half written when a process was killed") for path in _unfinished(run)]
    taken: list[Path] = []
    for path, what in places:
        name = path.relative_to(run).as_posix()
        if not (path.exists() or path.is_symlink()) or leads_out(path, run):
            continue
        if any(one in path.parents for one in taken):
            continue
        if any(known == name or known.startswith(f"{name}/") for known in kept):
            continue
        taken.append(path)
        yield Leftover(name, size_of(path), what)


def _unfinished(run: Path) -> Iterator[Path]:
    """Temporary files and folders anywhere in the run."""
    for place, folders, files in os.walk(run):
        here = Path(place)
        yield from (here / name for name in sorted(files) if UNFINISHED_FILE.fullmatch(name))
        unfinished = [name for name in sorted(folders) if _UNFINISHED_FOLDER.fullmatch(name)]
        yield from (here / name for name in unfinished)
        folders[:] = [name for name in folders if name not in unfinished]
