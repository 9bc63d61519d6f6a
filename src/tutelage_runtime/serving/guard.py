"""Who is let in: the token, the `Host` header, and the page of another site that asks.

A page in a browser on this machine can send requests to a server on loopback. Two things keep a
stranger's page out: names that are not this server's own are refused (DNS rebinding), and so are
requests whose `Origin` is another site, unless a token is asked for, which the page does not have.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from tutelage_runtime.serving.answering import Refusal
from tutelage_runtime.serving.options import Options, is_loopback

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """Checks headers against the options of a server."""

    def __init__(self, options: Options) -> None:
        self._token = None if options.token is None else f"Bearer {options.token}".encode()
        named = tuple(name.lower() for name in options.allowed_hosts)
        own = (*_LOOPBACK, options.host.lower()) if is_loopback(options.host) else ()
        self._hosts = frozenset(own + named)
        self._named = frozenset(named)

    def require_host(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse requests to names that are not this server's, and those of other sites' pages.

        Raises:
            Refusal: 421 or 403.
        """
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._hosts and _name(host) not in self._hosts:
            raise Refusal(
                421,
                "unknown_host",
                f"the Host {host[:100]!r} is not this server's; start it with --allow-host NAME if "
                "it should be",
            )
        origin = headers.get(b"origin")
        if origin is None or self._token is not None:
            return
        given = origin.decode("latin-1").lower().partition("://")[2]
        if given != host and _name(given) not in self._named:
            raise Refusal(403, "foreign_origin", "a page of another site may not ask this server")

    def require_token(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse requests without the token; in constant time.

        Raises:
            Refusal: 401.
        """
        if self._token is None:
            return
        given = headers.get(b"authorization", b"")
        scheme, space, secret = given.partition(b" ")
        if not hmac.compare_digest(scheme.title() + space + secret.strip(), self._token):
            raise Refusal(
                401,
                "invalid_api_key",
                "the token is missing or wrong; send it as Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _name(host: str) -> str:
    """The name of `name:port`."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
