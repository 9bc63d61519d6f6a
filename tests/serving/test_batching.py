"""What waits is answered together, at once when idle, and never more than fits."""

import asyncio
import time

import numpy as np
import pytest
from tests.serving.fakes import Fake, shut

from tutelage_runtime.serving.answering import Refusal
from tutelage_runtime.serving.batching import Batcher


def run(work):
    return asyncio.run(work())


async def begun(batcher, text, student):
    """A request that the student has begun with, and does not end before its gate opens."""
    task = asyncio.create_task(batcher.answer(text))
    while not student.calls:
        await asyncio.sleep(0.001)
    return task


async def given(batcher, *requests):
    """Requests that wait."""
    tasks = [asyncio.create_task(batcher.answer(texts)) for texts in requests]
    await asyncio.sleep(0)
    return tasks


def test_texts_that_come_meanwhile_are_answered_in_one_call():
    student = shut(Fake("a", "b"))

    async def work():
        batcher = Batcher(student, batch_texts=8)
        first = await begun(batcher, ["a"], student)
        others = await given(batcher, ["b"], ["a"], ["b"])
        student.gate.set()
        found = await asyncio.gather(first, *others)
        batcher.close()
        return [int(one.probs[0].argmax()) for one in found], batcher.waiting_texts

    assert run(work) == ([0, 1, 0, 1], 0)
    assert student.calls == [["a"], ["b", "a", "b"]]


def test_a_request_that_comes_alone_waits_for_nobody():
    student = Fake("a", "b")

    async def work():
        batcher = Batcher(student)
        await batcher.answer(["a"])
        seconds = []
        for _ in range(20):
            start = time.perf_counter()
            await batcher.answer(["a"])
            seconds.append(time.perf_counter() - start)
        batcher.close()
        return min(seconds)  # the machine may be busy

    assert run(work) < 0.003
    assert all(len(call) == 1 for call in student.calls)


def test_many_texts_of_one_request_go_in_parts_and_come_back_in_order():
    student = Fake("0", "1")
    texts = [str(number % 2) for number in range(11)]

    async def work():
        batcher = Batcher(student, batch_texts=4)
        found = await batcher.answer(texts)
        batcher.close()
        return found.probs.argmax(axis=1)

    np.testing.assert_array_equal(run(work), [int(text) for text in texts])
    assert [len(call) for call in student.calls] == [4, 4, 3]


def test_a_part_that_does_not_fit_waits_for_the_next_call():
    student = shut(Fake("a", "b"))

    async def work():
        batcher = Batcher(student, batch_texts=4)
        first = await begun(batcher, ["a"], student)
        others = await given(batcher, ["a"] * 3, ["b"] * 2)
        student.gate.set()
        await asyncio.gather(first, *others)
        batcher.close()

    run(work)
    assert [len(call) for call in student.calls] == [1, 3, 2]


def test_more_than_the_queue_holds_is_refused_with_the_time_to_come_again():
    student = shut(Fake("a", "b"))

    async def work():
        batcher = Batcher(student, batch_texts=2, queue_texts=3)
        first = await begun(batcher, ["a", "a"], student)
        with pytest.raises(Refusal, match="2 texts wait already") as caught:
            await batcher.answer(["b", "b"])
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
        student.gate.set()
        await first
        found = await batcher.answer(["b"] * 4)  # more than the queue holds, but nobody waits
        batcher.close()
        return len(found.probs)

    assert run(work) == 4


def test_a_text_that_cannot_be_answered_spoils_no_other():
    student = shut(Fake("a", "b", fails="poison"))

    async def work():
        batcher = Batcher(student)
        first = await begun(batcher, ["a"], student)
        others = await given(batcher, ["b"], ["poison"], ["a"])
        student.gate.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        batcher.close()
        return found

    first, second, poisoned, last = run(work)
    assert isinstance(poisoned, RuntimeError)
    assert [int(one.probs.argmax()) for one in (first, second, last)] == [0, 1, 0]


def test_who_has_hung_up_is_not_answered():
    student = shut(Fake("a", "b"))

    async def work():
        batcher = Batcher(student)
        first = await begun(batcher, ["a"], student)
        (gone,) = await given(batcher, ["b"])
        gone.cancel()
        await asyncio.sleep(0)
        student.gate.set()
        await first
        await batcher.answer(["a"])
        batcher.close()
        return batcher.waiting_texts

    assert run(work) == 0
    assert student.calls == [["a"], ["a"]]


def test_a_request_of_a_student_that_was_replaced_meanwhile_is_answered():
    student = Fake("a", "b")

    async def work():
        batcher = Batcher(student)
        waiting = asyncio.create_task(batcher.answer(["a"]))
        await asyncio.sleep(0)
        batcher.close()
        return len((await waiting).probs), len((await batcher.answer(["b"])).probs)

    assert run(work) == (1, 1)


def test_calls_are_observed():
    seen = []

    async def work():
        batcher = Batcher(Fake("a", "b"), observe=lambda texts, seconds: seen.append(texts))
        await batcher.answer(["a", "b"])
        batcher.close()

    run(work)
    assert seen == [2]
