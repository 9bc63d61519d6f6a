"""A bound on the time and memory of what somebody else wrote: a chat template, a configuration.

In: seconds of processor time and bytes. Out: what ran inside, or `OutOfLimits`. Time is that of
this process and is watched on the main thread alone, for only there a signal can end a loop; memory
is watched where the system tells how much there is (/proc). Elsewhere nothing is bounded.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class OutOfLimits(Exception):
    """What ran took more time or memory than it may; the message says how much it may."""


class _Late(BaseException):
    """Raised inside by the signal; no `Exception`, so that nobody takes it for one of theirs."""


@contextlib.contextmanager
def limits(*, seconds: float, memory_bytes: int) -> Iterator[None]:
    """Bound what runs inside.

    Args:
        seconds: Of processor time.
        memory_bytes: That may be taken beyond what is held.

    Raises:
        OutOfLimits: It took more.

    Example:
        >>> with limits(seconds=0.05, memory_bytes=2**30):
        ...     while True:
        ...         pass
        Traceback (most recent call last):
        tutelage.runs.limits.OutOfLimits: it did not end within 0.05 seconds
    """
    try:
        with _in_time(seconds), _in_memory(memory_bytes):
            yield
    except _Late:
        raise OutOfLimits(f"it did not end within {seconds:g} seconds") from None
    except MemoryError:
        raise OutOfLimits(f"it asked for more than {memory_bytes / 2**20:,.0f} MB") from None


@contextlib.contextmanager
def _in_time(seconds: float) -> Iterator[None]:
    timer = getattr(signal, "setitimer", None)
    if timer is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(_signal: int, _frame: Any) -> None:
        raise _Late

    before = signal.signal(signal.SIGVTALRM, late)
    timer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        timer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def _in_memory(memory_bytes: int) -> Iterator[None]:
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
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
