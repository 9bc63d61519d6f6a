"""How progress, results and errors look on a terminal: bars on stderr while people watch, plain
lines otherwise; an exception becomes words on stderr and an exit code.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tutelage.cli.streams import abandon_stdout, write_json
from tutelage.errors import (
    BudgetSpent,
    DataError,
    ModelError,
    NotEnoughDisk,
    NotEnoughMemory,
    Problem,
    RecipeError,
    RunDamaged,
    RunExists,
    RunIncomplete,
    StorageError,
    TutelageError,
    one_line,
)
from tutelage.runs.storage import storage_error
from tutelage.types import SILENT, Advance
from tutelage.types import Progress as ProgressProtocol


class TerminalProgress:
    """Bars with time left where stderr is a terminal; one line per finished step where it is
    not.
    """

    def __init__(self) -> None:
        """Write to stderr, so that stdout holds results only."""
        self._console = Console(stderr=True, highlight=False)
        self._note: Callable[[str], None] = lambda _: None

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str) -> Iterator[Advance]:
        """Show one step; see `tutelage.types.Progress`."""
        started, notes = time.monotonic(), [""]
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description:<28}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn(unit, markup=False),
                TimeElapsedColumn(),
                TextColumn("left", style="dim"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False, style="dim"),
            )
            with Progress(*columns, console=self._console, transient=True) as display:
                task = display.add_task(title, total=total, note="")

                def show(text: str) -> None:
                    notes[0] = text
                    display.update(task, note=text)

                self._note = show
                yield lambda done: display.advance(task, done)
        else:
            self._note = lambda text: notes.__setitem__(0, text)
            yield lambda _: None
        said = f"; {notes[0]}" if notes[0] else ""
        seconds = format_seconds(time.monotonic() - started)
        self.say(f"{title:<28} {counted(total, unit)} in {seconds}{said}")

    def note(self, text: str) -> None:
        """Show a few words beside the bar; see `tutelage.types.Notes`."""
        self._note(one_line(text))

    def say(self, message: str) -> None:
        """Show a line or two of talk; a stderr that takes none, such as a full disk, stops
        nothing.
        """
        shown = "\n".join(map(one_line, message.split("\n")))
        with _despite_full_disks():
            self._console.print(shown, markup=False, soft_wrap=True)


def progress_for(*, quiet: bool) -> ProgressProtocol:
    """The display a command should use."""
    return SILENT if quiet else TerminalProgress()


def counted(number: int, unit: str) -> str:
    """A number of things: `1 text`, `1,200 texts`; the unit is given in the plural."""
    return f"{number:,} {unit.removesuffix('s') if number == 1 else unit}"


def format_seconds(seconds: float) -> str:
    """A duration as a person would say it: `0.4 s`, `12 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


WRONG_INPUT = (
    RecipeError,
    DataError,
    ModelError,
    RunExists,
    RunDamaged,
    RunIncomplete,
    NotEnoughDisk,
    NotEnoughMemory,
)
"""Errors that the person can mend by changing what they gave."""


_NO_MEMORY = re.compile(
    r"(can't|cannot|failed to|unable to) (allocate|map)\b|out of memory|bad_alloc|bad allocation|"
    r"can't start new thread|os error 12\b|invalid thread pool|could not create a primitive",
    re.IGNORECASE,
)


def explain(error: BaseException, *, command: str, as_json: bool) -> int:
    """Say what went wrong and what to do, and give the exit code.

    Args:
        error: What was raised. Errors that are not ours are shown with the way to see more.
        command: The word that failed, repeated in the advice.
        as_json: Also print `{"error": ..., "problems": [...]}` on stdout.

    Returns:
        2 for wrong input, 130 for Ctrl-C, 0 for a budget that is spent, 1 for anything else.
    """
    if _is_interruption(error):
        _say(
            "\nStopped. What is done is kept: run the same command again to go on (tutelage "
            f"{command} ...)."
        )
        return 130
    if isinstance(error, BrokenPipeError):
        abandon_stdout()
        return 1
    # Of what our own doors did not pass, such as a module that could not be opened any more.
    full = _memory_is_full(error)
    error = storage_error(error) or full or error
    if as_json:
        problems = (
            [vars_of(problem) for problem in error.problems]
            if isinstance(error, RecipeError)
            else []
        )
        said = str(error) if isinstance(error, TutelageError) else one_line(str(error))
        record = {"error": type(error).__name__, "message": said, "problems": problems}
        write_json(record)
    if isinstance(error, RecipeError):
        count = len(error.problems)
        for line in error.lines():
            _say(f"error: {line}")
        if count > 1:
            _say(f"{count} problems. Nothing was started.")
        return 2
    if isinstance(error, BudgetSpent):
        _say(str(error))
        return 0
    if isinstance(error, TutelageError):
        _say(f"{type(error).__name__}: {error}")
        wrong_place = isinstance(error, StorageError) and error.is_wrong_place
        return 2 if wrong_place or (isinstance(error, WRONG_INPUT) and full is None) else 1
    _say(f"{type(error).__name__}: {one_line(str(error))}")
    _say(
        "This is not an error that tutelage expected. Run again with --traceback to see where it "
        "came from."
    )
    return 1


def _is_interruption(error: BaseException) -> bool:
    """Whether it is Ctrl-C, or what a library raised while it was tidied up after one."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, (KeyboardInterrupt, TutelageError)):
        found = found.__context__
    return isinstance(found, KeyboardInterrupt)


def _memory_is_full(error: BaseException) -> NotEnoughMemory | None:
    """What to say where the system gave no more memory, whoever asked for it: libraries that are
    not written in Python say so in their text only.
    """
    # A model that could not be read for want of memory is as good as it was.
    reason = error.__cause__ if isinstance(error, ModelError) else error
    if reason is None or isinstance(reason, TutelageError):
        return None
    if not isinstance(reason, MemoryError) and not _NO_MEMORY.search(str(reason)[:10_000]):
        return None
    return NotEnoughMemory(
        "no more memory could be had. Close other programs, raise the limit (ulimit -v unlimited), "
        "or lower batch sizes, and give the same command again: nothing that was whole is lost"
    )


def hush_threads() -> None:
    """Have no traceback written of a library's thread that finds the disk or memory full: what it
    could not do comes back to whoever waits for it, and is told there.
    """
    if not isinstance(threading.excepthook, _Hushed):
        threading.excepthook = _Hushed(threading.excepthook)


class _Hushed:
    """What is done with an error that a thread did not expect: as before, but for those two."""

    def __init__(self, told: Callable[[threading.ExceptHookArgs], object]) -> None:
        self._told = told

    def __call__(self, given: threading.ExceptHookArgs) -> None:
        error = given.exc_value
        if error is None or (storage_error(error) is None and _memory_is_full(error) is None):
            self._told(given)


def vars_of(problem: Problem) -> dict[str, str]:
    """A problem as JSON."""
    return {"where": problem.where, "message": problem.message, "severity": problem.severity}


def _say(message: str) -> None:
    with _despite_full_disks():
        print(message, file=sys.stderr)  # noqa: T201


@contextmanager
def _despite_full_disks() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        pass
