"""Requests that are handed over in one file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.teachers.api.batch_server import BatchServer
from tests.teachers.api.faulty_server import decision, serving

from tutelage.errors import ModelError
from tutelage.teachers.api.batches import FILE, ask_in_batches
from tutelage.teachers.api.protocol import Request

REQUESTS = [
    (bytes([number]) * 16, Request("decisions", {"model": "m", "input": f"text {number}"}))
    for number in range(7)
]


def hand_over(server: BatchServer, folder: Path) -> tuple[dict[bytes, Any], list[str]]:
    found: dict[bytes, Any] = {}
    said: list[str] = []

    async def work() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=server.base_url) as client:
            await ask_in_batches(
                client,
                REQUESTS,
                folder=folder,
                take=found.__setitem__,
                tell=said.append,
                first_wait=0.01,
            )

    asyncio.run(work())
    return found, said


def test_replies_come_under_their_names(tmp_path: Path) -> None:
    with serving(BatchServer()) as server:
        found, said = hand_over(server, tmp_path)
    assert found == {name: decision(request.body["input"]) for name, request in REQUESTS}
    assert server.asked == 7
    assert "Handed over 7 requests as batch batch-0" in said[0]
    assert not (tmp_path / FILE).exists()


def test_a_kill_while_waiting_hands_nothing_over_twice(tmp_path: Path) -> None:
    with serving(BatchServer(looks=1000)) as server:
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(asyncio.to_thread(hand_over_killed, server, tmp_path), 30))
        assert (tmp_path / FILE).exists()
        server.batches["batch-0"]["left"] = 0
        found, said = hand_over(server, tmp_path)
    assert len(found) == 7
    assert server.asked == 7
    assert not any("Handed over" in line for line in said)


def hand_over_killed(server: BatchServer, folder: Path) -> None:
    async def work() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=server.base_url) as client:
            waiting = ask_in_batches(
                client, REQUESTS, folder=folder, take=lambda *_: None, tell=print, first_wait=0.01
            )
            await asyncio.wait_for(waiting, 0.5)

    asyncio.run(work())


def test_requests_that_failed_are_not_taken(tmp_path: Path) -> None:
    with serving(BatchServer(fails=2)) as server:
        found, _ = hand_over(server, tmp_path)
    assert sorted(found) == [name for name, _ in REQUESTS[2:]]


def test_a_batch_that_failed_is_told(tmp_path: Path) -> None:
    failing = serving(BatchServer(status="failed"))
    with failing as server, pytest.raises(ModelError, match="batch-0 failed: no such model"):
        hand_over(server, tmp_path)
    assert not (tmp_path / FILE).exists(), "the next run hands over anew"
