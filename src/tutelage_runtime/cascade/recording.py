"""Traffic kept for the next student: requests with the upstream's responses, a line of JSON each.

In: a request and a response that were passed on. Out: `traffic-TIME-PID.jsonl` in a folder, one
file for each start of the server, in the form of decision logs that a `recorded` teacher reads.
Headers are never kept, so no key is. A disk that is full stops the recording, never the traffic.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tutelage_runtime.serving.answering import RawReply, RawRequest

LARGEST_FOLDER = 4 << 30
_SECONDS_UNSYNCED = 1.0


class Recorder:
    """Writes lines as they come; thread-safe.

    Args:
        folder: Where the files are; made if it is not there.
        most_bytes: Of all files of traffic in it together; then recording stops.
        tell: Told once when it stops.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most_bytes: int = LARGEST_FOLDER,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.lines, self.stopped = folder, 0, False
        self._left = most_bytes - sum(file.stat().st_size for file in traffic_files(folder))
        self._tell = tell
        self._lock = threading.Lock()
        self._synced = time.monotonic()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.path = folder / f"traffic-{stamp}-{os.getpid()}.jsonl"
        self._file: int | None = None

    def keep(
        self, request: RawRequest, response: RawReply, *, why: str, drawn: bool, **more: Any
    ) -> None:
        """Keep an exchange whose response is an answer.

        Args:
            request: As the client sent it.
            response: As the upstream gave it; other statuses than 200, and bodies that are no JSON
                object, are no answers and are not kept.
            why: What it was forwarded for: `record`, `shadow`, `unsure`, `audit`, ...
            drawn: Whether it was kept by chance or as all are, not because the student was unsure:
                only these tell what requests are like.
            **more: What else is known of it, such as what the student would have said.
        """
        if self.stopped or response.status != 200:
            return
        try:
            asked, said = json.loads(request.body), json.loads(response.body)
        except (ValueError, RecursionError):
            return
        if not isinstance(asked, dict) or not isinstance(said, dict):
            return
        self._append(
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "id": request.request_id,
                "path": request.path,
                "why": why,
                "drawn": drawn,
                **more,
                "request": asked,
                "response": said,
            }
        )

    def close(self) -> None:
        """Bring all to the disk."""
        with self._lock:
            if self._file is not None:
                try:
                    os.fsync(self._file)
                finally:
                    os.close(self._file)
                    self._file = None

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        except (ValueError, RecursionError):  # deeper than can be written
            return
        encoded = line.encode("utf-8", "surrogatepass") + b"\n"
        with self._lock:
            if self.stopped:
                return
            if len(encoded) > self._left:
                self._stop(f"{self.folder} holds as much traffic as it may")
                return
            try:
                if self._file is None:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                    self._file = os.open(self.path, flags, 0o600)
                written = os.write(self._file, encoded)
                if written < len(encoded):  # half a line: the next one must not continue it
                    os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                    raise OSError("the disk is full")
                if time.monotonic() - self._synced > _SECONDS_UNSYNCED:
                    os.fsync(self._file)
                    self._synced = time.monotonic()
            except OSError as error:
                self._stop(f"{self.path} cannot be written ({error.strerror or error})")
                return
            self._left -= len(encoded)
            self.lines += 1

    def _stop(self, why: str) -> None:
        self.stopped = True
        self._tell(f"traffic is not recorded any more: {why}; requests are answered as before")


def traffic_files(folder: Path) -> list[Path]:
    """The files of traffic in a folder, oldest first."""
    return sorted(folder.glob("traffic-*.jsonl"))
