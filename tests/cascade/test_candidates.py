"""A candidate is compared with what clients got, and nothing that befalls it reaches a client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cascade.world import said as upstream_said
from tests.serving.fakes import Fake, shut

from tutelage_runtime.bundle import BundleError
from tutelage_runtime.cascade.candidates import WAITING, around
from tutelage_runtime.serving.answering import (
    Asked,
    AskedQuestion,
    RawReply,
    RawRequest,
    Reply,
)
from tutelage_runtime.serving.metrics import Metrics
from tutelage_runtime.serving.students import Source, Students
from tutelage_runtime.shadowing import Compared, RecordError, read_record, record_path

Scene = Callable[[Any], Awaitable[None]]
REQUEST = RawRequest("/v1/decisions", [], b"{}", "id-1")


class Opposite(Fake):
    """Sure of the other one of two labels."""

    def answer(self, texts):
        answers = super().answer(texts)
        return type(answers)(answers.probs[:, ::-1].copy(), answers.features)


def asked(text: str, options: tuple[str, ...] = ("cat", "dog")) -> Asked:
    return Asked((text,), (AskedQuestion("choice", options),))


def play(scene: Scene, candidate: Any, *, state: Path | None = None, inner: Any = None) -> Any:
    """Play a scene with a student, a candidate, and what was logged and counted of it."""
    lines: list[dict[str, Any]] = []
    metrics = Metrics()

    def load(folder: Path) -> tuple[str, Any]:
        if isinstance(candidate, Exception):
            raise candidate
        return "next", candidate

    def log(event: str, /, **fields: Any) -> None:
        lines.append({"event": event, **fields})

    async def whole() -> None:
        now = Fake("cat", "dog", version="now")
        students = Students([Source(Path("now"))], load=lambda _: ("pets", now))
        await students.start()
        made = around(["next"], inner, state=state, load=load)(students, metrics, log)
        while made.candidates[0].record is None and not lines:
            await asyncio.sleep(0.005)
        try:
            await scene(made)
        finally:
            await made.close()
            students.close()

    asyncio.run(whole())
    return lines, metrics.text().decode()


def test_it_is_compared_with_the_student_and_its_record_outlives_a_restart(tmp_path: Path):
    async def scene(made):
        for text in ("a cat", "a dog", "a dog"):
            reply = await made.answer(asked(text), REQUEST)
            assert isinstance(reply, Reply)
            assert reply.model.endswith("@now")
        await made.answer(asked("a cat", ("dog", "cat")), REQUEST)  # in another order
        await made.candidates[0].settled()
        assert "agrees with the student on" in made.served[0].notice

    _, text = play(scene, Fake("dog", "cat", version="next"), state=tmp_path)
    record = read_record(tmp_path, "next")
    assert record is not None
    assert record.compared["student"] == Compared(4, 4, 0.0, 4)
    name = 'tutelage_candidate_answers_total{by="student",candidate="next",outcome="agreed"'
    assert f'{name},said="dog"}} 2.0' in text
    play(scene, Opposite("cat", "dog", version="next"), state=tmp_path)
    record = read_record(tmp_path, "next")
    assert record is not None
    assert (record.answers, record.compared["student"].agreed) == (8, 4)
    assert record.compared["student"].distance == pytest.approx(0.4)
    assert record.compared["student"].interval == pytest.approx((0.2152, 0.7848), abs=1e-3)


def test_where_the_upstream_answered_it_is_compared_with_that():
    class There:
        served = ()

        async def answer(self, asked, request):
            return RawReply(statuses.pop(), (), upstream_said("dog"))

        async def close(self):
            pass

    async def scene(made):
        while statuses:
            await made.answer(asked("a dog"), REQUEST)
        await made.candidates[0].settled()
        assert made.candidates[0].record.compared["upstream"] == Compared(1, 1)

    statuses = [500, 200]
    play(scene, Fake("cat", "dog", version="next"), inner=lambda *_: There())


def test_one_that_hangs_loses_requests_and_no_client_waits():
    slow = Fake("cat", "dog", version="next")

    async def scene(made):
        shut(slow)
        threading.Timer(15, slow.gate.set).start()
        async with asyncio.timeout(5):
            for _ in range(WAITING + 40):
                assert isinstance(await made.answer(asked("a cat"), REQUEST), Reply)
        dropped = made.candidates[0].record.dropped
        slow.gate.set()
        assert 40 - 16 <= dropped <= 40

    play(scene, slow)


def test_one_that_fails_is_counted_and_told_once():
    async def scene(made):
        for text in ("a bad cat", "a bad dog", "a cat"):
            assert isinstance(await made.answer(asked(text), REQUEST), Reply)
        await made.candidates[0].settled()

    lines, text = play(scene, Fake("cat", "dog", version="next", fails="bad"))
    assert 'tutelage_candidate_requests_total{candidate="next",outcome="failed"} 2.0' in text
    assert [one["event"] for one in lines].count("candidate_failed") == 1


def test_one_that_cannot_be_loaded_does_not_keep_the_others_from_serving():
    async def scene(made):
        assert isinstance(await made.answer(asked("a cat"), REQUEST), Reply)
        assert made.served[0].notice is None

    lines, _ = play(scene, BundleError("no exported student"))
    assert [(one["event"], one["message"]) for one in lines] == [
        ("candidate_refused", "no exported student")
    ]


def test_other_questions_are_none_of_its():
    async def scene(made):
        await made.answer(asked("a cat"), REQUEST)
        await made.candidates[0].settled()
        assert (made.candidates[0].record.answers, made.candidates[0].record.unmatched) == (0, 1)

    play(scene, Fake("cow", "pig", version="next"))


def test_what_is_no_record_is_refused(tmp_path: Path):
    assert read_record(tmp_path, "v") is None
    record_path(tmp_path, "v").write_text('{"format": 1, "student": "w"}')
    with pytest.raises(RecordError, match="remove it"):
        read_record(tmp_path, "v")
