"""A server on this machine that answers as told, and misbehaves as told: for tests of teachers
behind an API. It speaks just enough HTTP, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

LABELS = ("bad", "good", "mixed")


def probabilities(text: str) -> list[float]:
    """What the server thinks of a text: always the same."""
    raw = [1 + byte for byte in blake2b(text.encode(), digest_size=len(LABELS)).digest()]
    return [one / sum(raw) for one in raw]


def decision(text: str, *, model: str = "served-1") -> dict[str, Any]:
    """A reply of the decisions endpoint."""
    probs = probabilities(text)
    return {
        "model": model,
        "answers": [
            {
                "type": "choice",
                "name": "label",
                "choice": LABELS[probs.index(max(probs))],
                "confidence": 0.123,
                "probabilities": [
                    {"value": label, "probability": prob}
                    for label, prob in zip(LABELS, probs, strict=True)
                ],
            }
        ],
        "usage": {
            "input_tokens": 40,
            "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 42,
        },
    }


Fault = str | int | None
"""None: answer; a number: that status; `cut`, `garbage`, `hang`: what the name says."""


class FaultyServer:
    """Counts what it is asked, and answers."""

    def __init__(
        self,
        *,
        reply: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        fault: Callable[[int, dict[str, Any]], Fault] = lambda *_: None,
        delay: float = 0.0,
    ) -> None:
        self.reply = reply or (lambda body: decision(body["input"]))
        self.fault = fault
        self.delay = delay
        self.calls = 0
        self.paid: Counter[str] = Counter()
        """Whole replies by the content of their request."""
        self.headers: list[str] = []
        self.paths: Counter[str] = Counter()
        self.port = 0
        self.connections: set[Any] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def respond(self, path: str, header: str, body: bytes) -> tuple[bytes, bool]:
        """The bytes of the response, and whether the connection is cut after them."""
        self.calls += 1
        self.paths[path] += 1
        if len(self.headers) < 5:
            self.headers.append(header)
        asked = json.loads(body) if body.startswith(b"{") else {}
        match self.fault(self.calls, asked):
            case None:
                self.paid[json.dumps(asked, sort_keys=True)] += 1
                return _http(200, json.dumps(self.reply(asked)).encode()), False
            case "cut":
                return _http(200, json.dumps(self.reply(asked)).encode())[:-20], True
            case "garbage":
                return _http(200, b'{"answers": [{"type"'), False
            case "hang":
                return b"", False
            case int() as status:
                said = {"error": {"message": f"fault {status}, key in {header[:200]}"}}
                return _http(status, json.dumps(said).encode()), False
            case other:
                raise AssertionError(other)


def _http(status: int, body: bytes) -> bytes:
    return (
        f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nretry-after-ms: 5\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, server: FaultyServer) -> None:
        self._server, self._bytes = server, b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        while (end := self._bytes.find(b"\r\n\r\n")) >= 0:
            head = self._bytes[:end].decode()
            length = next(
                (
                    int(line.split(":")[1])
                    for line in head.split("\r\n")
                    if line.lower().startswith("content-length:")
                ),
                0,
            )
            if len(self._bytes) < end + 4 + length:
                return
            body = self._bytes[end + 4 : end + 4 + length]
            self._bytes = self._bytes[end + 4 + length :]
            loop = asyncio.get_running_loop()
            loop.call_later(self._server.delay, self._send, head.split(" ")[1], head, body)

    def _send(self, path: str, head: str, body: bytes) -> None:
        if not self._transport.is_closing():  # who has gone is not billed
            response, is_cut = self._server.respond(path, head, body)
            self._transport.write(response)
            if is_cut:
                self._transport.close()


@contextmanager
def serving(server: FaultyServer) -> Iterator[FaultyServer]:
    """The server on a free port of this machine."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        make = loop.create_server(lambda: _Connection(server), "127.0.0.1", server.port)
        listener = loop.run_until_complete(make)
        server.port = listener.sockets[0].getsockname()[1]
        ready.set()
        loop.run_forever()
        for connection in list(server.connections):
            connection.abort()
        listener.close()
        loop.run_until_complete(listener.wait_closed())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
