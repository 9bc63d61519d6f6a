"""A candidate is compared with what clients got, and nothing that befalls it reaches a client."""

from __future__ import annotations

import asyncio
import json
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
    Answered,
    Asked,
    AskedQuestion,
    RawReply,
    RawRequest,
    Reply,
)
from tutelage_runtime.serving.metrics import Metrics
from tutelage_runtime.serving.students import Source, Students
from tutelage_runtime.shadowing import (
    Compared,
    RecordError,
    Shadowing,
    read_record,
    record_path,
    write_record,
)

Scene = Callable[[Any], Awaitable[None]]
REQUEST = RawRequest("/v1/decisions", [], b"{}", "id-1")


class Opposite(Fake):
    """Sure of the other one of two labels."""

    def answer(self, texts):
        answers = super().answer(texts)
        return type(answers)(answers.probs[:, ::-1].copy(), answers.features)


def asked(text: str, options: tuple[str, ...] = ("cat", "dog")) -> Asked:
    return Asked((text,), (AskedQuestion("choice", options),))


class Alone:
    """Students without a cascade; so a scene has them in hand."""

    def __init__(self, students: Students) -> None:
        self.students = students
        self.answer = students.answer

    @property
    def served(self):
        return self.students.served

    async def close(self):
        pass


def play(
    scene: Scene,
    candidate: Any,
    *,
    now: Any = None,
    folders: tuple[str, ...] = ("next",),
    state: Path | None = None,
    inner: Any = None,
) -> Any:
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
        serving = [Fake("cat", "dog", version="now")] if now is None else now
        students = Students([Source(Path("now"))], load=lambda _: ("pets", serving[-1]))
        await students.start()
        made = around(folders, inner, state=state, load=load)(students, metrics, log)
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
        assert "agrees with the student now on" in made.served[0].notice

    _, text = play(scene, Fake("dog", "cat", version="next"), state=tmp_path)
    record = read_record(tmp_path, "next")
    assert record is not None
    assert record.students == {"now": Compared(4, 4, 0.0, 4)}
    name = 'tutelage_candidate_answers_total{by="student",candidate="next",outcome="agreed"'
    assert f'{name},said="dog"}} 2.0' in text
    play(scene, Opposite("cat", "dog", version="next"), state=tmp_path)
    record = read_record(tmp_path, "next")
    assert record is not None
    beside = record.students["now"]
    assert (record.answers, beside.agreed) == (8, 4)
    assert beside.distance == pytest.approx(0.4)
    assert beside.interval == pytest.approx((0.2152, 0.7848), abs=1e-3)


def test_it_is_not_compared_with_itself_and_other_students_are_kept_apart():
    next_one, seen = Fake("cat", "dog", version="next"), {}
    now: list[Fake] = [Opposite("cat", "dog", version="old")]

    def inner(students, *_):
        seen["students"] = students
        return Alone(students)

    async def scene(made):
        for student in (None, next_one, Fake("cat", "dog", version="new")):
            if student is not None:
                now.append(student)
                await seen["students"].reload()
            for text in ("a cat", "a dog"):
                await made.answer(asked(text), REQUEST)
            await made.candidates[0].settled()
            seen[now[-1].version] = made.served[0].notice
        record = made.candidates[0].record
        assert {one: (each.agreed, each.answers) for one, each in record.students.items()} == {
            "old": (0, 2),
            "new": (2, 2),
        }
        assert (record.answers, record.unmatched, record.beside(["new"]).answers) == (4, 0, 2)

    _, text = play(scene, next_one, now=now, inner=inner)
    assert len(next_one.calls) == 2 + 2 + 4  # first texts, its own requests, those beside
    assert seen["next"] == "Candidate next: in service."
    assert "0 of 2" in seen["old"]
    assert "2 of 2" in seen["new"]
    assert "old" not in seen["new"]
    name = 'tutelage_candidate_agreement{bound="share",by="student",candidate="next"'
    assert f"{name}}} 1.0" in text  # of the one in service


def test_of_a_reply_by_several_its_own_part_is_left_out():
    async def scene(made):
        (candidate,) = made.candidates
        question = AskedQuestion("choice", ("cat", "dog"))
        parts = [Answered(("cat", "dog"), [[0.9, 0.1]], one) for one in ("next", "now")]
        candidate.offer(
            Asked(("a cat",), (question, question)), "/v1/decisions", Reply(tuple(parts), "both")
        )
        await candidate.settled()
        assert set(candidate.record.students) == {"now"}
        assert candidate.record.answers == 1

    play(scene, Fake("cat", "dog", version="next"))


def test_what_it_says_is_counted_by_its_own_labels_however_clients_write_them():
    labels = ("caf\u00e9", "bar")

    async def scene(made):
        for options in (labels, ("cafe\u0301", "bar")):
            await made.answer(asked("in the caf\u00e9", options), REQUEST)
        await made.answer(
            Asked(("a bar",), (AskedQuestion("predicate", instructions=" bar "),)), REQUEST
        )
        await made.candidates[0].settled()

    _, text = play(scene, Fake(*labels, version="next"), now=[Fake(*labels, version="now")])
    said = {
        line.partition('said="')[2].partition('"')[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("tutelage_candidate_answers_total{")
    }
    assert said == {"caf\u00e9": 2.0, "yes": 1.0}


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
        assert made.candidates[0].record.upstream == Compared(1, 1)

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


def test_one_that_is_named_twice_is_compared_once():
    async def scene(made):
        async with asyncio.timeout(10):
            while any(one.asked is None for one in made.candidates):
                await asyncio.sleep(0.005)
        await made.answer(asked("a cat"), REQUEST)
        await made.candidates[0].settled()

    lines, text = play(scene, Fake("cat", "dog", version="next"), folders=("next", "again"))
    name = 'tutelage_candidate_requests_total{candidate="next",outcome="failed"}'
    assert text.count(name) == 1
    (refused,) = [one for one in lines if one["event"] == "candidate_refused"]
    assert "holds next, as another --candidate does" in refused["message"]


def test_other_questions_are_none_of_its():
    async def scene(made):
        await made.answer(asked("a cat"), REQUEST)
        await made.candidates[0].settled()
        assert (made.candidates[0].record.answers, made.candidates[0].record.unmatched) == (0, 1)

    play(scene, Fake("cow", "pig", version="next"))


def test_one_with_too_many_texts_waiting_drops_requests():
    slow, many = Fake("cat", "dog", version="next"), 700

    async def scene(made):
        shut(slow)
        threading.Timer(15, slow.gate.set).start()
        classes = Asked(("a cat",) * many, (AskedQuestion("classes"),))
        reply = Reply((Answered(("cat", "dog"), [[0.9, 0.1]] * many, "now"),), "tutelage/pets@now")
        for _ in range(3):  # they are asked together
            made.candidates[0].offer(classes, "/classify", reply)
        async with asyncio.timeout(10):
            while made.candidates[0].record.dropped < 2:
                await asyncio.sleep(0.005)
        slow.gate.set()
        await made.candidates[0].settled()
        record = made.candidates[0].record
        assert (record.answers, record.dropped, record.unmatched) == (many, 2, 0)
        assert "2 requests dropped" in str(record)

    play(scene, slow)


def test_what_is_no_record_is_refused(tmp_path: Path):
    assert read_record(tmp_path, "v") is None
    record_path(tmp_path, "v").write_text('{"format": 2, "student": "w"}')
    with pytest.raises(RecordError, match="remove it"):
        read_record(tmp_path, "v")


@pytest.mark.parametrize(
    "changed",
    [
        {"upstream": {"distances": "x"}},
        {"upstream": {"distances": float("nan")}},
        {"upstream": {"distances": float("inf")}},
        {"upstream": {"answers": 10**400}},
        {"upstream": {"answers": 1, "agreed": 2}},
        {"upstream": {"with_distance": 1.5}},
        {"students": {"now": {"distances": 10**400}}},
        {"students": []},
        {"failed": 1 << 53},
        {"dropped": -1},
        {"unmatched": "1"},
    ],
    ids=str,
)
def test_a_record_with_numbers_that_none_has_is_refused(changed: dict[str, Any], tmp_path: Path):
    write_record(tmp_path, Shadowing("v", "", {"now": Compared(2, 1, 0.5, 2)}, Compared(1, 1)))
    found = read_record(tmp_path, "v")
    assert found is not None
    assert found.answers == 3
    path = record_path(tmp_path, "v")
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changed), "utf-8")
    with pytest.raises(RecordError, match="remove it"):
        read_record(tmp_path, "v")
