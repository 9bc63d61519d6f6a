"""The page at `/`: type a text, see the distribution, which words did it, and who answered.

Three files without a build step and without anything from elsewhere; it asks the same routes that
clients ask, so that what it shows went the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
)


@cache
def _file(name: str) -> bytes:
    return files("tutelage_runtime.serving.page").joinpath(name).read_bytes()


FILES: Mapping[str, Callable[[], tuple[bytes, bytes]]] = MappingProxyType(
    {
        "/": lambda: (_file("index.html"), b"text/html; charset=utf-8"),
        "/page.css": lambda: (_file("page.css"), b"text/css; charset=utf-8"),
        "/page.js": lambda: (_file("page.js"), b"text/javascript; charset=utf-8"),
    }
)
"""Content and kind of each file, by path."""
