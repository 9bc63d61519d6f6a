"""Bodies of requests within their limits, and responses: ASGI's messages as bytes and back."""

from __future__ import annotations

import asyncio
import json
import types
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from typing import Any

from tutelage_runtime.serving.answering import Refusal
from tutelage_runtime.serving.limits import Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_DISCARDED = 16
"""Times the limit that are still read of a body that is too large, so that its client, which sends
before it reads, gets to see the error."""


class HungUp(Exception):
    """The client has gone."""


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        Refusal: 413 larger than the limit, 408 not there in time, 415 in an encoding; such
            responses carry `Connection: close` where the rest of a body is still on its way.
        HungUp: The client went away before all of it had come.
    """
    if headers.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
        raise Refusal(
            415,
            "unsupported_encoding",
            "compressed bodies are not read; send the JSON as it is",
            headers={"Accept-Encoding": "identity"},
        )
    announced = headers.get(b"content-length", b"")
    too_large = announced.isdigit() and int(announced) > limits.body_bytes
    if too_large and (
        int(announced) > _DISCARDED * limits.body_bytes or b"expect" in headers
    ):  # who waits for a 100 has sent nothing yet, and the rest need not come
        raise _too_large(limits, ended=False)
    end = asyncio.get_running_loop().time() + limits.body_seconds
    try:
        message = await _first(receive, end)
        if not message.get("more_body") and message["type"] == "http.request":
            body: bytes = message.get("body", b"")
            if len(body) > limits.body_bytes:
                raise _too_large(limits, ended=True)
            return body
        async with asyncio.timeout_at(end):
            return await _read_parts(message, receive, limits)
    except TimeoutError:
        raise Refusal(
            408,
            "body_timeout",
            f"the body did not come within {limits.body_seconds:g} seconds",
            headers={"Connection": "close"},
        ) from None


async def _first(receive: Receive, end: float) -> Message:
    """The first message, until a time of the loop. Most have come with the headers, and a clock for
    those would take 9 of the 65 us that a request takes between uvicorn and its student.
    """
    steps = receive().__await__()
    try:
        waited = next(steps)
    except StopIteration as come:
        return come.value
    async with asyncio.timeout_at(end):
        return await _rest(steps, waited)


@types.coroutine
def _rest(steps: Generator[Any, Any, Message], waited: Any) -> Generator[Any, Any, Message]:
    """What is awaited, from where it first had to wait."""
    try:
        yield waited
    except BaseException:
        steps.close()
        raise
    return (yield from steps)


async def _read_parts(message: Message, receive: Receive, limits: Limits) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise HungUp
        part = message.get("body", b"")
        size += len(part)
        if size <= limits.body_bytes:
            parts.append(part)
        elif size > _DISCARDED * limits.body_bytes:
            raise _too_large(limits, ended=False)
        else:
            parts.clear()
        if not message.get("more_body"):
            break
        message = await receive()
    if size > limits.body_bytes:
        raise _too_large(limits, ended=True)
    return b"".join(parts)


def _too_large(limits: Limits, *, ended: bool) -> Refusal:
    return Refusal(
        413,
        "body_too_large",
        f"the body is larger than {limits.body_bytes:,} bytes; send less at a time",
        headers={} if ended else {"Connection": "close"},
    )


def require_json(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a body that says it is something else than JSON.

    Raises:
        Refusal: 415.
    """
    kind = headers.get(b"content-type")
    if kind is None:
        return
    name = kind.partition(b";")[0].strip().lower()
    if name != b"application/json" and not name.endswith(b"+json"):
        raise Refusal(
            415,
            "unsupported_media_type",
            f"the Content-Type is {name.decode('latin-1')[:100]!r}; send JSON with Content-Type: "
            "application/json",
        )


async def respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Send a whole response; its length is added."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
