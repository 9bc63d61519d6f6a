"""The server as an ASGI application in this process, without sockets: students that are exported
ones or stand-ins, and requests made of any bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.serving.fakes import Fake, choice, decision
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE

from tutelage_runtime.serving.app import App
from tutelage_runtime.serving.metrics import Metrics
from tutelage_runtime.serving.options import Options
from tutelage_runtime.serving.students import Source, Students

PATHS = ("/v1/decisions", "/v1/systemone", "/classify", "/explain")
HEADERS = ((b"host", b"localhost"), (b"content-type", b"application/json"))
LABELS = ("sad", "happy")
Header = tuple[bytes, bytes]


class Served:
    """An application with its loop.

    Args:
        folder: Of an exported student; None: a stand-in.
        around: Makes what answers of the students, such as a cascade.
        loop: That all of it runs in; None: one of its own.
        options: Of the server.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        around: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
        **options: Any,
    ) -> None:
        self.loop = loop or asyncio.new_event_loop()
        self.errors: list[dict[str, Any]] = []
        """What the log called errors, since the last `ask` began."""
        more: Any = {} if folder else {"load": lambda _: ("mood", Fake(*LABELS))}
        self.students = Students([Source(folder or Path("mood"))], **more)
        self.loop.run_until_complete(self.students.start())
        self.answerer = self.students if around is None else around(self.students)
        self.app = App(
            self.answerer,
            lambda: self.students.roster,
            Options(**options),
            metrics=Metrics(),
            log=self._log,
        )

    def _log(self, event: str, /, *, level: str = "info", **fields: Any) -> None:
        if level == "error":
            self.errors.append({"event": event} | fields)

    def ask(
        self,
        path: str,
        body: bytes | Sequence[bytes],
        *,
        headers: Sequence[Header] = HEADERS,
        method: str = "POST",
    ) -> tuple[int, bytes]:
        """Status and body of the response; a body in several parts comes in several messages."""
        self.errors.clear()
        parts = [body] if isinstance(body, bytes) else list(body)
        messages = [
            {"type": "http.request", "body": one, "more_body": place < len(parts) - 1}
            for place, one in enumerate(parts)
        ] or [{"type": "http.disconnect"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "path": path,
            "method": method,
            "headers": list(headers),
            "query_string": b"",
        }
        self.loop.run_until_complete(self.app(scope, receive, send))
        if not sent:
            return 499, b""
        for name, value in sent[0]["headers"]:
            assert not HEADER_RE.search(name), name
            assert not HEADER_VALUE_RE.search(value), value
        assert sent[0]["status"] in STATUS_LINE
        return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])

    def close(self) -> None:
        """End its threads and its loop."""
        self.students.close()
        self.loop.close()


def good(path: str, labels: Sequence[str] = LABELS, text: str = "a happy text") -> dict[str, Any]:
    """A body that is answered."""
    if path == "/v1/decisions":
        return decision(text, choice(*labels))
    if path == "/v1/systemone":
        question = {"type": "choice", "criteria": dict.fromkeys(labels)}
        return {"model": "any", "state": text, "questions": {"q": question}}
    return {"input": [text]} if path == "/classify" else {"text": text}


def answer_of(path: str, body: bytes) -> str:
    """The label that a response of `good` names."""
    said = json.loads(body)
    if path == "/v1/decisions":
        return said["answers"][0]["choice"]
    if path == "/v1/systemone":
        return said["answers"]["q"]["choice"]
    return said["data"][0]["label"] if path == "/classify" else said["label"]
