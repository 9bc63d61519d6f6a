"""A run at a URL: a folder here in which the work is done, and a thread that brings it there.

In: the URL. Out: a local folder that holds what is committed there; what is written into it is
pushed while the work goes on. Nothing that writes a run knows of this: the folder is looked through
every few seconds, and what is new is pushed in an order that holds whatever happens in between.
First goes away what vouches for something (records of stages, manifests) that is no more; then
come data, then what names them: manifests and states of checkpoints, then records of stages, then
how a call ended; last goes away what nothing names any more. A machine that dies leaves a run from
which another goes on, as after a kill here: what was pushed half is found out by its checksums.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from tutelage.errors import RecipeError, RunExists, StorageError, TutelageError
from tutelage.runs.files import UNFINISHED_FILE, atomic_write_json
from tutelage.runs.locks import LOCK_FILE
from tutelage.runs.reading import read_json
from tutelage.runs.records import FOLDER
from tutelage.runs.remote.fetching import OURS, bring_files, bring_folder, note_of, place_here
from tutelage.runs.remote.objects import Objects
from tutelage.runs.remote.writers import Writer
from tutelage.types import Progress

PAUSE_SECONDS = 2.0
"""Between two looks at the folder; longer where looking takes long."""
LAST_SECONDS = 20.0
"""For the last push of a call that ends with an error or Ctrl-C."""

_HOLDER = f"{OURS}holder.json"
"""Names the local folder from which everything there was pushed."""
_COMMITS = ("manifest.json", "state.json")
_LOOKS_PER_PAUSE = 20
"""A look may take one part of so many of the time."""

State = tuple[int, int, int]


@contextmanager
def mirrored(place: Path, progress: Progress) -> Iterator[Path]:
    """Work on a run at a URL in a folder here.

    Args:
        place: The URL of the run.
        progress: Told what is brought and pushed.

    Yields:
        The folder. It holds the run as it is there; where the last writer was this machine, it
        holds also what could not be pushed.

    Raises:
        RunExists: Somebody else writes the run, or has taken it over meanwhile.
        StorageError: The store refuses or cannot be reached, at the beginning or at the end; work
            that is not pushed lies here, and the same command goes on with it.
        MissingExtra: The package for the protocol is not installed.
    """
    objects = Objects(place)
    here = place_here("runs", place)
    writer = Writer(objects)
    mirror = _Mirror(objects, here, writer)
    thread = Thread(target=mirror.work, name="tutelage-remote-push", daemon=True)
    writer.claim(progress)
    try:
        mirror.bring(progress)
        thread.start()
    except BaseException:
        mirror.given_up.set()
        writer.release()
        raise
    try:
        try:
            yield here
        except BaseException as error:
            _told_by_url(error, here, objects.url)
            mirror.ending.set()
            thread.join(timeout=LAST_SECONDS)
            if thread.is_alive() or mirror.trouble is not None:
                progress.say(_unpushed(objects.url, here, mirror.trouble))
            raise
        mirror.ending.set()
        while thread.is_alive():
            thread.join(timeout=0.2)  # Ctrl-C comes through
        if isinstance(mirror.trouble, RunExists):
            raise mirror.trouble
        if mirror.trouble is not None:
            raise StorageError(
                _unpushed(objects.url, here, mirror.trouble),
                is_wrong_place=getattr(mirror.trouble, "is_wrong_place", False),
            ) from mirror.trouble
        if mirror.pushed_files:
            progress.say(
                f"{objects.url}: {mirror.pushed_files:,} files, {mirror.pushed_bytes:,} bytes "
                "pushed"
            )
    finally:
        mirror.given_up.set()


def _unpushed(url: str, here: Path, trouble: BaseException | None) -> str:
    said = "" if trouble is None else f": {trouble}"
    return (
        f"{url} does not hold all that was done{said}. Nothing is lost: it lies in {here}, and the "
        "same command on this machine pushes it and goes on"
    )


def _told_by_url(error: BaseException, here: Path, url: str) -> None:
    """Have a message of ours name the URL where it names the folder that stands for it."""
    if isinstance(error, TutelageError) and not isinstance(error, RecipeError):
        error.args = tuple(
            one.replace(str(here), url) if isinstance(one, str) else one for one in error.args
        )


class _Mirror:
    """The folder here, and what is known of the other side; `work` is done by a thread."""

    def __init__(self, objects: Objects, here: Path, writer: Writer) -> None:
        self.ending = Event()
        """What is new is pushed once more, then the thread ends."""
        self.given_up = Event()
        """Nobody waits for the thread: what is on its way is the last."""
        self.trouble: TutelageError | None = None
        """Why the last push failed; None where all is there."""
        self.pushed_files = self.pushed_bytes = 0
        self._objects, self._here, self._writer = objects, here, writer
        self._note = note_of(here).with_suffix(".pushed.json")
        self._links = here.with_name(f".{here.name[:100]}.pushing")
        self._look_seconds = 0.0
        self._there: dict[str, State] = {}
        """What was pushed or brought, by name, as it was on this disk."""

    def bring(self, progress: Progress) -> None:
        """Make both sides the same: as it is there, unless all that is there came from here."""
        shutil.rmtree(self._links, ignore_errors=True)
        noted = self._noted()
        holder = self._objects.read(_HOLDER)
        listed = {name: seen for name, seen in self._objects.list().items() if _counts(name)}
        mine = noted.get("holder")
        if isinstance(mine, str) and holder is not None and holder == mine.encode():
            known = noted.get("files", {})
            self._there = {
                name: tuple(known[name]) if name in known else (-1, -1, -1) for name in listed
            }
            # Somebody tidied the cache, or a removal was not pushed any more: what vouches for
            # such a file compares its checksum.
            states = self._states()
            lost = {
                name: seen
                for name, seen in listed.items()
                if name not in states and not (self._here / name).is_dir()
            }
            bring_files(self._objects, lost, self._here)
            states = self._states()
            self._there |= {name: states[name] for name in lost}
            return
        brought = bring_folder(self._objects, listed, self._here)
        if listed:
            progress.say(f"{self._objects.url}: {len(listed):,} files, {brought:,} bytes brought")
        states = self._states()
        self._there = {name: states[name] for name in listed if name in states}
        mine = secrets.token_hex(8)
        self._save(mine)
        self._objects.write(_HOLDER, mine.encode())

    def work(self) -> None:
        """Push what is new until the end is asked for, and then once more; then let others write,
        and not before: who has given up waiting does not know what is still on its way.
        """
        try:
            self._work()
        finally:
            self._writer.release()

    def _work(self) -> None:
        pause = PAUSE_SECONDS
        self._objects.patience_seconds /= 4  # the next look tries again
        while True:
            is_last = self.ending.wait(pause)
            if self.given_up.is_set():
                return
            if is_last:
                self._objects.patience_seconds *= 4
            started = time.monotonic()
            try:
                self._push()
                self.trouble = None
            except TutelageError as error:
                self.trouble = error
            except Exception as error:
                self.trouble = StorageError(f"{self._objects.url}: {type(error).__name__}: {error}")
            if is_last or isinstance(self.trouble, RunExists):
                return
            pause = max(PAUSE_SECONDS, _LOOKS_PER_PAUSE * self._look_seconds)
            if self.trouble is not None:
                pause = max(pause, time.monotonic() - started)

    def _push(self) -> None:
        started = time.monotonic()
        commits = {name: one for name, one in self._states().items() if _rank(name)}
        staged = self._staged(commits)
        # Looked at after what names them, so that nothing is named that is not among them.
        present = self._states()
        staged |= self._staged({name: one for name, one in present.items() if not _rank(name)})
        self._look_seconds = time.monotonic() - started
        gone = [name for name in self._there if name not in present]
        try:
            if not staged and not gone:
                return
            if not self._writer.is_ours():
                raise RunExists(
                    f"{self._objects.url} was taken over by another process, for nothing was heard "
                    "of this one; nothing more is pushed from here. To go on here once that one "
                    "has finished, give the same command again"
                )
            self._remove([name for name in gone if _rank(name)])
            for rank in sorted({_rank(name) for name in staged}):
                if self.given_up.is_set():
                    break
                part = {name: one for name, one in staged.items() if _rank(name) == rank}
                self._objects.put({name: path for name, (path, _) in part.items()})
                for name, (_, state) in part.items():
                    self._there[name] = state
                    self.pushed_files += 1
                    self.pushed_bytes += state[0]
            else:
                self._remove([name for name in gone if not _rank(name)])
            self._save(self._noted().get("holder"))
        finally:
            shutil.rmtree(self._links, ignore_errors=True)

    def _remove(self, names: list[str]) -> None:
        self._objects.remove(names)
        for name in names:
            del self._there[name]

    def _staged(self, states: Mapping[str, State]) -> dict[str, tuple[Path, State]]:
        """Second names for the files that are new, so that they stay while they are pushed."""
        staged: dict[str, tuple[Path, State]] = {}
        for name, state in states.items():
            if self._there.get(name) == state:
                continue
            path, link = self._here / name, self._links / name
            with suppress(FileNotFoundError):  # it went meanwhile
                link.parent.mkdir(parents=True, exist_ok=True)
                try:
                    link.unlink(missing_ok=True)
                    os.link(path, link)
                except FileNotFoundError:
                    continue
                except OSError:  # a file system without links
                    shutil.copyfile(path, link)
                staged[name] = link, state
        return staged

    def _states(self) -> dict[str, State]:
        """Every file that counts, with its size, time and number on this disk."""
        found: dict[str, State] = {}
        folders = [self._here]
        while folders:
            folder = folders.pop()
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as inside:
                for one in inside:
                    if _is_passing(one.name) and one.name != FOLDER:
                        continue
                    if one.is_dir(follow_symlinks=False):
                        folders.append(Path(one.path))
                    elif one.is_file():
                        with suppress(FileNotFoundError):
                            stat = one.stat()
                            name = Path(one.path).relative_to(self._here).as_posix()
                            found[name] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        return dict(sorted(found.items()))

    def _noted(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            noted = read_json(self._note)
            if isinstance(noted, dict) and self._here.is_dir():
                return noted
        return {}

    def _save(self, holder: Any) -> None:
        atomic_write_json(self._note, {"holder": holder, "files": self._there})


def _is_passing(name: str) -> bool:
    """Whether a file or folder is work in progress, as everything hidden in a run is."""
    return name.startswith(".") or bool(UNFINISHED_FILE.fullmatch(name)) or name == LOCK_FILE


def _counts(name: str) -> bool:
    """Whether an object is one that a run may have pushed: nothing hidden. `..` counts, and is
    refused where it is brought.
    """
    return not any(_is_passing(part) and part not in (FOLDER, "..") for part in name.split("/"))


def _rank(name: str) -> int:
    """When a file is pushed: 0 data, 1 what names data, 2 records of stages, 3 how calls ended."""
    if name.startswith(f"{FOLDER}/finished/"):
        return 3
    if name.startswith(f"{FOLDER}/"):
        return 2
    return int(name.rpartition("/")[2] in _COMMITS)
