"""A folder has one writer at a time, whose lock goes with its process."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from tutelage.errors import RunExists, StorageError, TutelageError
from tutelage.runs.files import cache_folder
from tutelage.runs.storage import shown, storing

LOCK_FILE = ".lock"

_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
"""What file systems answer that know no locks, as some of the network do."""
_NOTE_BYTES = 200


@contextmanager
def lock(path: Path, *, reading: bool = False) -> Iterator[None]:
    """Keep a folder to this process while it writes there.

    The operating system frees the lock when the process ends, however it ends; the file that a kill
    leaves behind locks nothing. After an orderly end it is removed. Where the file system of the
    folder has no locks, one in the user's cache folder stands in, which other machines do not see:
    then the file in the folder says which machine holds it.

    Args:
        path: The folder; made if missing.
        reading: Nothing will be written: a folder that this process may not write in is read as it
            is.

    Raises:
        RunExists: Another process is writing there; its number is named.
        StorageError: The folder cannot be made or written, or no lock can be had.
    """
    with storing(path):
        held = _acquire(path, reading=reading)
    try:
        yield
    finally:
        if held:
            # While still held, so that nobody else's is removed; left behind, it locks nothing.
            with suppress(OSError):
                (path / LOCK_FILE).unlink()
        for descriptor in held:
            os.close(descriptor)


def _acquire(path: Path, *, reading: bool) -> list[int]:
    """The open files that hold the lock."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        raise TutelageError(
            f"{shown(path)} cannot be locked: this system ({sys.platform}) has no file locks of "
            "POSIX, which keep two processes from writing one folder. Use Linux, macOS, or WSL on "
            "Windows; `predict` works here too"
        ) from None
    while True:
        path.mkdir(parents=True, exist_ok=True)
        try:
            descriptor, is_ours = _open(path / LOCK_FILE)
        except FileNotFoundError:  # the folder went while it was being opened, or never was
            if path.is_dir():
                continue
            raise
        except OSError as error:
            if reading and error.errno in _NO_RIGHT:
                return []
            raise
        held = [descriptor]
        try:
            if not _flock(descriptor):
                raise _taken(path, _note(descriptor))
        except OSError as error:
            if isinstance(error, RunExists) or error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            try:
                held.append(_stand_in(path, _note(descriptor)))
            except BaseException:
                os.close(descriptor)
                raise
        if _is_current(descriptor, path):
            if is_ours:
                note = f"{os.getpid()}" if len(held) == 1 else f"{os.getpid()} {_machine()}"
                # It only tells others whom they wait for.
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, note.encode(), 0)
                return held
            # Another user's, who has ended: in a folder of ours it makes room for our own.
            if reading:
                return held
            (path / LOCK_FILE).unlink()
        for one in held:  # its last owner removed it between our opening and locking it
            os.close(one)


def _open(file: Path) -> tuple[int, bool]:
    """The lock file, and whether it may be written; never what a link points to."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    is_ours = True
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
            raise _no_lock_file(file) from error
        if error.errno not in _NO_RIGHT or not file.is_file():
            raise
        descriptor, is_ours = os.open(file, os.O_RDONLY | flags), False
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise _no_lock_file(file)
    return descriptor, is_ours


def _no_lock_file(file: Path) -> StorageError:
    return StorageError(
        f"{shown(file)} is a folder, a link or a device; expected the file in which the process "
        "that writes here leaves its number. Remove it, and give the same command again",
        is_wrong_place=True,
    )


def _flock(descriptor: int) -> bool:
    """Lock an open file; False where another process has."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stand_in(path: Path, note: str) -> int:
    """A lock in the cache folder for a folder whose file system has none."""
    owner, _, machine = note.partition(" ")
    if machine and machine != _machine():
        raise RunExists(
            f"{shown(path)} was being written by process {owner} on {machine}, and its file system "
            "has no locks by which to see whether it still is. Wait until it has finished; if it "
            f"was killed, remove {shown(path / LOCK_FILE)}"
        )
    name = blake2b(os.fsencode(path.resolve()), digest_size=16).hexdigest()
    file = cache_folder() / "locks" / f"{name}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    # It stays: removed, another process might hold what nobody finds any more.
    descriptor, _ = _open(file)
    try:
        if not _flock(descriptor):
            raise _taken(path, note)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _taken(path: Path, note: str) -> RunExists:
    owner = note.partition(" ")[0]
    return RunExists(
        f"{shown(path)} is being written by process {owner if owner.isdigit() else 'unknown'}; "
        "expected a folder that nobody else writes. Wait until it has finished, stop it, or give "
        "another folder"
    )


def _note(descriptor: int) -> str:
    return os.pread(descriptor, _NOTE_BYTES, 0).decode("ascii", "replace").strip()


def _machine() -> str:
    return socket.gethostname() or "this machine"


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), (path / LOCK_FILE).lstat())
    except FileNotFoundError:
        return False
