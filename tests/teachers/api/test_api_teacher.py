"""A teacher behind a server that misbehaves in every way it knows."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.teachers.api.asking import examples, teacher_of
from tests.teachers.api.faulty_server import FaultyServer, decision, probabilities, serving

from tutelage.errors import BudgetSpent, ModelError
from tutelage.targets import TargetStore
from tutelage.teachers import label
from tutelage.teachers.api.money import Budget, Price
from tutelage.teachers.api.server import ServerTrouble
from tutelage.types import Example

SECRET = "sk-very-secret-0123456789"


def expected(rows: list[Example]) -> np.ndarray:
    return np.array([probabilities(one.text) for one in rows], np.float32)


def test_answers_are_asked_for_once(tmp_path: Path) -> None:
    rows = examples(60)
    with serving(FaultyServer()) as server:
        teacher = teacher_of(server.base_url, tmp_path)
        np.testing.assert_allclose(teacher.label(rows), expected(rows), atol=1e-6)
        assert server.calls == 60
        assert server.paths == {"/v1/decisions": 60}
        np.testing.assert_allclose(teacher.label(rows), expected(rows), atol=1e-6)
        assert server.calls == 60
    account = teacher.account
    assert account["requests"] == 60
    assert (account["input_tokens"], account["cached_tokens"]) == (2400, 600)
    assert account["models"] == {"served-1": 60}
    assert account["latency_ms"]["p50"] > 0


@pytest.mark.parametrize("fault", [429, 500, 503, "cut", "garbage"])
def test_what_passes_is_asked_again(tmp_path: Path, fault: Any) -> None:
    rows = examples(12)
    server = FaultyServer(fault=lambda call, _: fault if call % 4 == 1 else None)
    with serving(server):
        teacher = teacher_of(server.base_url, tmp_path, concurrency=2, bad_answer_retries=5)
        np.testing.assert_allclose(teacher.label(rows), expected(rows), atol=1e-6)
    assert server.calls > 12


def _reply(body: dict[str, Any]) -> dict[str, Any]:
    reply = decision(body["input"])
    answer = reply["answers"][0]
    match body["input"]:
        case "text 1":
            reply["answers"] = [{"type": "refusal", "name": "label"}]
        case "text 2":
            answer["probabilities"].pop()
        case "text 3":
            answer["probabilities"][0]["probability"] = 0.9999
        case "text 4":
            reply["answers"] = []
        case "text 5":
            answer["probabilities"][0]["value"] = True
    return reply


def test_bad_answers_are_counted_and_no_labels(tmp_path: Path) -> None:
    rows = examples(10)
    with serving(FaultyServer(reply=_reply)) as server:
        teacher = teacher_of(server.base_url, tmp_path / "answers")
        store = label(teacher, rows, out=tmp_path / "targets")
        assert server.calls == 15, "each bad one is asked for once more"
        label(teacher, rows, out=tmp_path / "again")
        assert server.calls == 15
    assert [name in store for name in (one.example_id for one in rows)] == [
        number not in (1, 2, 3, 4, 5) for number in range(10)
    ]
    assert teacher.account["unanswered"]["refused"] == 1
    assert sum(teacher.account["unanswered"].values()) == 5
    assert {one["text"] for one in teacher.account["unanswered_shown"]} == {
        f"text {number}" for number in range(1, 6)
    }
    assert len(TargetStore.open(tmp_path / "targets")) == 5


def test_a_bad_answer_stops_where_that_is_wanted(tmp_path: Path) -> None:
    with serving(FaultyServer(reply=_reply)) as server:
        teacher = teacher_of(server.base_url, tmp_path, bad_answers="stop")
        with pytest.raises(ModelError, match=r"texts\.csv, row [1-5]: .*bad_answers: leave_out"):
            teacher.label(examples(10))


def test_a_rejected_text_is_left_out_and_not_kept(tmp_path: Path) -> None:
    server = FaultyServer(fault=lambda _, body: 400 if body["input"] == "text 3" else None)
    with serving(server):
        teacher = teacher_of(server.base_url, tmp_path)
        found = dict(_by_place(teacher, examples(6)))
        assert sorted(found) == [0, 1, 2, 4, 5]
        assert list(teacher.unanswered.values()) == ["rejected"]
        server.fault = lambda *_: None
        assert len(teacher.label(examples(6))) == 6


def _by_place(teacher: Any, rows: list[Example]) -> list[tuple[int, np.ndarray]]:
    return [
        (place, row)
        for places, probs in teacher.answers(rows)
        for place, row in zip(places, probs, strict=True)
    ]


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (401, ModelError, "the key in MY_KEY is not accepted"),
        (404, ModelError, "no such endpoint or model"),
        (400, ModelError, "rejects every request"),
        (503, ServerTrouble, "answers with 503 after 1 retries"),
    ],
)
def test_a_server_that_never_answers_is_told_apart(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    error: type[Exception],
    says: str,
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    with serving(FaultyServer(fault=lambda *_: status)) as server:
        teacher = teacher_of(server.base_url, tmp_path, retries=1, key_variable="MY_KEY")
        with pytest.raises(error, match=says) as raised:
            teacher.label(examples(30))
        assert f"authorization: Bearer {SECRET}" in server.headers[0]
    assert SECRET not in str(raised.value), "the server repeats it in its message"
    assert SECRET not in repr(raised.value)


def test_a_word_in_the_place_of_a_key_spoils_no_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "good")  # which is also a label
    rows = examples(5)
    with serving(FaultyServer()) as server:
        for _ in range(2):  # as they come, and as they are kept
            teacher = teacher_of(server.base_url, tmp_path, key_variable="MY_KEY")
            np.testing.assert_allclose(teacher.label(rows), expected(rows), atol=1e-6)
        assert server.calls == 5


def test_nobody_there(tmp_path: Path) -> None:
    teacher = teacher_of("http://127.0.0.1:9/v1", tmp_path, retries=0)
    with pytest.raises(ServerTrouble, match="cannot be reached"):
        teacher.label(examples(3))


def test_a_slow_server_is_told(tmp_path: Path) -> None:
    with serving(FaultyServer(delay=2.0)) as server:
        teacher = teacher_of(server.base_url, tmp_path, retries=0, timeout_seconds=0.2)
        with pytest.raises(ServerTrouble, match=r"did not answer within 0\.2 s"):
            teacher.label(examples(3))


def test_a_key_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ModelError, match=r"MY_KEY.*export MY_KEY="):
        teacher_of("http://127.0.0.1:9/v1", tmp_path, key_variable="MY_KEY").label(examples(3))


def test_a_changed_model_stops_and_each_way_out_works(tmp_path: Path) -> None:
    server = FaultyServer()
    server.reply = lambda body: decision(
        body["input"], model="served-2" if server.calls > 8 else "served-1"
    )
    with serving(server):
        rows = examples(30)
        with pytest.raises(ModelError, match=r"served-1 \(8\), served-2 .*on_model_change"):
            teacher_of(server.base_url, tmp_path, concurrency=1).label(rows)
        assert server.calls == 9
        with pytest.raises(ModelError, match="several model names"):
            teacher_of(server.base_url, tmp_path).label(rows)
        assert server.calls == 9, "nothing is paid before somebody has chosen"
        teacher = teacher_of(server.base_url, tmp_path, on_model_change="continue")
        teacher.label(rows)
        assert teacher.account["models"] == {"served-2": 22, "served-1": 8}
        assert server.calls == 30
        teacher = teacher_of(server.base_url, tmp_path, on_model_change="restart")
        teacher.label(rows)
        assert teacher.account["models"] == {"served-2": 30}
        assert server.calls == 60
    assert (tmp_path / "replies-1.jsonl").exists()


@pytest.mark.parametrize(
    "budget", [Budget(requests=20), Budget(tokens=20 * 42), Budget(cost=20 * 42e-6)]
)
def test_a_budget_ends_in_good_order_and_a_larger_one_goes_on(
    tmp_path: Path, budget: Budget
) -> None:
    rows, price = examples(50), Price(input=1.0, output=1.0)
    with serving(FaultyServer(delay=0.01)) as server:
        teacher = teacher_of(server.base_url, tmp_path, budget=budget, price=price)
        with pytest.raises(BudgetSpent, match="All answers are kept"):
            teacher.label(rows)
        assert 10 < server.calls <= 20
        assert teacher.account["requests"] == server.calls, "what was under way came in"
        teacher = teacher_of(server.base_url, tmp_path, budget=Budget(requests=50), price=price)
        np.testing.assert_allclose(teacher.label(rows), expected(rows), atol=1e-6)
        assert server.calls == 50


def test_a_spent_budget_may_train_on_what_is_there(tmp_path: Path) -> None:
    rows = examples(50)
    with serving(FaultyServer()) as server:
        budget = Budget(requests=20, then="train")
        teacher = teacher_of(server.base_url, tmp_path / "answers", budget=budget)
        store = label(teacher, rows, out=tmp_path / "targets")
    assert len(store) == 20
    assert teacher.account["unanswered"] == {"over budget": 30}
    assert store.manifest.complete


def test_ctrl_c_keeps_what_is_under_way(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # Workers of a parallel test run ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with serving(FaultyServer(delay=0.5)) as server:
        teacher = teacher_of(server.base_url, tmp_path, concurrency=4)
        threading.Timer(0.25, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            teacher.label(examples(40))
        assert server.calls <= 8
        assert teacher.account["requests"] == server.calls
        asked = server.calls
        teacher.label(examples(asked))
        assert server.calls == asked


def test_rates_are_kept(tmp_path: Path) -> None:
    with serving(FaultyServer()) as server:
        teacher = teacher_of(server.base_url, tmp_path, requests_per_minute=1200)
        started = time.monotonic()
        teacher.label(examples(50))
        assert time.monotonic() - started > (50 - 20) / 20 * 0.9


def test_killed_thrice_among_faults_nothing_is_lost(tmp_path: Path) -> None:
    """SIGKILL at three moments, one reply in five faulty: the same targets as without."""
    number, draw = 240, random.Random(0)
    faults: list[Any] = [429, 500, "cut", "garbage"]
    server = FaultyServer(
        fault=lambda *_: draw.choice(faults) if draw.random() < 0.2 else None, delay=0.01
    )
    command = [sys.executable, str(Path(__file__).parent / "asking.py")]
    with serving(server):
        command += [server.base_url, str(tmp_path), str(number)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        under_way = 0
        for share in (0.2, 0.5, 0.8):
            process = subprocess.Popen(command, env=environment)
            deadline = time.monotonic() + 60
            while server.paid.total() < share * number and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            under_way += 8
        subprocess.run(command, env=environment, check=True, timeout=60)
        before, rows = server.calls, examples(number)
        found = teacher_of(server.base_url, tmp_path, bad_answer_retries=9).label(rows)
        np.testing.assert_allclose(found, expected(rows), atol=1e-6)
        assert server.calls == before
    # Those that a kill caught on the way cannot be told from those that never left.
    assert server.paid.total() - len(server.paid) <= under_way
    assert len(server.paid) == number
