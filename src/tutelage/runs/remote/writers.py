"""Who writes a run at a URL: one process at a time, told by an object that only one can make.

The owner writes a sign of life into it every `BEAT_SECONDS`. Who finds an owner that has been
silent for `DEAD_SECONDS`, or that was a process of this very machine and is gone, takes its place;
an owner that was only asleep sees that before it pushes anything, and stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

from tutelage.errors import RunExists, StorageError, one_line
from tutelage.runs.remote.fetching import OURS
from tutelage.runs.remote.objects import Objects
from tutelage.types import Progress

LOCK = f"{OURS}lock.json"
BEAT_SECONDS = 20.0
DEAD_SECONDS = 180.0
"""Machines whose clocks differ by more than this take over from each other; network time keeps them
within a second."""

_living: set[str] = set()
"""Tokens of this very process that are in use."""


class Writer:
    """The one writer of a run at a URL, if this process is."""

    def __init__(self, objects: Objects) -> None:
        """Nobody is asked yet; see `claim`."""
        self._objects = objects
        self._token = secrets.token_hex(8)
        self._ended = Event()
        self._beating: Thread | None = None

    def claim(self, progress: Progress) -> None:
        """Become the writer, in the place of one that is dead if need be.

        Raises:
            RunExists: Somebody is at work there.
            StorageError: The store refuses, or cannot be reached.
        """
        _living.add(self._token)
        for _ in range(3):
            if self._objects.write(LOCK, self._record(), only_new=True):
                break
            if (other := self._owner()) is None:
                continue  # gone in between
            silent = time.time() - float(other.get("beat", 0.0))
            who = f"process {other.get('pid')} on {one_line(str(other.get('host')), most=80)}"
            if not _is_gone(other) and silent < DEAD_SECONDS:
                raise RunExists(
                    f"{self._objects.url} is being written by {who}, last heard of "
                    f"{max(silent, 0.0):.0f} seconds ago; expected a run that nobody else writes. "
                    f"Wait until it has finished, or give another URL. If that machine is dead, "
                    f"the same command goes on once it was silent for {DEAD_SECONDS:.0f} seconds"
                )
            progress.say(f"{self._objects.url}: going on for {who}, which is gone")
            self._objects.remove([LOCK])
        if not self.is_ours():
            raise RunExists(
                f"{self._objects.url}: another process became its writer just now. Wait until it "
                "has finished, or give another URL"
            )
        self._beating = Thread(target=self._beat, name="tutelage-remote-beat", daemon=True)
        self._beating.start()

    def is_ours(self) -> bool:
        """Whether this process still is the writer, as the store tells.

        Raises:
            StorageError: The store cannot be reached.
        """
        owner = self._owner()
        return owner is not None and owner.get("token") == self._token

    def release(self) -> None:
        """Let others write; where the store cannot be reached, they wait for the silence."""
        self._ended.set()
        if self._beating is not None:
            self._beating.join(timeout=5.0)
        try:
            with contextlib.suppress(StorageError):
                if self.is_ours():
                    self._objects.remove([LOCK])
        finally:  # not before: who finds the lock of one that is gone removes it
            _living.discard(self._token)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(StorageError):
                if not self.is_ours():
                    return
                self._objects.write(LOCK, self._record())

    def _owner(self) -> dict[str, Any] | None:
        content = self._objects.read(LOCK)
        if content is None:
            return None
        with contextlib.suppress(ValueError):
            owner = json.loads(content)
            if isinstance(owner, dict) and isinstance(owner.get("beat"), (int, float)):
                return owner
        return {"beat": 0.0}

    def _record(self) -> bytes:
        record = {"token": self._token, "beat": time.time(), "pid": os.getpid(), **_machine()}
        return json.dumps(record).encode()


def _machine() -> dict[str, str]:
    """Where numbers of processes mean something: a machine since it was started, or a container in
    it.
    """
    boot = space = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    return {"host": socket.gethostname(), "boot": boot, "space": space}


def _is_gone(owner: dict[str, Any]) -> bool:
    """Whether the owner was a process of this machine that has ended. Where that cannot be told:
    no.
    """
    here, pid = _machine(), owner.get("pid")
    if not here["boot"] or any(owner.get(key) != value for key, value in here.items()):
        return False
    if not isinstance(pid, int) or pid <= 0 or sys.platform == "win32":
        return False
    if pid == os.getpid():  # it could not say that it has ended
        return owner.get("token") not in _living
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
