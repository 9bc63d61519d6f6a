"""One recipe done by several processes: the leader decides, the others follow.

In: the flow of `recipes/run.py`, and how a job is prepared. Out: what the flow returned, in every
process. A launcher (`accelerate launch`, torchrun) starts the same command several times. Process
0 leads: it alone claims the run, decides about stages and writes records. Each call of the job that
all take part in (`Job.together`) it announces to the others, which prepared the same job and now do
the same with it, in silence; everything else it does alone while they wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from tutelage.errors import ProcessLost, TargetsCorrupt
from tutelage.processes import Crew, crew
from tutelage.tasks.task import Job
from tutelage.types import SILENT

Result = TypeVar("Result")

_EVERYWHERE = frozenset({"open_targets"})
"""Reading, which every process needs for what follows; whatever the job says."""
_SHARED = frozenset({"fit_teacher", "write_targets", "train", "evaluate"})
"""What may be work of all."""


@dataclass(frozen=True)
class _Word:
    """What the leader tells the others to do."""

    do: str
    """`prepare`, the name of a method, `end` or `fail`."""
    given: tuple[Any, ...] = ()
    """What the method is given, but for the progress; what the flow returned; what went wrong."""


def all_together(
    flow: Callable[[Callable[[Callable[[], Job]], Job]], Result], prepare: Callable[[], Job]
) -> Result:
    """Let the leader do a flow, and the others whatever it asks of them.

    Args:
        flow: All of it, done by the leader alone. It is given a function that takes how a job is
            prepared and gives a job whose methods are done by all.
        prepare: How a follower prepares the job.

    Returns:
        What the flow returned to the leader, in every process.

    Raises:
        ProcessLost: A process is gone; to followers also: the leader failed.
    """
    mine = crew()
    if mine.size == 1:
        return flow(lambda made: made())
    return _lead(mine, flow) if mine.leads else _follow(mine, prepare)


class _Led:
    """A job whose shared methods are announced; all else is the job's own."""

    def __init__(self, job: Job, mine: Crew) -> None:
        self._job, self._mine = job, mine
        self._called = frozenset(job.together & _SHARED) | _EVERYWHERE
        self.is_called = False
        """Whether all are at work on one method: then nobody listens for words."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._job, name)
        if name not in self._called:
            return found

        def announced(*given: Any) -> Any:
            shown = tuple(one for one in given if not hasattr(one, "bar"))  # but for the progress
            self._mine.told(_Word(name, shown))
            self.is_called = True
            done = found(*given)
            self._mine.wait()
            self.is_called = False
            return done

        return announced


def _lead(mine: Crew, flow: Callable[[Callable[[Callable[[], Job]], Job]], Result]) -> Result:
    led: list[_Led] = []
    is_preparing = False  # all are, so that nobody listens for words

    def share(made: Callable[[], Job]) -> Job:
        nonlocal is_preparing
        mine.told(_Word("prepare"))
        is_preparing = True
        led.append(_Led(made(), mine))
        mine.wait()
        is_preparing = False
        return cast("Job", led[0])

    try:
        result = flow(share)
    except ProcessLost:
        raise
    except BaseException as error:
        if not is_preparing and not any(one.is_called for one in led):
            mine.told(_Word("fail", (f"{type(error).__name__}: {error}",)))
        raise
    mine.told(_Word("end", (result,)))
    return result


def _follow(mine: Crew, prepare: Callable[[], Job]) -> Any:
    job: Any = None
    while True:
        word = mine.told()
        match word.do:
            case "end":
                return word.given[0]
            case "fail":
                raise ProcessLost(f"the leading process has failed: {word.given[0]}")
            case "prepare":
                job = prepare()
                mine.wait()
            case "open_targets":
                folder = word.given[0]
                # Whoever wrote them, from now on they are read from disk.
                if job.stores_targets and not job.targets_are_whole(folder):
                    raise TargetsCorrupt(
                        f"process {mine.rank} cannot read the targets in {folder.targets_path} "
                        "that the leading process wrote: every process needs the same files, for "
                        "instance on a disk that all machines share"
                    )
                job.open_targets(folder)
                mine.wait()
            case _:
                getattr(job, word.do)(*word.given, SILENT)
                mine.wait()
