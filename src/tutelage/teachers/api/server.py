"""One server, through the `openai` client: JSON out, JSON in, every refusal told apart.

Rates, retries (429, 5xx, lost connections, `Retry-After`) and timeouts are the client's. The key
comes from an environment variable and stays in memory: messages and replies that repeat it are
cleared of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tutelage.errors import MissingExtra, ModelError, TutelageError
from tutelage.teachers.api.protocol import BadAnswer, Request

if TYPE_CHECKING:
    from openai import APIConnectionError, APIStatusError, AsyncOpenAI

    from tutelage.teachers.api.batches import Named, Take

_WRONG_KEY, _NOT_THERE = (401, 403), (404, 405)
_REJECTED = (400, 413, 415, 422)
_SHOWN_CHARACTERS = 300
_SHORTEST_SECRET = 8


class ServerTrouble(TutelageError, ConnectionError):
    """A server does not answer, or answers with errors, after all retries."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model answers, and how patiently it is asked."""

    base_url: str
    key_variable: str | None
    concurrency: int
    timeout_seconds: float
    retries: int


class Server:
    """Sends requests; made inside the event loop that it is used in."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.key = read_key(endpoint.key_variable)
        """What is sent; empty where there is none."""
        self.secret = self.key if len(self.key) >= _SHORTEST_SECRET else ""
        """What no file and no message may hold: not a word such as EMPTY, which servers of one's
        own are given and which replies may hold for other reasons."""
        self._client = _client(endpoint, self.key or "none")

    async def post(self, request: Request) -> dict[str, Any]:
        """The JSON object with which the server answers a request.

        Raises:
            BadAnswer: It rejects this request, or answers with something else.
            ModelError: It knows no such key, model or path.
            ServerTrouble: It does not answer.
        """
        import openai

        path = request.path
        if path.startswith("/"):
            path = self._endpoint.base_url.removesuffix("/").removesuffix("/v1") + path
        try:
            reply = await self._client.post(
                f"/{path}" if "://" not in path else path, body=request.body, cast_to=object
            )
        except openai.APIStatusError as error:
            raise self._told(error) from None
        except openai.APIConnectionError as error:
            raise self._silent(error) from None
        except (openai.APIResponseValidationError, ValueError) as error:
            raise BadAnswer("unparsable", self._cleared(f"no JSON: {error}")) from None
        if not isinstance(reply, dict):
            raise BadAnswer("unparsable", self._cleared(f"{str(reply)[:80]!r} is no JSON object"))
        return reply

    async def ask_in_batches(
        self,
        requests: Sequence[Named],
        *,
        folder: Path,
        take: Take,
        tell: Callable[[str], None],
    ) -> None:
        """Hand requests over as batches; see `batches.ask_in_batches`.

        Raises:
            ModelError: The server has no batches, refuses one, or it failed.
            ServerTrouble: It does not answer.
        """
        import openai

        from tutelage.teachers.api.batches import ask_in_batches

        try:
            await ask_in_batches(self._client, requests, folder=folder, take=take, tell=tell)
        except openai.APIStatusError as error:
            told = self._told(error)
            raise ModelError(f"batch: {told}") if isinstance(told, BadAnswer) else told from None
        except openai.APIConnectionError as error:
            raise self._silent(error) from None

    def _silent(self, error: APIConnectionError) -> ServerTrouble:
        """What is said where no reply came at all."""
        where, cause = self._endpoint.base_url, error.__cause__ or error
        # With aiohttp a refused connection is called a timeout too, but one of connecting.
        if type(error).__name__ == "APITimeoutError" and "Connect" not in type(cause).__name__:
            return ServerTrouble(
                f"{where} did not answer within {self._endpoint.timeout_seconds:g} s, "
                f"{self._endpoint.retries + 1} times. What it answered is kept: run again to go "
                "on, or raise timeout_seconds"
            )
        return ServerTrouble(
            f"{where} cannot be reached ({self._cleared(str(cause))}). Is it running, and is "
            "base_url right? What it answered is kept: run again to go on"
        )

    def _told(self, error: APIStatusError) -> Exception:
        said = self._cleared(_words(error))
        where, status = self._endpoint.base_url, error.status_code
        if status in _WRONG_KEY:
            variable = self._endpoint.key_variable
            key = (
                f"the key in {variable} is not accepted or may not use this model"
                if variable
                else "it wants a key: name the environment variable that holds it, api_key_env"
            )
            return ModelError(f"{where} refuses ({status}): {key}. It says: {said}")
        if status in _NOT_THERE:
            return ModelError(
                f"{where} has no such endpoint or model ({status}). Check base_url (most end in "
                f"/v1), protocol and model. It says: {said}"
            )
        if status in _REJECTED:
            return BadAnswer("rejected", f"{status}: {said}")
        return ServerTrouble(
            f"{where} answers with {status} after {self._endpoint.retries} retries: {said}. What "
            "it answered before is kept: run again to go on, with a lower concurrency or "
            "requests_per_minute if it limits rates"
        )

    def _cleared(self, text: str) -> str:
        """A text without the key, cut to what a line holds."""
        return (text.replace(self.secret, "[key]") if self.secret else text)[:_SHOWN_CHARACTERS]

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


def read_key(variable: str | None) -> str:
    """The key in an environment variable; empty where none is asked for.

    Raises:
        ModelError: The variable is not set.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ModelError(
            f"the environment variable {variable}, which api_key_env names, is empty or not set: "
            f"export {variable}=..."
        )
    return key


def is_local(base_url: str) -> bool:
    """Whether a server runs on this machine or in its private network, by its address."""
    host = urlsplit(base_url).hostname or ""
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host


def _client(endpoint: Endpoint, key: str) -> AsyncOpenAI:
    try:
        import openai
    except ImportError:
        raise MissingExtra("openai", extra="api", purpose="a teacher behind an API") from None
    options: dict[str, Any] = {}
    with suppress(RuntimeError):  # aiohttp, which takes half the time, is not installed
        options["http_client"] = openai.DefaultAioHttpClient()
    return openai.AsyncOpenAI(
        api_key=key,
        base_url=endpoint.base_url,
        timeout=endpoint.timeout_seconds,
        max_retries=endpoint.retries,
        **options,
    )


def _words(error: APIStatusError) -> str:
    """What a server says of its refusal."""
    body: Any = error.body
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        body = inner.get("message", inner) if isinstance(inner, Mapping) else inner
    return str(body) if body else (error.response.text or error.message)
