"""One writer at a time, and a kill frees the lock."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys

import pytest

from tutelage.errors import RunExists, TutelageError
from tutelage.runs import lock

HOLD = """
import sys, time
from pathlib import Path
from tutelage.runs import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_refused_until_it_is_killed(tmp_path):
    folder = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(
            RunExists,
            match=rf"run is being written by process {holder.pid}; .* Wait until it has finished, "
            rf"stop it",
        ),
        lock(folder),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert (folder / ".lock").exists()
    with lock(folder):
        pass


def test_nothing_is_left_and_it_can_be_taken_again(tmp_path):
    for _ in range(2):
        with lock(tmp_path / "run"), pytest.raises(RunExists), lock(tmp_path / "run"):
            pass
        assert list((tmp_path / "run").iterdir()) == []


def test_an_exception_frees_it(tmp_path):
    with pytest.raises(KeyError), lock(tmp_path):
        raise KeyError
    with lock(tmp_path):
        pass


def test_a_lock_file_removed_before_it_was_locked_is_not_the_lock(tmp_path, monkeypatch):
    """Its owner may end between our opening and locking it: then the next comer must not find the
    folder free."""
    real, removed = fcntl.flock, []

    def late(file, operation) -> None:
        if not removed:
            removed.append(True)
            (tmp_path / ".lock").unlink()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with lock(tmp_path):
        assert removed
        assert (tmp_path / ".lock").exists()
        with pytest.raises(RunExists), lock(tmp_path):
            pass


def test_a_system_without_locks_is_told_what_is_supported(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(TutelageError, match="Use Linux, macOS, or WSL on Windows"), lock(tmp_path):
        pass
