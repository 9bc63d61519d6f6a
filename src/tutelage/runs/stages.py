"""Stages of a run: done once, known by the fingerprint of their inputs, reused between runs, never
done twice.

In: a stage's name, the fingerprint of everything its result depends on, and the work. Out: whether
it was done now, done before in this run, or taken over from a run beside it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from tutelage.runs.contents import UNFINISHED, place_in, remove
from tutelage.runs.endings import Finished
from tutelage.runs.folder import RunFolder, find_stages
from tutelage.runs.locks import lock
from tutelage.runs.records import Stage
from tutelage.types import Progress

STAGE_VERSION = 3
"""Raised when a change of code changes what a stage makes of the same inputs: then older results
are not reused."""

LINKED_SUFFIXES = (".safetensors", ".parquet")
"""Files that are only ever replaced as a whole, so a hard link is as good as a copy. All others are
copied: some of them, such as metrics.jsonl and TensorBoard events, are appended to."""

_OWN = "export"
"""A folder in that of a stage which is not taken over and outlives it: other stages fill it, and
people put certificates there."""

How = Literal["done", "kept", "reused"]
Value_co = TypeVar("Value_co", covariant=True)


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
    """Where sibling runs lie, whose stages may be reused."""
    progress: Progress
    outcomes: list[StageOutcome] = field(default_factory=list)
    _asked: dict[str, tuple[str, list[Path]]] = field(default_factory=dict)

    def do(
        self,
        name: str,
        fingerprint: str,
        *,
        work: Callable[[], Mapping[str, Any] | None],
        folder: Path | None = None,
        leaves: Path | Sequence[Path] = (),
        copied: Sequence[Path] = (),
        is_whole: Callable[[], bool] | None = None,
        refuse_others: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> StageOutcome:
        """Do the work unless it has been done for the same inputs.

        What the stage leaves is recorded with size and SHA-256. Where a file is not what it was,
        this is said, the file is put back from the record or removed, and the stage done again.

        Args:
            name: The stage, for instance `teacher` or `students/gru`.
            fingerprint: Of everything the result depends on.
            work: Does it; facts it returns are kept with the stage.
            folder: The folder the stage fills, if it may be taken over from a sibling run, whose
                files are then linked or copied, so that neither run can harm the other. A sibling
                that another process is writing, or that has lost the files, gives nothing.
            leaves: Files that the stage leaves; where somebody removed one since, the stage is done
                again.
            copied: Small texts among what it leaves, kept in the record whole.
            is_whole: For a folder that knows the sums of its own files, of which `copied` alone are
                recorded: asked when the stage was done before or has been taken over. False does it
                again, because what it made was damaged since.
            refuse_others: Called before anything that was damaged is put back or removed, with the
                copies of the record: raises where what lies there is whole, and somebody else's.

        Returns:
            What became of it.
        """
        stage = self.folder.stage(name)
        files = [leaves] if isinstance(leaves, Path) else list(leaves)
        files += [] if folder is None else [folder]
        self._asked[name] = fingerprint, files
        left = files if is_whole is None else ()
        stage.require_known()
        if stage.is_done(fingerprint):
            self._mend(stage, refuse_others)
            kept = stage.is_done(fingerprint) and all(path.exists() for path in files)
            if kept and (is_whole is None or is_whole()):
                if stage.state == "unsummed":
                    stage.add_sums(left=left, copied=copied)
                return self._record(name, "kept", stage.seconds)
        if folder is not None and self._take_over(name, fingerprint, folder, files, is_whole):
            return self._record(name, "reused", stage.seconds)
        # Killed during the work, the old record must not vouch for what the work left.
        stage.withdraw()
        if folder is not None and folder.exists() and not folder.is_dir():
            remove(folder)
        started = time.monotonic()
        facts = dict(work() or {})
        seconds = time.monotonic() - started
        stage.mark_done(fingerprint, seconds=seconds, left=left, copied=copied, **facts)
        return self._record(name, "done", seconds)

    def _mend(self, stage: Stage, refuse_others: Callable[[Mapping[str, str]], None]) -> None:
        """Say what of a finished stage was damaged since; put it back, or remove it and with it the
        record, so that the stage is done again.
        """
        damages = stage.damages()
        if not damages:
            return
        refuse_others(stage.copies)
        mended = stage.restore(damages)
        for damage in mended:
            self.progress.say(f"{damage}: put back from the record of {stage.name}")
        for damage in damages:
            if damage.matters and damage not in mended:
                self.progress.say(f"{damage}: {stage.name} is done again")
                remove(place_in(self.folder.path, damage.path))
                stage.withdraw()

    def _take_over(
        self,
        name: str,
        fingerprint: str,
        folder: Path,
        files: Sequence[Path],
        is_whole: Callable[[], bool] | None,
    ) -> bool:
        """Fill the stage's folder from a sibling in which the stage is done and whole; False if
        there is none.
        """
        stage = self.folder.stage(name)
        for sibling in find_stages(self.root, name, fingerprint):
            if sibling.path.resolve() == self.folder.path.resolve():
                continue
            done = sibling.stage(name)
            theirs = [sibling.path / path.relative_to(self.folder.path) for path in files]
            with ExitStack() as held:
                try:
                    held.enter_context(lock(sibling.path))
                except OSError as error:
                    # RunExists among them: what cannot be locked may change while it is read.
                    self.progress.say(
                        f"{name}: not reused from {sibling.path}, which cannot be locked ({error})"
                    )
                    continue
                if not done.is_done(fingerprint) or not all(path.exists() for path in theirs):
                    continue
                if damaged := [damage for damage in done.damages() if damage.matters]:
                    self.progress.say(f"{name}: not reused from {sibling.path}: {damaged[0]}")
                    continue
                # Killed in between, the old record must not vouch for the new files.
                stage.withdraw()
                source = sibling.path / folder.relative_to(self.folder.path)
                link_tree(source, folder, staging=self.folder.path / ".stages" / ".taken")
                record = done.record()
            if is_whole is None or is_whole():
                stage.mark_as(record)
                self.progress.say(f"{name}: reused from {sibling.path}")
                return True
        return False

    def _record(self, name: str, how: How, seconds: float) -> StageOutcome:
        outcome = StageOutcome(name, how, seconds)
        self.outcomes.append(outcome)
        return outcome

    def finished(self, inputs: str, facts: Mapping[str, Any]) -> Finished:
        """How this call ended, for the next one: every stage asked for, and what they left.

        Args:
            inputs: The fingerprint of the recipe and of every file that it names.
            facts: JSON values that the next call shows as this one did.
        """
        files = {path for _, left in self._asked.values() for path in left}
        files |= {self.folder.provenance_path} if self.folder.provenance_path.exists() else set()
        files |= {weights for path in files for weights in path.glob("*.safetensors")}
        return Finished(
            inputs=inputs,
            stages={name: known for name, (known, _) in self._asked.items()},
            files=tuple(sorted(str(path.relative_to(self.folder.path)) for path in files)),
            facts=facts,
        )

    @property
    def nothing_done(self) -> bool:
        """True if every stage asked for had been done before."""
        return all(outcome.how == "kept" for outcome in self.outcomes)


def all_done(folder: RunFolder, fingerprints: Mapping[str, str]) -> bool:
    """Whether every one of these stages of a run has been done, for inputs of the fingerprint given
    beside it.
    """
    return all(
        folder.stage(name).is_done(fingerprint) for name, fingerprint in fingerprints.items()
    )


class Deferred(Generic[Value_co]):
    """A value that is expensive to make (a loaded model), made when first asked for and then kept
    until it is released.
    """

    def __init__(self, make: Callable[[], Value_co]) -> None:
        """Keep the recipe for the value; nothing is made yet."""
        self._make = make
        self._made: list[Value_co] = []

    def get(self) -> Value_co:
        """The value, made now if it was not yet."""
        if not self._made:
            self._made.append(self._make())
        return self._made[0]

    def release(self) -> None:
        """Forget the value, so that its memory is free once nobody else has it; asked for again, it
        is made again.
        """
        self._made.clear()


def link_tree(source: Path, target: Path, *, staging: Path) -> None:
    """Make `target` hold the finished files of `source`: big ones as hard links where the file
    system can.

    Args:
        source: A finished stage's folder.
        target: Replaced if it is there, but for its exports. The tree appears at once: it is made
            in `staging` and renamed.
        staging: A free name on the same file system; what a kill left there is removed.
    """
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(
        source,
        staging,
        copy_function=_link_or_copy,
        ignore=shutil.ignore_patterns(*UNFINISHED, _OWN),
    )
    if (target / _OWN).is_dir():
        shutil.copytree(target / _OWN, staging / _OWN, symlinks=True, copy_function=_link_or_copy)
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging.replace(target)


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(LINKED_SUFFIXES):
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copy2(source, target)
