"""Replies of a server kept the moment they come: one file, written at its end only.

A line is a checksum and a JSON record. A kill leaves at most half a line, which is cut off when the
file is opened; a damaged line is passed over and its request made again. In memory there is, for
each reply, the name of its request and where its line begins.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tutelage.runs.locks import lock
from tutelage.runs.storage import storing
from tutelage.teachers.api.protocol import Request, Usage

FILE = "replies.jsonl"
BALLAST_FILE = "room-for-the-last-replies"
BALLAST_BYTES = 4_000_000
"""Held in a file that is given up when the disk is full: what has been asked by then has been paid,
and comes in."""
TIMED = 10_000
"""Replies whose time is kept in memory, the first ones."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CHECKSUM = 9
"""Characters before a record: eight of the checksum and a space."""


def request_name(request: Request, *, attempt: int) -> bytes:
    """Names a request by all that it says, 16 bytes; a repetition has a name of its own."""
    said = json.dumps([request.path, request.body, attempt], sort_keys=True, separators=(",", ":"))
    return blake2b(said.encode(), digest_size=16).digest()


class Journal:
    """Replies by request; `open_journal` opens one."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._folder = folder
        self._file = descriptor
        self._places: dict[bytes, tuple[int, int]] = {}
        self._end = 0
        self._synced = 0
        self.models: Counter[str] = Counter()
        """Replies by the name under which the server gave them."""
        self.usages: Counter[Usage] = Counter()
        """What replies took, and how many took as much."""
        self.seconds: list[float] = []
        """How long each of the first `TIMED` took."""
        self.damaged = 0
        """Lines that could not be read; their requests are made again."""

    def __contains__(self, name: bytes) -> bool:
        """Whether a request has been answered."""
        return name in self._places

    def __len__(self) -> int:
        """How many have."""
        return len(self._places)

    def reply(self, name: bytes) -> dict[str, Any] | None:
        """The JSON that answered a request; None: nothing has, or its line is damaged."""
        place = self._places.get(name)
        record = None if place is None else self._record(place)
        if record is None:
            self._places.pop(name, None)
            return None
        return record["reply"]

    def add(
        self,
        name: bytes,
        reply: Mapping[str, Any],
        *,
        model: str,
        usage: Usage,
        seconds: float = 0.0,
        hide: str = "",
    ) -> None:
        """Keep a reply; when this returns a kill does not lose it.

        Args:
            name: Of its request.
            reply: JSON.
            model: The name that the server gave itself.
            usage: What it took.
            seconds: How long it was waited for, retries included.
            hide: A secret that is not written, should the server repeat it.

        Raises:
            StorageError: The file system refuses; what was there before is whole.
        """
        record = {
            "request": name.hex(),
            "model": model,
            "tokens": [usage.input, usage.cached, usage.output],
            "seconds": round(seconds, 4),
            "reply": reply,
        }
        if hide:
            record = _without(record, hide)
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        try:
            body = text.encode("utf-8")
        except UnicodeEncodeError:  # half a character, which JSON can spell
            body = json.dumps(record, separators=(",", ":")).encode("ascii")
        line = b"%08x %s\n" % (zlib.crc32(body), body)
        with storing(self._folder):
            self._append(line)
        self._enter(name, record, len(line))

    def sync(self) -> None:
        """Bring what was written to the disk itself, so that a power cut does not lose it."""
        end = self._end
        if self._synced < end:
            with storing(self._folder):
                os.fsync(self._file)
            self._synced = end

    def _append(self, line: bytes) -> None:
        try:
            self._write(line)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            with suppress(OSError):
                (self._folder / BALLAST_FILE).unlink()
            self._write(line)

    def _write(self, line: bytes) -> None:
        """Write a whole line or nothing."""
        try:
            done = 0
            while done < len(line):
                done += os.pwrite(self._file, line[done:], self._end + done)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise

    def _record(self, place: tuple[int, int]) -> dict[str, Any] | None:
        begin, length = place
        return _parsed(os.pread(self._file, length, begin))

    def read_all(self) -> None:
        """Find every whole line, and cut off half a line at the end."""
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                record = _parsed(line)
                if record is None:
                    self.damaged += 1
                else:
                    self._enter(bytes.fromhex(record["request"]), record, len(line))
                    continue
                self._end += len(line)
        if os.fstat(self._file).st_size > self._end:
            os.ftruncate(self._file, self._end)

    def _enter(self, name: bytes, record: Mapping[str, Any], length: int) -> None:
        self._places[name] = (self._end, length)
        self._end += length
        self.models[record["model"]] += 1
        self.usages[Usage(*record["tokens"])] += 1
        if record["seconds"] and len(self.seconds) < TIMED:  # those of a batch tell nothing
            self.seconds.append(record["seconds"])

    def set_aside(self) -> Path | None:
        """Begin anew, with the replies of before kept in a file beside; None: there were none."""
        if not self._places:
            return None
        number = 1
        while (old := self._folder / f"replies-{number}.jsonl").exists():
            number += 1
        with storing(self._folder):
            os.link(self._folder / FILE, old)
            (self._folder / FILE).unlink()
            fresh = _opened(self._folder)
            os.dup2(fresh, self._file)
            os.close(fresh)
        self._places.clear()
        self.models.clear()
        self.usages.clear()
        self.seconds.clear()
        self._end = self._synced = 0
        return old

    def make_room(self) -> None:
        """Lay down the ballast."""
        with suppress(OSError):  # a disk so full is told when a reply comes
            path = self._folder / BALLAST_FILE
            if not path.exists():
                path.write_bytes(b"\0" * BALLAST_BYTES)

    def close(self) -> None:
        """Sync and let another process open it."""
        try:
            self.sync()
        finally:
            os.close(self._file)
            with suppress(OSError):
                (self._folder / BALLAST_FILE).unlink()


@contextmanager
def open_journal(folder: Path) -> Iterator[Journal]:
    """The journal in a folder, made if it is missing; nobody else writes it meanwhile.

    Raises:
        RunExists: Another process is writing it.
        StorageError: The file system refuses.
    """
    with lock(folder):
        with storing(folder):
            journal = Journal(folder, _opened(folder))
        try:
            with storing(folder):
                journal.read_all()
            yield journal
        finally:
            journal.close()


def _opened(folder: Path) -> int:
    return os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _without(value: Any, secret: str) -> Any:
    """JSON with a secret taken out of its texts; numbers are left alone."""
    match value:
        case str():
            return value.replace(secret, "[key]")
        case list():
            return [_without(one, secret) for one in value]
        case dict():
            return {_without(key, secret): _without(one, secret) for key, one in value.items()}
        case _:
            return value


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where it is not what was written."""
    body = line[_CHECKSUM:].removesuffix(b"\n")
    if line[:_CHECKSUM] != b"%08x " % zlib.crc32(body):
        return None
    return json.loads(body)
