"""How progress and results look on a terminal: bars on stderr while people watch, plain lines
otherwise.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
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

from tutelage.types import SILENT, Advance
from tutelage.types import Progress as ProgressProtocol


class TerminalProgress:
    """Bars with time left where stderr is a terminal; one line per finished step where it is
    not.
    """

    def __init__(self) -> None:
        """Write to stderr, so that stdout holds results only."""
        self._console = Console(stderr=True, highlight=False)

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str) -> Iterator[Advance]:
        """Show one step; see `tutelage.types.Progress`."""
        started = time.monotonic()
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description:<28}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn(unit, markup=False),
                TimeElapsedColumn(),
                TextColumn("left", style="dim"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self._console, transient=True) as display:
                task = display.add_task(title, total=total)
                yield lambda done: display.advance(task, done)
        else:
            yield lambda _: None
        self.say(
            f"{title:<28} {counted(total, unit)} in {format_seconds(time.monotonic() - started)}"
        )

    def say(self, message: str) -> None:
        """Show one line of talk."""
        self._console.print(message, markup=False, soft_wrap=True)


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


def write_result(text: str) -> None:
    """Put a result on stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
