"""Stages of a run: done once, known by the fingerprint of their inputs, reused between runs, never done twice.

In: a stage's name, the fingerprint of everything its result depends on, and the work. Out: whether it was done now,
done before in this run, or taken over from a run beside it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from tutelage.runs import RunFolder, find_stage
from tutelage.types import Progress

STAGE_VERSION = 1
"""Raised when a change of code changes what a stage makes of the same inputs: then older results are not reused."""

How = Literal["done", "kept", "reused"]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """What became of one stage in this call."""

    name: str
    how: How
    """`done` now, `kept` from an earlier call on this run, or `reused` from another run."""
    seconds: float
    """Wall time the work took when it was done."""


@dataclass
class Stages:
    """The stages of one run folder, in the order they were asked for."""

    folder: RunFolder
    root: Path
    """Where sibling runs lie, whose teacher and targets may be reused."""
    progress: Progress
    outcomes: list[StageOutcome] = field(default_factory=list)

    def do(
        self,
        name: str,
        fingerprint: str,
        *,
        work: Callable[[], Mapping[str, Any] | None],
        folder: Path | None = None,
        leaves: Path | None = None,
        is_whole: Callable[[], bool] = lambda: True,
    ) -> StageOutcome:
        """Do the work unless it has been done for the same inputs.

        Args:
            name: The stage, for instance `teacher` or `students/gru`.
            fingerprint: Of everything the result depends on.
            work: Does it; facts it returns are kept with the stage.
            folder: The folder the stage fills, if it may be taken over from a sibling run: its files are linked,
                so removing either run harms nothing.
            leaves: A file that the stage leaves; where somebody removed it since, the stage is done again.
            is_whole: Asked when the stage was done before: False does it again, because what it made was damaged since.

        Returns:
            What became of it.
        """
        stage = self.folder.stage(name)
        if stage.is_done(fingerprint) and (leaves is None or leaves.exists()) and is_whole():
            return self._record(name, "kept", stage.seconds)
        if folder is not None and not stage.is_done(fingerprint):
            sibling = find_stage(self.root, name, fingerprint)
            if sibling is not None and sibling.path.resolve() != self.folder.path.resolve():
                source = sibling.path / folder.relative_to(self.folder.path)
                link_tree(source, folder)
                done = sibling.stage(name)
                stage.mark_done(fingerprint, seconds=done.seconds, **done.facts)
                self.progress.say(f"{name}: reused from {sibling.path}")
                return self._record(name, "reused", done.seconds)
        stage.withdraw()  # killed during the work, the old record must not vouch for what the work left
        started = time.monotonic()
        facts = dict(work() or {})
        seconds = time.monotonic() - started
        stage.mark_done(fingerprint, seconds=seconds, **facts)
        return self._record(name, "done", seconds)

    def _record(self, name: str, how: How, seconds: float) -> StageOutcome:
        outcome = StageOutcome(name, how, seconds)
        self.outcomes.append(outcome)
        return outcome

    @property
    def nothing_done(self) -> bool:
        """True if every stage asked for had been done before."""
        return all(outcome.how == "kept" for outcome in self.outcomes)


class Deferred(Generic[Value]):
    """A value that is expensive to make (a loaded model), made when first asked for and then kept."""

    def __init__(self, make: Callable[[], Value]) -> None:
        """Keep the recipe for the value; nothing is made yet."""
        self._make = make
        self._made: list[Value] = []

    def get(self) -> Value:
        """The value, made now if it was not yet."""
        if not self._made:
            self._made.append(self._make())
        return self._made[0]


def link_tree(source: Path, target: Path) -> None:
    """Make `target` hold the files of `source`, by hard links where the file system can, else by copies.

    Files of a finished stage are only ever replaced as a whole, never written into, so a link is as good as a copy.
    The tree appears at once: it is made beside and renamed.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside, copy_function=_link)
    if target.exists():
        shutil.rmtree(target)
    beside.replace(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
