"""A bound on the time and memory of what somebody else wrote: a chat template, a configuration.

In: seconds of processor time and bytes. Out: what ran inside, or `OutOfLimits`. Time is that of
this process and is watched on the main thread alone, for only there a signal can end a loop; memory
is watched where the system tells how much there is (/proc). Elsewhere nothing is bounded.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
_AGAIN_SECONDS = 0.1


class OutOfLimits(Exception):
    """What ran took more time or memory than it may; the message says how much it may."""


class _Late(BaseException):
    """Raised inside by the signal; no `Exception`, so that nobody takes it for one of theirs."""


def within_limits(work: Callable[[], Result], *, seconds: float, memory_bytes: int) -> Result:
    """Do something within bounds.

    Not a `with`, for a signal may arrive while one is left, where nobody would catch what it
    raises.

    Args:
        work: What is done.
        seconds: Of processor time.
        memory_bytes: That may be taken beyond what is held.

    Returns:
        What it returns.

    Raises:
        OutOfLimits: It took more.

    Example:
        >>> within_limits(lambda: max(iter(int, 1)), seconds=0.05, memory_bytes=2**30)
        Traceback (most recent call last):
        tutelage.runs.limits.OutOfLimits: it did not end within 0.05 seconds
    """
    try:
        with _in_memory(memory_bytes):
            return _in_time(work, seconds)
    except _Late:
        raise OutOfLimits(f"it did not end within {seconds:g} seconds") from None
    except MemoryError:
        raise OutOfLimits(f"it asked for more than {memory_bytes / 2**20:,.0f} MB") from None


def _in_time(work: Callable[[], Result], seconds: float) -> Result:
    timer = getattr(signal, "setitimer", None)
    if timer is None or threading.current_thread() is not threading.main_thread():
        return work()
    watching = True

    def late(_signal: int, _frame: Any) -> None:
        if watching:
            raise _Late

    before = signal.signal(signal.SIGVTALRM, late)
    try:
        # Again and again: where it is raised in a callback of the collector, it is lost.
        timer(signal.ITIMER_VIRTUAL, seconds, _AGAIN_SECONDS)
        return work()
    finally:
        watching = False
        timer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def _in_memory(memory_bytes: int) -> Iterator[None]:
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + memory_bytes
    if soft != resource.RLIM_INFINITY and soft <= most:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
