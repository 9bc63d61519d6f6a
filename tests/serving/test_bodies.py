"""A body is read at once where it has come, and waited for as long as it may take."""

import asyncio

import pytest

from tutelage_runtime.serving.answering import Refusal
from tutelage_runtime.serving.bodies import read_body
from tutelage_runtime.serving.limits import Limits


def reading(*parts, seconds=5.0, each=0.0):
    """What is read of parts that take so long each, and how often one was given up."""
    left, given_up = list(parts), []

    async def receive():
        try:
            await asyncio.sleep(each)
            await asyncio.sleep(each)
        except BaseException as error:
            given_up.append(type(error))
            raise
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def read():
        try:
            return await read_body({}, receive, Limits(body_seconds=seconds))
        except Refusal as refusal:
            return refusal.code

    return asyncio.run(read()), given_up


@pytest.mark.parametrize("each", [0.0, 0.005])
@pytest.mark.parametrize("parts", [(b"whole",), (b"in ", b"", b"parts")])
def test_what_comes_late_is_waited_for(parts, each):
    assert reading(*parts, each=each) == (b"".join(parts), [])


def test_what_does_not_come_is_given_up():
    assert reading(b"whole", seconds=0.02, each=5.0) == ("body_timeout", [GeneratorExit])
    assert reading(b"in ", b"parts", seconds=0.06, each=0.02)[0] == "body_timeout"


def test_what_has_come_is_read_without_a_clock(monkeypatch):
    async def receive():
        return {"type": "http.request", "body": b"whole"}

    monkeypatch.setattr(asyncio, "timeout_at", None)
    assert asyncio.run(read_body({}, receive, Limits())) == b"whole"
