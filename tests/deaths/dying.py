"""Ways to die: a command runs in a forked process, and something happens to it at a chosen moment.

Everything heavy is imported before the fork, so that a death costs the work and nothing else. A
moment is a time, or the n-th thing that Python asks of the file system in the job's folder: the
latter hits the narrow windows between a write and its rename.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = (
    "SIGKILL", "SIGTERM", "SIGINT", "memory", "allocation", "disk full", "read-only", "handles",
    "file size",
)  # fmt: skip
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "os.truncate"}
_REMOUNT, _READ_ONLY = 32, 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Death:
    """What happens, and when."""

    kind: str
    seconds: float | None = None
    """After the start; None: at an event, or from the start."""
    event: int | None = None
    """The n-th, from 1."""
    amount: int = 0
    """Bytes, or handles, that are still to be had."""

    def __str__(self) -> str:
        """For a report."""
        when = f"after {self.seconds:.3f} s" if self.seconds is not None else ""
        when = f"at event {self.event}" if self.event is not None else when
        return f"{self.kind} {when or f'with {self.amount:,} left'}"


@dataclass(frozen=True)
class End:
    """How a process ended."""

    code: int
    """Its exit code; minus the signal's number where one ended it."""
    said: str
    seconds: float
    events: int


class Volume:
    """A small disk of its own: a tmpfs, which can be filled up and made read-only. Without the
    right to mount, a folder, for which those two kinds are left out."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        self.mounted = self._mount(b"none", b"tmpfs", 0, b"size=512m")

    def _mount(self, source: bytes, kind: bytes, flags: int, options: bytes) -> bool:
        place = os.fsencode(self.place)
        return sys.platform == "linux" and not _LIBC.mount(source, place, kind, flags, options)

    def fill(self, left: int = 0) -> None:
        found = os.statvfs(self.place)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        self._mount(b"none", b"", _REMOUNT, b"size=%d" % (used + max(left, 4096)))

    def freeze(self) -> bool:
        return self._mount(b"none", b"", _REMOUNT | _READ_ONLY, b"")

    def restore(self) -> None:
        if self.mounted:
            self._mount(b"none", b"", _REMOUNT, b"size=512m")

    def close(self) -> None:
        if self.mounted:
            _LIBC.umount2(os.fsencode(self.place), 2)


def some_death(moments: random.Random, kind: str, whole: End, growth: int) -> Death:
    """A death of a kind at a random moment of a command that took as `whole` and wrote so much."""
    if kind in ("memory", "handles", "file size"):
        most = {"memory": 128 << 20, "handles": 16, "file size": 1 << 20}[kind]
        least = 1 if kind == "handles" else 1 << 12
        amount = least if kind == "handles" else int(least * (most / least) ** moments.random())
        return Death(kind, amount=moments.randrange(most) if kind == "handles" else amount)
    if kind == "disk full" and moments.random() < 0.5:
        return Death(kind, amount=moments.randrange(max(growth, 4096)))
    if kind in SIGNALS and moments.random() < 0.5:
        return Death(kind, seconds=moments.uniform(0.0, whole.seconds))
    return Death(kind, event=moments.randint(1, max(whole.events, 1)))


def run(
    words: Sequence[str], *, cwd: Path, volume: Volume, log: Path, death: Death | None = None
) -> End:
    """Run a command of the command line, let it die, and wait for its end."""
    started = time.monotonic()
    pid, pipe = start(words, cwd=cwd, volume=volume, log=log, death=death)
    if death is not None and death.seconds is not None:
        time.sleep(death.seconds)
        os.kill(pid, getattr(signal, death.kind))
    return wait(pid, pipe, log, started)


def start(
    words: Sequence[str], *, cwd: Path, volume: Volume, log: Path, death: Death | None
) -> tuple[int, int]:
    """The process, and a pipe on which it tells how many events there were."""
    log.unlink(missing_ok=True)  # what is read from it is of this process
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reading)
        _child(words, cwd, volume, log, death, writing)
    os.close(writing)
    return pid, reading


def wait(pid: int, pipe: int, log: Path, started: float) -> End:
    """How it ended; one that does not within two minutes is killed, and has hung."""
    told = b""
    code: int | None = None
    while code is None:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
        elif time.monotonic() - started > 120:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            code = -999
        else:
            time.sleep(0.003)
    with contextlib.suppress(OSError):
        told = os.read(pipe, 100)
    os.close(pipe)
    return End(code, _said(log), time.monotonic() - started, int(told or b"0"))


def _said(log: Path) -> str:
    return log.read_text("utf-8", "replace") if log.exists() else ""


def faults(end: End, death: Death | None) -> list[str]:
    """What no end may be like."""
    found = []
    if "Traceback" in end.said or "not an error that tutelage expected" in end.said:
        found.append("unexpected")
    ended_by_library = death is not None and death.kind == "memory" and end.code in (-6, -11, -5)
    signals = (-9, -15, -2) if death is not None and death.kind in SIGNALS else ()
    if end.code not in (0, 1, 2, 130, *signals) and not ended_by_library:
        found.append(f"ended with {end.code}")
    lines = [line for line in end.said.splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"[A-Za-z]+(Error|Exists|Memory|Disk)\b", line)]
    if end.code in (1, 2) and len(told) != 1:
        found.append(f"{len(told)} lines of error")
    return found


def _child(
    words: Sequence[str], cwd: Path, volume: Volume, log: Path, death: Death | None, pipe: int
) -> None:
    import torch

    from tutelage.cli.main import main

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # A fork makes torch's threads anew when they are first asked for, which several may not do at once.
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        os.chdir(cwd)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.close(out)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        count = _Events(cwd, volume, death)
        sys.addaudithook(count)
        _limit(death, volume)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            code = main(words)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        os.write(pipe, b"%d" % count.seen)
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class _Events:
    """Counts what is asked of the file system in a folder, and lets die at one of them."""

    def __init__(self, folder: Path, volume: Volume, death: Death | None) -> None:
        self.folder, self.volume, self.death, self.seen = str(folder), volume, death, 0

    def __call__(self, event: str, values: tuple[Any, ...]) -> None:
        if event == "open":
            flags = values[2] if isinstance(values[2], int) else 0
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            writes = event in EVENTS
        if not writes or not values or not self._is_inside(values[0]):
            return
        self.seen += 1
        death = self.death
        if death is None or self.seen != death.event:
            return
        match death.kind:
            case "allocation":
                raise MemoryError
            case "disk full":
                self.volume.fill()
            case "read-only":
                self.volume.freeze()
            case _:
                os.kill(os.getpid(), getattr(signal, death.kind))

    def _is_inside(self, path: object) -> bool:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False
        text = os.fsdecode(path)
        return text.startswith(self.folder) or not text.startswith("/")


def _limit(death: Death | None, volume: Volume) -> None:
    if death is None:
        return
    if death.kind == "memory":
        which, word = (
            (resource.RLIMIT_AS, "VmSize") if death.amount % 2 else (resource.RLIMIT_DATA, "VmData")
        )
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(word):
                held = int(line.split()[1]) << 10
                resource.setrlimit(which, (held + death.amount, -1))
    elif death.kind == "handles":
        held = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (held + death.amount, most))
    elif death.kind == "file size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (death.amount, -1))
    elif death.kind == "disk full" and death.event is None:
        volume.fill(death.amount)
