"""The server as an ASGI application: routes, errors, logs and metrics around an `Answerer`.

Plain ASGI without a framework: there are a dozen fixed paths, and a request of a student that
answers within a millisecond should not spend another one on routing.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from tutelage_runtime.serving import openapi, page, words
from tutelage_runtime.serving.answering import Answerer, RawReply, RawRequest, Refusal, Reply
from tutelage_runtime.serving.bodies import (
    HungUp,
    Receive,
    Send,
    encode_json,
    read_body,
    require_json,
    respond,
)
from tutelage_runtime.serving.guard import Guard
from tutelage_runtime.serving.limits import read_json
from tutelage_runtime.serving.logs import Log, told
from tutelage_runtime.serving.metrics import CONTENT_TYPE, Metrics
from tutelage_runtime.serving.options import Options
from tutelage_runtime.serving.protocols import WIRES, decisions
from tutelage_runtime.serving.protocols.shapes import Wire
from tutelage_runtime.serving.students import Roster

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_OF_CONNECTION = frozenset(
    b"connection keep-alive transfer-encoding te trailer upgrade proxy-connection content-length "
    b"proxy-authenticate proxy-authorization date server".split()
)
"""Headers of a response that is passed on which are made anew."""
_RANDOM = random.Random()
"""Seeded by the system once: ids need to differ, not to be secret, and asking the system for each
hands the interpreter to another thread."""
_HUNG_UP = 499
_JSON = b"application/json"


@dataclass(slots=True)
class _Call:
    """One request as it goes through, and what its log line will say."""

    path: str
    method: str
    headers: Mapping[bytes, bytes]
    scope: Mapping[str, Any]
    request_id: str
    by: str | None = None
    model: str | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes
    kind: bytes = _JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


_Handler = Callable[[_Call, Receive], Awaitable[_Response]]


class App:
    """The application.

    Args:
        answerer: Who answers.
        roster: Gives the students of this machine, for `/explain`.
        options: Limits, who is let in, what is logged.
        metrics: Counts.
        log: Writes a line for each request.
    """

    def __init__(
        self,
        answerer: Answerer,
        roster: Callable[[], Roster],
        options: Options,
        *,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.draining = False
        """Whether the server goes down: not ready, and connections are closed after a reply."""
        self._answerer, self._roster, self._options = answerer, roster, options
        self._metrics, self._log = metrics, log
        self._guard = Guard(options)
        self._routes: dict[str, dict[str, tuple[_Handler, bool]]] = {
            "/": _read_only(self._page, guarded=False),
            "/page.css": _read_only(self._page, guarded=False),
            "/page.js": _read_only(self._page, guarded=False),
            "/health": _read_only(self._health, guarded=False),
            "/ready": _read_only(self._ready, guarded=False),
            "/openapi.json": _read_only(self._openapi, guarded=False),
            "/metrics": _read_only(self._tell_metrics, guarded=True),
            "/students": _read_only(self._students, guarded=True),
            "/v1/models": _read_only(self._models, guarded=True),
            "/explain": {"POST": (self._explain, True)},
            **{path: {"POST": (self._decide, True)} for path in WIRES},
        }

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request; see the ASGI specification, 3.0."""
        if scope["type"] != "http":
            return
        start = time.perf_counter()
        headers = dict(scope["headers"])
        call = _Call(scope["path"], scope["method"], headers, scope, _request_id(headers))
        try:
            response = await self._response(call, receive)
        except HungUp:
            self._done(call, _HUNG_UP, start)
            return
        await self._send(call, response, send)
        self._done(call, response.status, start)

    async def _response(self, call: _Call, receive: Receive) -> _Response:
        """What a request gets; never raises but for who has gone."""
        wire = WIRES.get(call.path)
        try:
            return await self._handled(call, receive)
        except Refusal as refusal:
            return _refused(refusal, wire)
        except HungUp:
            raise
        except asyncio.CancelledError:  # it took longer than the server may take to go down
            if not self.draining:
                raise
            return _refused(
                Refusal(503, "shutting_down", "the server went down meanwhile: send this again"),
                wire,
            )
        except Exception as error:
            said = {"message": str(error)[:300]} if self._options.log_texts else {}
            self._log("error", level="error", id=call.request_id, **told(error), **said)
            sorry = f"the server failed to answer; its log has more under {call.request_id}"
            return _refused(Refusal(500, "internal_error", sorry), wire)

    async def _handled(self, call: _Call, receive: Receive) -> _Response:
        self._guard.require_host(call.headers)
        route = self._routes.get(call.path)
        if route is None:
            raise Refusal(404, "not_found", f"there is no {call.path[:100]!r}; see /openapi.json")
        handler, guarded = route.get(call.method, (None, False))
        if handler is None:
            raise Refusal(
                405,
                "method_not_allowed",
                f"{call.path} takes {', '.join(route)}",
                headers={"Allow": ", ".join(route)},
            )
        if guarded:
            self._guard.require_token(call.headers)
        return await handler(call, receive)

    async def _send(self, call: _Call, response: _Response, send: Send) -> None:
        headers = [(b"content-type", response.kind), *response.headers]
        given = {name for name, _ in response.headers}
        if b"x-request-id" not in given:  # that of who answered, where it was passed on
            headers.append((b"x-request-id", call.request_id.encode("ascii")))
        if call.by is not None:
            headers.append((b"x-answered-by", call.by.encode("ascii")))
        if self.draining and b"connection" not in given:
            headers.append((b"connection", b"close"))
        await respond(send, response.status, response.body, headers)

    def _done(self, call: _Call, status: int, start: float) -> None:
        seconds = time.perf_counter() - start
        known = call.path in self._routes
        self._metrics.request(call.path if known else "other", status, seconds)
        if self._options.log_requests:
            self._log(
                "request",
                id=call.request_id,
                method=call.method,
                route=call.path if known else "other",
                status=status,
                ms=round(seconds * 1000, 3),
                student=call.model,
                by=call.by,
                texts=len(call.texts) or None,
                text=list(call.texts) if self._options.log_texts and call.texts else None,
            )

    async def _body(self, call: _Call, receive: Receive) -> bytes:
        require_json(call.headers)
        return await read_body(call.headers, receive, self._options.limits)

    async def _decide(self, call: _Call, receive: Receive) -> _Response:
        wire = WIRES[call.path]
        limits = self._options.limits
        body = await self._body(call, receive)
        values = read_json(body, limits)
        request = RawRequest(
            path=call.path,
            headers=call.scope["headers"],
            body=body,
            request_id=call.request_id,
            query=call.scope.get("query_string", b""),
        )
        try:
            asked = wire.read(values, limits)
        except Refusal as refusal:
            passed_on = await self._answerer.unread(refusal, request)
            if passed_on is None:
                raise
            return self._passed_on(call, passed_on)
        call.texts = asked.texts
        reply = await self._answerer.answer(asked, request)
        if isinstance(reply, RawReply):
            return self._passed_on(call, reply)
        self._answered(call, reply)
        return _Response(200, encode_json(wire.word(asked, reply)).encode("ascii"))

    def _answered(self, call: _Call, reply: Reply) -> None:
        call.by, call.model = reply.by, reply.model
        self._metrics.answered(reply.by)

    def _passed_on(self, call: _Call, reply: RawReply) -> _Response:
        call.by = reply.by
        self._metrics.answered(reply.by)
        kind = b"application/octet-stream"
        headers = []
        for name, value in reply.headers:
            if name == b"content-type":
                kind = value
            elif name not in _OF_CONNECTION and name != b"x-answered-by":
                headers.append((name, value))
        return _Response(reply.status, reply.body, kind, tuple(headers))

    async def _explain(self, call: _Call, receive: Receive) -> _Response:
        limits = self._options.limits
        text, name = words.read(read_json(await self._body(call, receive), limits), limits)
        call.texts = (text,)
        found = await words.explain(text, name, self._roster())
        call.model = found["student"]
        return _json(found)

    async def _page(self, call: _Call, _receive: Receive) -> _Response:
        body, kind = page.FILES[call.path]()
        return _Response(200, body, kind, page.HEADERS)

    async def _health(self, _call: _Call, _receive: Receive) -> _Response:
        return _json({"status": "alive"})

    async def _ready(self, _call: _Call, _receive: Receive) -> _Response:
        if self.draining:
            return _json({"status": "draining"}, 503)
        return _json({"status": "ready", "students": [one.model for one in self._answerer.served]})

    async def _openapi(self, _call: _Call, _receive: Receive) -> _Response:
        described = openapi.document(self._options.limits, secured=self._options.token is not None)
        return _json(described)

    async def _tell_metrics(self, _call: _Call, _receive: Receive) -> _Response:
        return _Response(200, self._metrics.text(), CONTENT_TYPE.encode())

    async def _students(self, _call: _Call, _receive: Receive) -> _Response:
        return _json(
            {
                "students": [
                    {
                        "name": one.name,
                        "version": one.version,
                        "model": one.model,
                        "labels": list(one.labels),
                        "descriptions": dict(one.descriptions),
                        "instructions": one.instructions,
                        "notice": one.notice,
                    }
                    for one in self._answerer.served
                ]
            }
        )

    async def _models(self, _call: _Call, _receive: Receive) -> _Response:
        """The list as OpenAI's clients read it, and TypeSafe's beside it."""
        served = self._answerer.served
        listed = [
            {"id": one.model, "object": "model", "created": 0, "owned_by": "tutelage"}
            for one in served
        ]
        described = [
            {
                "name": one.model,
                "description": f"Chooses among {len(one.labels)} labels.",
                "release_date": "1970-01-01",
            }
            for one in served
        ]
        return _json({"object": "list", "data": listed, "models": described})


def _read_only(handler: _Handler, *, guarded: bool) -> dict[str, tuple[_Handler, bool]]:
    return {"GET": (handler, guarded), "HEAD": (handler, guarded)}


def _json(value: Any, status: int = 200) -> _Response:
    return _Response(status, encode_json(value).encode("ascii"))


def _refused(refusal: Refusal, wire: Wire | None) -> _Response:
    """An error in the words of a protocol; elsewhere in those of OpenAI's."""
    status, body = (decisions.error if wire is None else wire.error)(refusal)
    headers = tuple(
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in refusal.headers.items()
    )
    return _Response(status, encode_json(body).encode("ascii"), _JSON, headers)


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's id for a request if it has one that can be told, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_RANDOM.getrandbits(128):032x}"
