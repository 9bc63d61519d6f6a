"""Batches of one teacher's work, shared among workers: other processes of a launch, or actors.

In: rows, and what a teacher does with a batch of them. Out: one complete store. Batches are planned
over all rows before anything is shared or asked: other batches would change the last bits of an
answer, so a batch is never cut, and targets do not depend on how many work, on who does what, or on
a kill. Each worker writes a store of its own under `.workers/` in that of all, and the leader takes
its parts over as they lie. What a worker that died has finished is taken over by the next call.
"""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tutelage.errors import DataError, TargetsError, TargetsMismatch
from tutelage.processes import Crew
from tutelage.runs import atomic_write_bytes, storing
from tutelage.runs.files import link_or_copy
from tutelage.targets import TargetWriter
from tutelage.targets.manifest import FILE, OUTPUT_FILE, read_manifest
from tutelage.targets.manifest import WORKERS_FOLDER as WORKERS
from tutelage.types import EXAMPLE_ID_BYTES, SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS_PER_PART = 30.0
"""What a worker that is killed loses at most, of a slow teacher."""

_HELD = "held"
_WAITING_BATCHES = 2


@dataclass(frozen=True)
class Work:
    """What a teacher makes of rows, batch by batch; rows have an `example_id`."""

    identity: Mapping[str, Any]
    """What `TargetWriter.open` is told of the store."""
    start: Callable[[Path, bool], Callable[[Sequence[Any]], Any]]
    """Given the folder of the store of all, and whether this process leads: what turns a batch into
    its targets."""
    plan: Callable[[Sequence[Any]], Iterable[Sequence[int]]]
    """Distinct rows, in the order of their content, as batches of places."""
    size: Callable[[Any], int]
    """How much of the bar a row is."""
    title: str
    """Of the bar."""
    unit: str
    """What its sizes count."""
    rows: str
    """What its rows are called."""
    look: Callable[[Sequence[Any]], None] = lambda _missing: None
    """Given the rows that are missing, before any is asked about; by the leader only."""
    finished: Callable[[Sequence[bytes], Any], Any] = lambda _ids, values: values
    """Done with the targets of a batch while the next one is with the teacher."""


class Workers(Protocol):
    """Who works beside the process that writes the store."""

    def hand_out(self, batches: Sequence[Sequence[Any]], *, out: Path) -> Sequence[Sequence[Any]]:
        """Give others their part of batches of rows; what is given back is one's own."""
        ...

    def wait(self, advance: Callable[[int], None]) -> None:
        """Until the others have done theirs, and what they wrote is on disk; told how much."""
        ...


def write(
    work: Work,
    rows: Iterable[Any],
    *,
    out: Path,
    workers: Workers | None = None,
    progress: Progress = SILENT,
) -> None:
    """Write the targets of all rows that the store lacks, and mark it complete.

    Args:
        work: What is done with them.
        rows: In any order, repeated ones allowed.
        out: Folder of the store.
        workers: Who helps; None: nobody.
        progress: A bar, and talk.

    Raises:
        TargetsMismatch: `out` holds targets of another identity.
        ProcessLost: Another process is gone.
    """
    distinct = [row for _, row in sorted({row.example_id: row for row in rows}.items())]
    answer = work.start(out, True)
    with TargetWriter.open(out, **work.identity) as writer:
        held = _held_before(writer, out)
        taken = take_over(writer, out)
        missing = [distinct[at] for at in writer.missing([row.example_id for row in distinct])]
        if done := len(distinct) - len(missing):
            progress.say(f"Soft targets: {done:,} {work.rows} were done before")
        if taken:
            progress.say(f"Of these, workers of an earlier call had left {taken:,}")
        if missing:
            work.look(missing)
            _note(held, out)
        batches = _planned(
            work,
            [row for row in distinct if row.example_id not in held],
            {row.example_id for row in missing},
        )
        own = batches if workers is None else workers.hand_out(batches, out=out)
        total = sum(work.size(row) for batch in (own or batches) for row in batch)
        with progress.bar(work.title, total=total, unit=work.unit) as advance:
            _do(work, own, answer, writer, advance)
            if workers is not None:
                workers.wait(advance)
                take_over(writer, out)
        writer.finish()
        is_all = len(writer) == len(distinct)
    # What a call that was killed had noted is needed for as long as not all of its rows are here.
    if missing or is_all:
        with storing(out):
            shutil.rmtree(out / WORKERS, ignore_errors=True)


Handed = tuple[Work, Iterable[Any]]
"""A worker's work, and all rows that it may be asked about."""


def follow(handed: Callable[[], Handed], *, out: Path, mine: Crew) -> None:
    """Do this process's share of whatever the leader hands out, until it says that this was all.

    Args:
        handed: Gives the work and the rows, asked when there is something to do.
        out: Folder of the store.
        mine: This process and the others.

    Raises:
        DataError: The leader speaks of a row that this process has not.
        ProcessLost: Another process is gone.
    """
    known: dict[bytes, Any] = {}
    work: Work | None = None
    while (told := mine.told()) is not None:
        if own := mine.share(told):
            if work is None:
                work, rows = handed()
                known = {row.example_id: row for row in rows}
            batches = [rows_named(batch, known, who=f"process {mine.rank}") for batch in own]
            do_apart(work, batches, out=out, name=f"{mine.rank:03d}")
        mine.wait()


def rows_named(names: Sequence[bytes], known: Mapping[bytes, Any], *, who: str) -> list[Any]:
    """The rows of a batch by their content ids.

    Raises:
        DataError: One of them is not there.
    """
    try:
        return [known[name] for name in names]
    except KeyError as error:
        raise DataError(
            f"{who} has other data than the leading process: all need the same recipe and the same "
            "files under the same paths"
        ) from error


class OthersOfCrew:
    """The other processes of a launch, which `follow`; a context in which they listen."""

    def __init__(self, mine: Crew) -> None:
        self._mine = mine

    def hand_out(self, batches: Sequence[Sequence[Any]], *, out: Path) -> Sequence[Sequence[Any]]:
        """Tell all who does what."""
        del out  # they know it
        self._mine.told([[row.example_id for row in batch] for batch in batches])
        return self._mine.share(batches)

    def wait(self, advance: Callable[[int], None]) -> None:
        """Until all have done theirs; the bar is of this process's own."""
        del advance
        self._mine.wait()

    def __enter__(self) -> OthersOfCrew:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:  # else they notice that this process has ended
            self._mine.told(None)


def do_apart(
    work: Work,
    batches: Sequence[Sequence[Any]],
    *,
    out: Path,
    name: str,
    answer: Callable[[Sequence[Any]], Any] | None = None,
) -> None:
    """Do batches into a store of one's own, beside that of all.

    Args:
        work: What is done.
        batches: Of rows.
        out: Folder of the store of all.
        name: Of this worker; nobody else has it at the same time.
        answer: What turns a batch into its targets, where it is there already.
    """
    if answer is None:
        require_same(work, out)
        answer = work.start(out, False)
    folder = out / WORKERS / name
    if work.identity["kind"] == "hidden" and not (folder / OUTPUT_FILE).is_file():
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            link_or_copy(out / OUTPUT_FILE, folder / OUTPUT_FILE)
    with TargetWriter.open(folder, **work.identity, seconds_per_part=SECONDS_PER_PART) as writer:
        _do(work, batches, answer, writer, lambda _: None)


def require_same(work: Work, out: Path) -> None:
    """Refuse to work for a store that expects another teacher, before anything is asked.

    Raises:
        TargetsMismatch: This process has made another teacher of the recipe than the leader.
    """
    if read_manifest(out).teacher != work.identity["teacher"]:
        raise TargetsMismatch(
            "this process has another teacher than the leading one: files or machines differ, for "
            "instance in what dtype: auto comes to. Write dtype: float32 or bfloat16 into the "
            "section teacher"
        )


def take_over(writer: TargetWriter, out: Path) -> int:
    """Enter the parts that workers have finished into the store of all; what a kill left half
    written is removed.

    Returns:
        How many rows are new.
    """
    before = len(writer)
    for folder in sorted(path for path in (out / WORKERS).glob("*") if path.is_dir()):
        if (folder / FILE).is_file():
            try:
                writer.adopt(folder)
            except TargetsError as error:
                raise TargetsError(
                    f"{error}. If no worker is at work any more, remove {folder}: its rows are "
                    "then asked about again"
                ) from error
        with storing(folder):
            shutil.rmtree(folder)
    return len(writer) - before


def _planned(work: Work, rows: Sequence[Any], wanted: set[bytes]) -> list[list[Any]]:
    """All batches in which something is missing, each as it was planned for all rows."""
    planned = ([rows[place] for place in batch] for batch in work.plan(rows))
    return [batch for batch in planned if any(row.example_id in wanted for row in batch)]


def _held_before(writer: TargetWriter, out: Path) -> set[bytes]:
    """What the store held when it was last complete: no plan of now is about that.

    A call that goes on after a kill finds it written down, and makes the same plan.
    """
    note = out / WORKERS / _HELD
    if not note.is_file():
        return writer.known() if writer.is_complete else set()
    names = note.read_bytes()
    return {
        names[start : start + EXAMPLE_ID_BYTES] for start in range(0, len(names), EXAMPLE_ID_BYTES)
    }


def _note(held: set[bytes], out: Path) -> None:
    """Write that down, before anything is added."""
    note = out / WORKERS / _HELD
    if held and not note.is_file():
        atomic_write_bytes(note, b"".join(sorted(held)))


def _do(
    work: Work,
    batches: Sequence[Sequence[Any]],
    answer: Callable[[Sequence[Any]], Any],
    writer: TargetWriter,
    advance: Callable[[int], None],
) -> None:
    def add(ids: list[bytes], values: Any) -> None:
        writer.add(ids, work.finished(ids, values))

    with in_background(add) as put:
        for batch in batches:
            put([row.example_id for row in batch], answer(batch))
            advance(sum(work.size(row) for row in batch))


@contextmanager
def in_background(work: Any) -> Iterator[Any]:
    """Inside, calls of the value yielded are done by a thread, in order; leaving waits for all of
    them.

    An error in the thread is raised by the next call, or on leaving. On an error inside (or Ctrl-C)
    what has been handed over is still done.
    """
    waiting: queue.Queue[tuple[Any, ...] | None] = queue.Queue(maxsize=_WAITING_BATCHES)
    errors: list[BaseException] = []

    def do_all() -> None:
        while (arguments := waiting.get()) is not None:
            if not errors:  # after an error the rest is only taken, so that nobody waits for ever
                try:
                    work(*arguments)
                except BaseException as error:  # raised again where the caller sees it
                    errors.append(error)

    def put(*arguments: Any) -> None:
        if errors:
            raise errors[0]
        waiting.put(arguments)

    thread = threading.Thread(target=do_all, name="tutelage-writer", daemon=True)
    thread.start()
    try:
        yield put
    finally:
        waiting.put(None)
        thread.join()
    if errors:
        raise errors[0]
