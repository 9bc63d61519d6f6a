"""What is sure is answered here, the rest there; what was promised is watched."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from tests.cascade.world import (
    SURE,
    UNSURE,
    agreeing,
    asked,
    certificate,
    disagreeing,
    run,
    said,
)

from tutelage_runtime.cascade.audits import Audits
from tutelage_runtime.cascade.recording import Recorder
from tutelage_runtime.novelty import Novelty
from tutelage_runtime.serving.answering import RawReply, Refusal, Reply


def test_sure_answers_stay_here_and_others_go_on_unchanged():
    async def scene(cascade, seen, got):
        reply = await cascade.answer(*asked(f"cat {SURE}"))
        assert isinstance(reply, Reply)
        assert reply.answers[0].probs[0][0] == pytest.approx(SURE)
        assert got == []
        question, raw = asked(f"dog {UNSURE}")
        reply = await cascade.answer(question, raw)
        assert isinstance(reply, RawReply)
        assert reply.body == said("dog")
        ((path, headers, body),) = got
        assert (path, body) == ("/v1/decisions?api-version=%7E1", raw.body)
        sent = {name.lower(): value for name, value in headers}
        assert sent[b"authorization"] == b"Bearer sk-client"
        assert sent[b"x-odd"] == "é".encode()
        assert sent[b"host"].startswith(b"127.0.0.1")
        assert b"user-agent" not in sent

    seen = run(scene)
    assert seen.passes == [("student", "sure"), ("upstream", "unsure")]


def test_the_response_comes_back_byte_for_byte():
    async def compressed(request):
        return web.Response(
            status=418,
            body=b"\x1f\x8bnot really",
            headers={"Content-Encoding": "gzip", "X-Twice": "a", "Set-Cookie": "k=v"},
        )

    async def scene(cascade, seen, got):
        reply = await cascade.answer(*asked(f"dog {UNSURE}"))
        assert (reply.status, reply.body) == (418, b"\x1f\x8bnot really")
        headers = dict(reply.headers)
        assert headers[b"content-encoding"] == b"gzip"
        assert headers[b"set-cookie"] == b"k=v"
        assert b"transfer-encoding" not in headers

    run(scene, answer=compressed)


def test_a_student_without_a_certificate_is_never_alone():
    async def scene(cascade, seen, got):
        assert isinstance(await cascade.answer(*asked(f"cat {SURE}")), RawReply)

    seen = run(scene, certificates=[certificate(student="11" * 8)])
    assert seen.passes == [("upstream", "no_certificate")]


def test_questions_that_no_student_knows_go_on():
    async def scene(cascade, seen, got):
        await cascade.answer(*asked("cat 0.99", options=["cat", "cow"]))
        refused = Refusal(422, "unsupported_input", "an image")
        await cascade.unread(refused, asked("cat 0.99")[1])

    seen = run(scene)
    assert seen.passes == [("upstream", "question_not_found"), ("upstream", "unsupported_input")]


def test_a_broken_contract_ends_the_student_and_a_restart_does_not_forget(tmp_path: Path):
    file, told = tmp_path / "audits.json", []

    async def scene(cascade, seen, got):
        for _ in range(8):
            assert isinstance(await cascade.answer(*asked(f"cat {SURE}")), RawReply)

    seen = run(scene, answer=disagreeing, draw=lambda: 0.0, audits=Audits(file, tell=told.append))
    assert seen.comparisons == [(False, True)] * 8
    assert seen.broken
    assert len(told) == 1
    assert "contract of pets is broken" in told[0]

    async def later(cascade, seen, got):
        assert isinstance(await cascade.answer(*asked(f"cat {SURE}")), RawReply)

        assert "contract is broken" in cascade.served[0].notice

    seen = run(later, audits=Audits(file))
    assert seen.passes == [("upstream", "contract_broken")]

    async def renewed(cascade, seen, got):
        assert isinstance(await cascade.answer(*asked(f"cat {SURE}")), Reply)
        assert cascade.served[0].notice is None

    run(renewed, audits=Audits(file), certificates=[certificate(values={"sum": "two"})])


@pytest.mark.parametrize(("over", "observed"), [("all", 2), ("answered", 1)])
def test_what_is_audited_follows_the_promise(over, observed):
    audits = Audits(None)
    promised = certificate(over=over)

    async def scene(cascade, seen, got):
        await cascade.answer(*asked(f"cat {SURE}"))
        await cascade.answer(*asked(f"cat {UNSURE}"))

    run(scene, answer=disagreeing, draw=lambda: 0.0, audits=audits, certificates=[promised])
    audit = audits.of(promised)
    assert (audit.observed, audit.disagreed) == (observed, 1)


@pytest.mark.parametrize("status", [101, 600, 999])
def test_a_status_that_is_no_answer_is_not_passed_on(status):
    """A 101 would make the connection of the client one of another protocol."""

    async def odd(request):
        response = web.Response(body=b"{}")
        response.set_status(status, "Odd")
        return response

    async def scene(cascade, seen, got):
        with pytest.raises(Refusal, match="sent a status that is no answer") as caught:
            await cascade.answer(*asked(f"cat {UNSURE}"))
        assert caught.value.status == 502

    run(scene, answer=odd)


def test_a_gate_of_other_features_is_no_reason_to_fail_a_client():
    gate = Novelty(np.eye(3, dtype=np.float32), 1, 0.5)

    async def scene(cascade, seen, got):
        found = await cascade.answer(*asked(f"cat {SURE}"))
        assert found.body == said("cat")

    seen = run(scene, certificates=[certificate(novelty=gate)])
    assert seen.passes == [("upstream", "student_failed")]


def test_upstream_down_what_is_sure_is_answered_and_the_rest_gets_an_error_at_once():
    async def scene(cascade, seen, got):
        assert isinstance(await cascade.answer(*asked(f"cat {SURE}")), Reply)  # an audit that fails
        with pytest.raises(Refusal, match=r"127\.0\.0\.1 could not be reached") as caught:
            await cascade.answer(*asked(f"cat {UNSURE}"))
        assert caught.value.status == 502
        assert "sk-client" not in caught.value.message

    seen = run(scene, draw=lambda: 0.0, url="http://127.0.0.1:9")
    assert ("student", "audit_failed") in seen.passes


@pytest.mark.parametrize("status", [429, 500])
def test_an_upstream_with_errors_is_no_reason_to_fail_what_is_sure(status):
    async def failing(request):
        return web.Response(status=status, text="no", headers={"Retry-After": "7"})

    async def scene(cascade, seen, got):
        assert isinstance(await cascade.answer(*asked(f"cat {SURE}")), Reply)
        reply = await cascade.answer(*asked(f"cat {UNSURE}"))
        assert (reply.status, reply.body) == (status, b"no")
        assert dict(reply.headers)[b"retry-after"] == b"7"

    seen = run(scene, answer=failing, draw=lambda: 0.0)
    assert seen.comparisons == []
    assert seen.misses == [("upstream_status", True), ("upstream_status", False)]


def test_nothing_hangs_on_a_slow_upstream():
    async def slow(request):
        await asyncio.sleep(2)
        return web.Response()

    async def scene(cascade, seen, got):
        assert isinstance(await cascade.answer(*asked(f"cat {SURE}")), Reply)
        with pytest.raises(Refusal) as caught:
            await cascade.answer(*asked(f"cat {UNSURE}"))
        assert caught.value.status == 504

    run(scene, answer=slow, draw=lambda: 0.0, seconds=0.7)


@pytest.mark.parametrize("over", ["all", "answered"])
def test_audits_of_a_slow_upstream_count_when_they_come(over):
    audits, promised = Audits(None), certificate(over=over)

    async def slow(request):
        await asyncio.sleep(0.8)
        return await disagreeing(request)

    async def scene(cascade, seen, got):
        assert isinstance(await cascade.answer(*asked(f"cat {SURE}")), Reply)  # after 0.5 s
        assert seen.passes == [("student", "audit_late")]
        assert isinstance(await cascade.answer(*asked(f"cat {UNSURE}")), RawReply)

    seen = run(scene, answer=slow, draw=lambda: 0.0, audits=audits, certificates=[promised])
    audit = audits.of(promised)
    assert (audit.observed, audit.disagreed) == (2 if over == "all" else 1, 1)
    assert seen.misses == []


def test_audits_that_never_come_are_counted_and_the_worst_is_told():
    audits, promised = Audits(None), certificate()

    async def scene(cascade, seen, got):
        for _ in range(8):
            assert isinstance(await cascade.answer(*asked(f"cat {SURE}")), Reply)

    seen = run(
        scene, url="http://127.0.0.1:9", draw=lambda: 0.0, audits=audits, certificates=[promised]
    )
    assert seen.misses == [("upstream_unreachable", True)] * 8
    assert seen.passes == [("student", "audit_failed")] * 8
    assert (audits.of(promised).observed, audits.of(promised).broken) == (0, False)
    assert seen.worst > 100


def test_an_endless_response_is_cut():
    async def endless(request):
        return web.Response(body=b"x" * 100_000)

    async def scene(cascade, seen, got):
        with pytest.raises(Refusal, match="sent more than is taken"):
            await cascade.answer(*asked(f"cat {UNSURE}"))

    run(scene, answer=endless, response_bytes=50_000)


def test_shadow_forwards_all_and_compares_all():
    async def scene(cascade, seen, got):
        assert isinstance(await cascade.answer(*asked(f"cat {SURE}")), RawReply)
        assert isinstance(await cascade.answer(*asked(f"dog {UNSURE}")), RawReply)

    seen = run(scene, mode="shadow")
    assert seen.comparisons == [(True, True), (True, False)]


def test_refusals_of_the_upstream_are_no_disagreements():
    async def refusing(request):
        return web.json_response({"model": "big", "answers": [{"type": "refusal"}]})

    async def scene(cascade, seen, got):
        await cascade.answer(*asked(f"cat {SURE}"))

    seen = run(scene, answer=refusing, mode="shadow")
    assert seen.comparisons == [(None, True)]
    assert seen.misses == [("unanswered", True)]


def test_what_was_forwarded_is_kept_without_any_key(tmp_path: Path):
    recorder = Recorder(tmp_path)

    async def scene(cascade, seen, got):
        await cascade.answer(*asked(f"cat {SURE}"))
        await cascade.answer(*asked(f"dog {UNSURE}"))

    run(scene, recorder=recorder)
    recorder.close()
    (line,) = recorder.path.read_text("utf-8").splitlines()
    kept = json.loads(line)
    assert kept["request"]["input"] == f"dog {UNSURE}"
    assert kept["response"] == json.loads(said("dog"))
    assert kept["why"] == "unsure"
    assert kept["students"][0]["version"] == "00" * 8
    assert "sk-client" not in line
    assert oct(recorder.path.stat().st_mode)[-3:] == "600"


def test_recording_ends_where_the_folder_is_full_and_answers_go_on(tmp_path: Path):
    told: list[str] = []
    recorder = Recorder(tmp_path, most_bytes=500, tell=told.append)

    async def scene(cascade, seen, got):
        for _ in range(5):
            assert (await cascade.answer(*asked(f"dog {UNSURE}"))).status == 200

    run(scene, mode="record", recorder=recorder)
    recorder.close()
    assert recorder.lines < 5
    assert len(told) == 1
    for line in recorder.path.read_text("utf-8").splitlines() if recorder.path.exists() else ():
        json.loads(line)


def test_a_key_of_the_server_takes_the_place_of_the_clients():
    async def scene(cascade, seen, got):
        await cascade.answer(*asked(f"dog {UNSURE}"))
        keys = [value for name, value in got[0][1] if name.lower() == b"authorization"]
        assert keys == [b"Bearer sk-server"]

    run(scene, answer=agreeing, key="sk-server")
