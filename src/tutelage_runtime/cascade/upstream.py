"""The service behind a cascade: requests go on to it and its responses come back, byte for byte.

In: what a client sent. Out: what the upstream said, its errors too, or a `Refusal` where it said
nothing. Keys in the client's headers are passed on and never looked at; redirects are passed back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tutelage_runtime.serving.answering import RawReply, RawRequest, Refusal

if TYPE_CHECKING:
    from aiohttp import ClientSession

OF_ONE_CONNECTION = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
    )
)
"""Headers that belong to one hop, RFC 9110, 7.6.1; the length is set from the body."""
_ONLY_OURS = OF_ONE_CONNECTION | {b"host", b"expect"}
_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_PIECE = 1 << 16
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A name of a header, RFC 9110, 5.6.2; others are not passed on, nor values with `_CONTROL`."""
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamOptions:
    """Where the upstream is and how long it is waited for."""

    url: str
    """Its base URL; a `/v1` at its end is that of the requests' paths."""
    seconds: float = 60.0
    """For a whole response: 504 after that."""
    connect_seconds: float = 5.0
    """For a connection: 502 after that."""
    at_once: int = 64
    """Requests under way; more wait their turn, within `seconds`."""
    response_bytes: int = 32 << 20
    """Of one response: more is a 502."""
    key: str | None = None
    """Sent as bearer token in place of the client's; None: the client's own goes on."""

    def __post_init__(self) -> None:
        """Refuse what is no URL of a service."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError(
                f"the upstream {self.url!r} is no base URL; give one such as https://api.openai.com"
            )
        if parts.username is not None or parts.password is not None:
            raise ValueError("the upstream's URL holds a password: name an environment variable")


class Upstream:
    """Connections to an upstream; made and closed in the event loop that uses them.

    Args:
        options: Where it is.
    """

    def __init__(self, options: UpstreamOptions) -> None:
        self.options = options
        self._root = options.url.rstrip("/").removesuffix("/v1")
        self._session: ClientSession | None = None
        self._turns = asyncio.Semaphore(options.at_once)

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def forward(self, request: RawRequest) -> RawReply:
        """The upstream's response to a request.

        Raises:
            Refusal: 502, it cannot be reached or its response is none; 504, it takes too long.
        """
        try:
            async with asyncio.timeout(self.options.seconds), self._turns:
                return await self._forward(request)
        except TimeoutError:
            raise _unreached(504, "upstream_timeout", self.options) from None

    async def _forward(self, request: RawRequest) -> RawReply:
        from aiohttp import ClientError
        from yarl import URL

        query = f"?{request.query.decode('latin-1')}" if request.query else ""
        try:
            async with self._opened().request(
                request.method,
                URL(f"{self._root}{request.path}{query}", encoded=True),
                data=request.body,
                headers=self._headers(request.headers),
                skip_auto_headers=_AUTOMATIC,
                allow_redirects=False,
            ) as response:
                if not 200 <= response.status < 600:  # 101 would make the client's another protocol
                    raise _unreached(502, "upstream_unreadable", self.options)
                body = bytearray()
                async for piece in response.content.iter_chunked(_PIECE):
                    body += piece
                    if len(body) > self.options.response_bytes:
                        raise _unreached(502, "upstream_response_too_large", self.options)
                headers = [
                    (name.lower(), value)
                    for name, value in response.raw_headers
                    if name.lower() not in OF_ONE_CONNECTION
                    and _TOKEN.fullmatch(name)
                    and not _CONTROL.search(value)
                ]
                return RawReply(response.status, headers, bytes(body))
        except (ClientError, OSError, ValueError):
            raise _unreached(502, "upstream_unreachable", self.options) from None

    def _headers(self, sent: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
        """What goes on, in its order."""
        dropped = _ONLY_OURS | ({b"authorization"} if self.options.key is not None else set())
        headers = [
            (name.decode("ascii"), _text(value)) for name, value in sent if name not in dropped
        ]
        if self.options.key is not None:
            headers.append(("authorization", f"Bearer {self.options.key}"))
        return headers

    def _opened(self) -> ClientSession:
        if self._session is None:
            from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

            self._session = ClientSession(
                connector=TCPConnector(limit=0, keepalive_timeout=30.0),
                timeout=ClientTimeout(total=None, sock_connect=self.options.connect_seconds),
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


def _text(value: bytes) -> str:
    """The value of a header as the client library takes it, which writes UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _unreached(status: int, code: str, options: UpstreamOptions) -> Refusal:
    where = urlsplit(options.url).hostname
    why = {
        "upstream_timeout": f"did not answer within {options.seconds:g} s",
        "upstream_unreachable": "could not be reached",
        "upstream_response_too_large": "sent more than is taken",
        "upstream_unreadable": "sent a status that is no answer",
    }[code]
    return Refusal(
        status,
        code,
        f"the upstream {where} {why}, and the students here do not answer this alone: try again",
        headers={"Retry-After": "5"},
    )
