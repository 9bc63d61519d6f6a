"""Hostile requests, and a hostile upstream: whatever comes, a server answers with a status that says
whose fault it is, and answers the next good request rightly.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cascade import world
from tests.hostile.asking import bounded, hostile
from tests.hostile.in_process import HEADERS, PATHS, Served, answer_of, good
from tests.runtime.conftest import TEXTS
from tests.runtime.tiny_bundles import LABELS, write_tokens

from tutelage.students.vocabulary.training import train_tokenizer
from tutelage_runtime.cascade.answerer import Cascade
from tutelage_runtime.cascade.audits import Audits
from tutelage_runtime.cascade.certified import CertifiedStudents
from tutelage_runtime.cascade.upstream import Upstream as ForwardingUpstream
from tutelage_runtime.cascade.upstream import UpstreamOptions

BODY_BYTES = 40_000
"""So that inputs of this size meet the limit."""
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([10**400, -(10**400), 2**63, 1e308, "\ud800", "a\0b", "x" * 5_000, "\u202e"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["type", "choices", "value", "text", "label", "role", "true"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=10,
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [way, *(place for key, one in inside for place in places(one, (*way, key)))]


def replaced(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    """A body with another value, or (by `...`) none, in one place."""
    if not way:
        return new
    key, rest = way[0], way[1:]
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
    kept = [(at, replaced(one, rest, new) if at == key else one) for at, one in pairs]
    kept = [(at, one) for at, one in kept if one is not ...]
    return dict(kept) if isinstance(value, dict) else [one for _, one in kept]


@st.composite
def changed(draw: st.DrawFn, path: str) -> bytes:
    """A good body with a few values changed, written as JSON in some way."""
    body: Any = good(path, LABELS)
    for _ in range(draw(st.integers(0, 3))):
        way = draw(st.sampled_from(places(body)))
        body = replaced(body, way, draw(st.one_of(VALUES, st.just(...)) if way else VALUES))
    if not isinstance(body, dict):
        return json.dumps(body).encode()
    match draw(st.integers(0, 12)):
        case 0:  # many of something
            count = draw(st.sampled_from([300, 2_000]))
            many = {"input": ["x"] * count, "questions": [{}] * count, "text": "a " * 3_000}
            body |= many
        case 1:
            way = draw(st.sampled_from(["input", "state", "text"]))
            body[way] = draw(st.sampled_from(["y" * 30_000, "é" * 9_000, "\0" * 100, "\ud83d"]))
    text = json.dumps(body, ensure_ascii=draw(st.booleans()))
    match draw(st.integers(0, 12)):
        case 0:  # keys given twice
            text = text[:-1] + "," + text[1:]
        case 1:
            depth = draw(st.sampled_from([31, 33, 1_000, 15_000, 100_000]))
            text = text[:-1] + ', "deep": ' + "[" * depth + "]" * depth + "}"
        case 2:
            text = (
                text[:-1]
                + ', "number": '
                + draw(st.sampled_from(["9" * 5_000, "-0", "1e9999", "NaN", "0x1"]))
                + "}"
            )
    match draw(st.integers(0, 12)):
        case 0:
            return text.encode(draw(st.sampled_from(["utf-16", "utf-8-sig", "latin-1"])), "replace")
        case 1:
            raw = text.encode("utf-8", "surrogatepass")
            place = draw(st.integers(0, len(raw)))
            return raw[:place] + draw(st.binary(max_size=4)) + raw[place:]
        case 2:
            return gzip.compress(text.encode("utf-8", "surrogatepass"))
    return text.encode("utf-8", "surrogatepass")


RAW = st.one_of(
    st.binary(max_size=100),
    st.sampled_from(
        [b"", b"[" * 100_000, b"{" * 30_000, b'{"a":' * 9_000, b"9" * 9_000, b"\xff\xfe"]
    ),
)
OTHER_HEADERS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from([b"host", b"origin", b"content-type", b"content-length", b"expect",
                             b"content-encoding", b"transfer-encoding", b"authorization",
                             b"x-request-id", b"accept"]),
            st.one_of(
                st.binary(max_size=30),
                st.sampled_from([b"localhost:x", b"[::1]:80", b"9" * 400, b"-1", b"gzip", b"chunked",
                                 b"application/json; charset=\xff", b"text/html", b"100-continue",
                                 b"Bearer \xff", b"http://evil/", b"\xb2", b"x" * 9_000]),
            ),
        ),
        st.tuples(st.binary(min_size=1, max_size=10), st.binary(max_size=10)),
    ),
    max_size=3,
)  # fmt: skip
PATH = st.one_of(
    st.sampled_from(PATHS),
    st.sampled_from(PATHS),
    st.sampled_from(PATHS),
    st.sampled_from(["/", "/metrics", "/students", "/v1/models", "/ready", "//", "/../etc/passwd",
                     "/v1/decisions/", "/\0", "/\ud800", "/" + "x" * 9_000, "*", ""]),
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    path = draw(PATH)
    body = draw(st.one_of(*[changed(path if path in PATHS else PATHS[0])] * 4, RAW))
    parts: Any = body
    match draw(st.integers(0, 9)):
        case 0:  # chunks, the last of which may never come
            cut = draw(st.integers(0, len(body)))
            parts = [body[:cut], b"", body[cut:]]
        case 1:
            parts = []
    return {
        "path": path,
        "body": parts,
        "method": draw(st.sampled_from(["POST"] * 9 + ["GET", "HEAD", "PUT", "BREW", ""])),
        "headers": (*HEADERS, *(draw(OTHER_HEADERS) if draw(st.integers(0, 2)) == 0 else ())),
    }


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = train_tokenizer(TEXTS, kind="wordpiece", vocabulary_size=120).backend_tokenizer
    return write_tokens(tmp_path_factory.mktemp("student") / "tiny", tokenizer)


@pytest.fixture(scope="module")
def served(student: Path) -> Iterator[Served]:
    from tutelage_runtime.serving.limits import Limits

    found = Served(student, limits=Limits(body_bytes=BODY_BYTES, body_seconds=2.0))
    yield found
    found.close()


def checked(served: Served, expected: dict[str, str]) -> None:
    """Every good request is still answered as at first."""
    for path in PATHS:
        status, body = served.ask(path, json.dumps(good(path, LABELS)).encode())
        assert status == 200
        assert answer_of(path, body) == expected.setdefault(path, answer_of(path, body))


@pytest.fixture(scope="module")
def expected(served: Served) -> dict[str, str]:
    found: dict[str, str] = {}
    checked(served, found)
    return found


@hostile("server")
@given(request=requests())
def test_any_request_is_answered_and_the_next_one_too(
    served: Served, expected: dict[str, str], request: dict[str, Any]
) -> None:
    with bounded():
        status, body = served.ask(**request)
    assert status < 500, served.errors
    assert not served.errors
    assert status != 499 or not request["body"] or isinstance(request["body"], list)
    assert len(body) < 400_000
    if status >= 400 and body:
        assert json.loads(body)
        assert b"Traceback" not in body
    path = PATHS[len(body) % len(PATHS)]
    status, body = served.ask(path, json.dumps(good(path, LABELS)).encode())
    assert (status, answer_of(path, body)) == (200, expected[path])


ANSWERED = {"answers": [{"type": "choice", "choice": LABELS[0], "probabilities": []}]}


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """What an upstream puts on the wire: responses with something wrong, and what is none."""
    value = replaced(ANSWERED, draw(st.sampled_from(places(ANSWERED))), draw(VALUES))
    body = draw(
        st.one_of(
            st.just(json.dumps(value).encode("utf-8", "replace")),
            st.binary(max_size=60),
            st.sampled_from([b"", b"[" * 50_000, b"<html>", b"x" * 200_000]),
        )
    )
    status = draw(st.sampled_from([200] * 6 + [100, 101, 204, 302, 304, 404, 429, 500, 999, 7]))
    length = draw(st.sampled_from([len(body)] * 5 + [0, len(body) + 9, 10**12, -1, "x"]))
    kind = draw(st.sampled_from(["application/json", "text/html", "x" * 9_000, "a/b; charset=zzz"]))
    headers = [f"content-type: {kind}", f"content-length: {length}"]
    headers += draw(
        st.lists(
            st.sampled_from(["transfer-encoding: chunked", "content-encoding: gzip", "x-a: \x80",
                             "set-cookie: a=b", "location: http://127.0.0.1:1/", "connection: close",
                             "x-request-id: \x01", "bad header", "x-answered-by: me", ": x",
                             "x-long: " + "y" * 70_000]),
            max_size=2,
        )
    )  # fmt: skip
    whole = f"HTTP/1.1 {status} x\r\n" + "\r\n".join(headers) + "\r\n\r\n"
    raw = whole.encode("latin-1") + body
    return draw(
        st.one_of(*[st.just(raw)] * 4, st.binary(max_size=60), st.just(raw[: len(raw) // 2]))
    )


class Upstream:
    """What answers with given bytes, in the loop of the server in front of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.content, self.forever = b"", b""
        self._server = loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.content)
            await writer.drain()
            while self.forever:
                writer.write(self.forever)
                await writer.drain()
                await asyncio.sleep(0)
        with contextlib.suppress(OSError):
            writer.close()

    def close(self) -> None:
        self._server.close()


@pytest.fixture(scope="module")
def behind() -> Iterator[tuple[Served, Upstream]]:
    """A server whose students have no certificate, so that all is forwarded."""

    def around(students: Any) -> Cascade:
        certified = CertifiedStudents(students)
        return Cascade(
            certified,
            ForwardingUpstream(
                UpstreamOptions(
                    url=f"http://127.0.0.1:{upstream.port}", seconds=1.0, response_bytes=100_000
                )
            ),
            mode="shadow",
            certificates=certified.certificates,
            audits=Audits(None),
            watched=world.Seen(),
        )

    loop = asyncio.new_event_loop()
    upstream = Upstream(loop)
    served = Served(around=around, loop=loop)
    yield served, upstream
    loop.run_until_complete(served.answerer.close())
    upstream.close()
    served.close()


@hostile("upstream")
@given(content=responses(), path=st.sampled_from(PATHS[:3]))
def test_whatever_an_upstream_says_is_passed_on_or_a_502(
    behind: tuple[Served, Upstream], content: bytes, path: str
) -> None:
    served, upstream = behind
    upstream.content = content
    with bounded():
        status, body = served.ask(path, json.dumps(good(path)).encode())
    assert not served.errors
    assert 200 <= status <= 599
    assert len(body) <= 100_000
    sound = b'{"id": "1", "answers": [], "data": []}'
    upstream.content = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
        % (len(sound), sound)
    )
    assert served.ask(path, json.dumps(good(path)).encode()) == (200, sound)


@pytest.mark.parametrize(
    ("content", "forever", "status"),
    [
        (b"transfer-encoding: chunked\r\n\r\n", b"3e8\r\n" + b"x" * 1000 + b"\r\n", 502),
        (b"x: ", b"y" * 1000, 502),
        (b"content-length: 9\r\n\r\n1234", b"", 502),
        (b"", b"x-a: b\r\n", 502),
    ],
    ids=["body", "header", "short", "headers"],
)
def test_an_upstream_without_end_is_a_502(
    behind: tuple[Served, Upstream], content: bytes, forever: bytes, status: int
) -> None:
    served, upstream = behind
    upstream.content, upstream.forever = b"HTTP/1.1 200 OK\r\n" + content, forever
    try:
        with bounded():
            found, said = served.ask(PATHS[0], json.dumps(good(PATHS[0])).encode())
    finally:
        upstream.forever = b""
    assert (found, served.errors) == (status, []), said
