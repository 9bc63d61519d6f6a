"""One writer at a time, and a kill frees the lock."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from tutelage.errors import RunExists, StorageError, TutelageError
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


@pytest.mark.parametrize("kind", ["folder", "link", "dangling", "hard link", "pipe"])
def test_what_is_no_lock_file_is_refused_and_left_alone(kind, tmp_path):
    file, precious = tmp_path / "run" / ".lock", tmp_path / "precious"
    file.parent.mkdir()
    precious.write_text("precious")
    match kind:
        case "folder":
            file.mkdir()
        case "link":
            file.symlink_to(precious)
        case "dangling":
            file.symlink_to(tmp_path / "gone")
        case "hard link":
            file.hardlink_to(precious)
        case "pipe":
            os.mkfifo(file)
    with (
        pytest.raises(StorageError, match=r"\.lock is a folder, a link or a device; .* Remove it"),
        lock(file.parent),
    ):
        pass
    assert precious.read_text("utf-8") == "precious"
    assert not (tmp_path / "gone").exists()


def test_garbage_in_the_lock_file_is_no_process(tmp_path):
    (tmp_path / ".lock").write_bytes(b"\xff\x00garbage" * 1000)
    with lock(tmp_path):
        (tmp_path / ".lock").write_bytes(b"\xff\x00garbage" * 1000)
        with pytest.raises(RunExists, match="is being written by process unknown;"), lock(tmp_path):
            pass


def test_a_folder_that_may_not_be_written_is_read_as_it_is(tmp_path, monkeypatch):
    def refuse(*_arguments: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / ".lock"))

    monkeypatch.setattr(os, "open", refuse)
    with lock(tmp_path, reading=True):
        pass
    with pytest.raises(StorageError, match=r"\.lock: the file system is read-only"), lock(tmp_path):
        pass


def test_a_disk_without_room_for_a_number_locks_all_the_same(tmp_path, monkeypatch):
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with lock(tmp_path), pytest.raises(RunExists, match="process unknown"), lock(tmp_path):
        pass


@pytest.fixture
def without_locks(tmp_path, monkeypatch):
    """A folder whose file system knows no locks; the cache folder's does."""
    real, folder = fcntl.flock, tmp_path / "network"
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))

    def flock(descriptor: int, operation: int) -> None:
        file = folder / ".lock"
        if file.exists() and os.path.samestat(os.fstat(descriptor), file.stat()):
            raise OSError(errno.ENOLCK, "No locks available")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    return folder


def test_where_there_are_no_locks_one_in_the_cache_stands_in(without_locks):
    for _ in range(2):
        with lock(without_locks):
            told = (without_locks / ".lock").read_text("utf-8")
            assert told == f"{os.getpid()} {socket.gethostname()}"
            with (
                pytest.raises(RunExists, match=rf"written by process {os.getpid()};"),
                lock(without_locks),
            ):
                pass
        assert list(without_locks.iterdir()) == []
    (without_locks / ".lock").write_text(f"77 {socket.gethostname()}")  # of a killed process
    with lock(without_locks):
        pass


def test_a_lock_of_another_machine_is_believed_where_nobody_can_ask(without_locks):
    without_locks.mkdir()
    (without_locks / ".lock").write_text("77 elsewhere")
    words = r"by process 77 on elsewhere, .* if it was killed, remove .*network/\.lock$"
    with pytest.raises(RunExists, match=words), lock(without_locks):
        pass


def test_without_any_locks_another_disk_is_asked_for(tmp_path, monkeypatch):
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(StorageError, match=r"cannot do what is needed .* another disk"),
        lock(tmp_path / "run"),
    ):
        pass
