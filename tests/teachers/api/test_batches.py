"""Requests that are handed over in one file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from tests.teachers.api.asking import examples, teacher_of
from tests.teachers.api.batch_server import BatchServer
from tests.teachers.api.faulty_server import FaultyServer, decision, probabilities, serving

from tutelage.errors import ModelError
from tutelage.teachers.api import batches
from tutelage.teachers.api.batches import FILE, ask_in_batches
from tutelage.teachers.api.money import Budget
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


def test_a_batch_that_is_gone_is_handed_over_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"batch": "batch-9", "requests": 7}', "utf-8")
    with serving(BatchServer()) as server:
        found, said = hand_over(server, tmp_path)
    assert len(found) == 7
    assert "batch-9 is not there any more" in said[0]


def test_requests_that_failed_are_not_taken(tmp_path: Path) -> None:
    with serving(BatchServer(fails=2)) as server:
        found, _ = hand_over(server, tmp_path)
    assert sorted(found) == [name for name, _ in REQUESTS[2:]]


def test_a_batch_that_failed_is_told(tmp_path: Path) -> None:
    failing = serving(BatchServer(status="failed"))
    with failing as server, pytest.raises(ModelError, match="batch-0 failed: no such model"):
        hand_over(server, tmp_path)
    assert not (tmp_path / FILE).exists(), "the next run hands over anew"


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches.ask_in_batches, "__kwdefaults__", {"first_wait": 0.01})


def test_a_teacher_hands_all_over_and_asks_again_about_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    rows = examples(9)
    with serving(BatchServer(fails=2)) as server:
        teacher = teacher_of(server.base_url, tmp_path, batch=True, bad_answer_retries=6)
        found = [place for places, _ in teacher.answers(rows) for place in places]
        # The batch loses two, and so does that of the two, until nobody asks any more.
        assert len(found) == 7
        assert set(teacher.unanswered.values()) == {"rejected"}
        assert server.calls == 0, "nothing is asked one by one"
        server.fails = 0
        np.testing.assert_allclose(
            teacher.label(rows), [probabilities(one.text) for one in rows], atol=1e-6
        )
    assert teacher.account["requests"] == 9
    assert teacher.account["latency_ms"] is None


def test_a_budget_holds_for_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    with serving(BatchServer()) as server:
        teacher = teacher_of(
            server.base_url, tmp_path, batch=True, budget=Budget(requests=5, then="train")
        )
        answered = [place for places, _ in teacher.answers(examples(9)) for place in places]
    assert server.asked == 5
    assert len(answered) == 5
    assert set(teacher.unanswered.values()) == {"over budget"}


def test_a_server_without_batches_is_told(tmp_path: Path) -> None:
    with serving(FaultyServer(fault=lambda *_: 404)) as server:
        teacher = teacher_of(server.base_url, tmp_path, batch=True)
        with pytest.raises(ModelError, match="no such endpoint or model"):
            teacher.label(examples(3))
