"""Requests handed over in one file, answered within a day at a lower price: `/v1/batches`.

In: requests by name. Out: replies by name, as the finished batch holds them. What has been handed
over is written down first, so that a kill while waiting hands nothing over twice: the next run goes
on waiting for the same batch.

Source: OpenAI's batch API, which vLLM's and others' servers follow: a file of lines `{custom_id,
method, url, body}`, uploaded with purpose `batch`; lines `{custom_id, response: {status_code,
body}, error}` come back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import ModelError
from tutelage.runs.files import atomic_write_json
from tutelage.runs.reading import read_json
from tutelage.teachers.api.protocol import Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

FILE = "batch.json"
MOST_REQUESTS = 20_000
"""In one batch; OpenAI takes 50,000 and 200 MB."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 60.0
_ENDED = ("completed", "failed", "expired", "cancelled")

Named = tuple[bytes, Request]
Take = Callable[[bytes, Mapping[str, Any]], None]


async def ask_in_batches(
    client: AsyncOpenAI,
    requests: Sequence[Named],
    *,
    folder: Path,
    take: Take,
    tell: Callable[[str], None],
    first_wait: float = FIRST_WAIT_SECONDS,
) -> None:
    """Hand requests over, wait, and take the replies; first those of a batch that was handed over
    before.

    Args:
        client: Of the server.
        requests: With the names under which replies are taken; all of one path.
        folder: Where it is written down what was handed over.
        take: Given a name and the JSON of a reply.
        tell: Given a line now and then.
        first_wait: Seconds before the first look; later ones are further apart.

    Raises:
        ModelError: The server has no batches, refuses one, or it failed as a whole.
    """
    state = folder / FILE
    answered: set[bytes] = set()

    def taken(name: bytes, reply: Mapping[str, Any]) -> None:
        answered.add(name)
        take(name, reply)

    if state.is_file():
        await _finish(client, state, taken, tell, first_wait)
    left = [one for one in requests if one[0] not in answered]
    for start in range(0, len(left), MOST_REQUESTS):
        await _hand_over(client, left[start : start + MOST_REQUESTS], state, tell)
        await _finish(client, state, taken, tell, first_wait)


async def _hand_over(
    client: AsyncOpenAI, requests: Sequence[Named], state: Path, tell: Callable[[str], None]
) -> None:
    paths = {request.path for _, request in requests}
    (path,) = paths  # protocols have one each
    url = path if path.startswith("/") else f"/v1/{path}"
    lines = "".join(
        json.dumps(
            {"custom_id": name.hex(), "method": "POST", "url": url, "body": dict(request.body)},
            separators=(",", ":"),
        )
        + "\n"
        for name, request in requests
    )
    file = await client.files.create(file=("requests.jsonl", lines.encode()), purpose="batch")
    endpoint: Any = url  # decisions are newer than the client's list
    batch = await client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h"
    )
    atomic_write_json(state, {"batch": batch.id, "requests": len(requests)})
    tell(f"Handed over {len(requests):,} requests as batch {batch.id}; a kill loses nothing now")


async def _finish(
    client: AsyncOpenAI,
    state: Path,
    take: Take,
    tell: Callable[[str], None],
    wait: float,
) -> None:
    """Wait for the batch that is written down, take what it holds, and forget it."""
    import openai

    known = read_json(state)
    while True:
        try:
            batch = await client.batches.retrieve(known["batch"])
        except openai.NotFoundError:  # removed, or another account's
            tell(f"Batch {known['batch']} is not there any more: its requests are handed over anew")
            state.unlink()
            return
        if batch.status in _ENDED:
            break
        counts = batch.request_counts
        done = f"{counts.completed:,} of {counts.total:,}, " if counts else ""
        tell(f"Batch {batch.id}: {done}{batch.status}")
        await asyncio.sleep(wait)
        wait = min(LONGEST_WAIT_SECONDS, 1.5 * wait)
    if batch.output_file_id:
        content = await client.files.content(batch.output_file_id)
        for name, reply in _replies(content.text):
            take(name, reply)
    state.unlink()
    if batch.status == "failed":
        errors = [one.message for one in (batch.errors.data if batch.errors else None) or ()]
        raise ModelError(
            f"batch {batch.id} failed: {'; '.join(filter(None, errors))[:300] or 'no reason given'}"
        )


def _replies(text: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Names and bodies of the requests that were answered; others are asked about again."""
    for line in text.splitlines():
        try:
            told = json.loads(line)
            response, name = told.get("response") or {}, bytes.fromhex(told["custom_id"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        body = response.get("body")
        if response.get("status_code") == 200 and isinstance(body, dict):
            yield name, body
