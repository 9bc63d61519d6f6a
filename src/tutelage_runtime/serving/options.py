"""Everything that can be chosen about a server, in one place."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from tutelage_runtime.serving.errors import ServeError
from tutelage_runtime.serving.limits import Limits


@dataclass(frozen=True, slots=True)
class Options:
    """How a server listens, what it lets in, and what it tells."""

    host: str = "127.0.0.1"
    """The address to listen at. Other than loopback it needs a token, or `no_token`."""
    port: int = 8000
    """0 takes a free one, which the log names."""
    token: str | None = field(default=None, repr=False)
    """Bearer token that clients must send; None: none is asked for."""
    no_token: bool = False
    """Listen beyond loopback without a token, because something in front asks for one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names in the `Host` header that are taken besides loopback's own; where a server listens
    beyond loopback and none is given, any is."""
    limits: Limits = field(default_factory=Limits)
    """How large a request may be."""
    batch_texts: int = 64
    """That are answered in one call, at most."""
    queue_texts: int = 1024
    """That may wait for each student; more get 503 and `Retry-After`."""
    connections: int = 1024
    """Open at a time; more get 503."""
    keep_alive_seconds: int = 30
    """For which a connection may be idle."""
    shutdown_seconds: int = 20
    """Within which requests under way may finish after SIGTERM."""
    watch: bool = False
    """Load a student again when its folder has another `student.json`."""
    log_requests: bool = True
    """A line for every request."""
    log_texts: bool = False
    """Texts of requests in these lines."""

    def __post_init__(self) -> None:
        if self.token is not None and not self.token.strip():
            raise ServeError("the token is empty: give one of 16 characters or more")
        if not is_loopback(self.host) and self.token is None and not self.no_token:
            raise ServeError(
                f"{self.host} can be reached from other machines, and no token is asked for: give "
                "--token-env NAME with the name of an environment variable that holds one, or "
                "--no-token if something in front of this server asks"
            )
        if self.queue_texts < self.batch_texts:
            raise ServeError(
                f"a queue of {self.queue_texts} texts cannot fill a batch of {self.batch_texts}: "
                "give --queue-texts at least --batch-texts"
            )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def token_of(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """The token that an environment variable holds.

    Raises:
        ServeError: It is not set, too short to be a secret, or nothing that a header can hold.
    """
    token = environment.get(variable, "").strip()
    if not token:
        raise ServeError(
            f"the environment variable {variable} is not set: set it to the token that clients "
            f"send, for instance {variable}=$(openssl rand -hex 32)"
        )
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise ServeError(
            f"the token in {variable} must be 16 visible ASCII characters or more; make one with "
            "openssl rand -hex 32"
        )
    return token
