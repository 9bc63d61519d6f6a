"""What goes over the wire: routes, errors in each protocol's shape, limits, tokens, hosts, logs."""

import json
import socket
import threading
import time

import pytest
from tests.serving.fakes import SURE, Fake, choice, decision, running, shut

from tutelage_runtime.serving.errors import ServeError
from tutelage_runtime.serving.limits import Limits
from tutelage_runtime.serving.options import Options, token_of

TOKEN = "a-token-of-more-than-16-characters"


def test_several_questions_go_to_several_students(server):
    body = decision(
        "a happy sport",
        choice("sad", "happy", name="mood"),
        choice("news", "sport", "café", instructions="What is the text about?"),
        {"type": "predicate", "instructions": "The right label for the text is: sad"},
    )
    status, reply, headers = server.ask("/v1/decisions", body)
    first, second, third = reply["answers"]
    assert status == 200
    assert (first["name"], first["choice"]) == ("mood", "happy")
    assert first["confidence"] == pytest.approx(SURE)
    assert [one["value"] for one in second["probabilities"]] == ["news", "sport", "café"]
    assert second["choice"] == "sport"
    assert third["probability"] == pytest.approx(1 - SURE)
    assert reply["model"] == "tutelage/mood@v1+topic@v2"
    assert headers["X-Answered-By"] == "student"


def test_two_questions_of_one_student_are_one_call(server, mood):
    before = len(mood.calls)
    server.ask("/v1/decisions", decision("x", choice("sad", "happy"), choice("happy", "sad")))
    assert mood.calls[before:] == [["x"]]


def test_classify_answers_in_the_order_of_the_student(server):
    status, reply, _ = server.ask("/classify", {"model": "mood", "input": ["sad", "happy"]})
    assert status == 200
    assert [one["label"] for one in reply["data"]] == ["sad", "happy"]
    assert reply["data"][0]["probs"] == pytest.approx([SURE, 1 - SURE])
    assert (reply["data"][1]["index"], reply["data"][1]["num_classes"]) == (1, 2)


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/decisions", decision("x", choice("a", "b")), lambda said: said["error"]["message"]),
        (
            "/v1/systemone",
            {
                "model": "m",
                "state": "x",
                "questions": {"q": {"type": "choice", "criteria": {"a": None}}},
            },
            lambda said: said["detail"],
        ),
        ("/classify", {"model": "m", "input": "x"}, lambda said: said["error"]["message"]),
    ],
)
def test_a_question_that_nobody_knows_is_told_which_are_served(server, path, body, where):
    status, said, _ = server.ask(path, body)
    assert status == 404
    assert "mood" in where(said)
    assert "topic" in where(said)


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/systemone", "/classify", "/explain"])
def test_bad_bodies_are_client_errors(server, path):
    assert server.ask(path, b"{")[0] == 400
    assert server.ask(path, b"")[0] == 400
    assert server.ask(path, b"[]")[0] == (422 if path == "/v1/systemone" else 400)
    assert server.ask(path, {})[0] == (422 if path == "/v1/systemone" else 400)
    assert server.ask(path, b"{}", headers={"Content-Type": "text/plain"})[0] == 415
    assert server.ask(path, b"{}", headers={"Content-Encoding": "zstd"})[0] == 415
    status, _, headers = server.ask(path, method="GET")
    assert (status, headers["Allow"]) == (405, "POST")


def test_unknown_paths_and_lists(server):
    assert server.ask("/v2")[0] == 404
    assert server.ask("/health")[1] == {"status": "alive"}
    assert server.ask("/ready")[1]["status"] == "ready"
    _, models, _ = server.ask("/v1/models")
    assert [one["id"] for one in models["data"]] == ["tutelage/mood@v1", "tutelage/topic@v2"]
    _, students, _ = server.ask("/students")
    assert students["students"][1]["labels"] == ["sport", "café", "news"]


def test_words_are_left_out_one_by_one(server, mood):
    before = len(mood.calls)
    text = "I'm happy, 𝒽appy me"
    status, found, _ = server.ask("/explain", {"text": text, "student": "mood"})
    assert status == 200
    assert found["label"] == "happy"
    spans = [text[one["start"] : one["end"]] for one in found["words"]]
    assert spans == ["I'm", "happy", "𝒽appy", "me"]
    assert [round(one["change"], 3) for one in found["words"]] == [0, 0.4, 0, 0]
    assert len(mood.calls) == before + 1
    assert server.ask("/explain", {"text": "x"})[0] == 404
    assert server.ask("/explain", {"text": "x" * 4_001, "student": "mood"})[0] == 400


def test_ids_of_requests_are_taken_over_or_made(server):
    assert server.ask("/health", headers={"X-Request-Id": "mine-1"})[2]["x-request-id"] == "mine-1"
    made = server.ask("/health", headers={"X-Request-Id": "two words"})[2]["x-request-id"]
    assert len(made) == 32


def test_metrics_tell_requests_batches_and_students(server):
    server.ask("/classify", {"model": "mood", "input": "x"})
    _, text, headers = server.ask("/metrics")
    lines = text.decode().splitlines()
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert any(one.startswith('tutelage_requests_total{route="/classify"') for one in lines)
    assert any(
        one.startswith('tutelage_batch_texts_bucket{le="1.0",student="mood"') for one in lines
    )
    assert 'tutelage_student_info{student="topic",version="v2"} 1.0' in lines
    assert 'tutelage_waiting_texts{student="mood"} 0.0' in lines
    assert "tutelage_ready 1.0" in lines


def test_the_page_takes_nothing_from_elsewhere(server):
    status, body, headers = server.ask("/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    for path in ("/", "/page.js", "/page.css"):
        text = server.ask(path)[1]
        assert b"http:" not in text
        assert b"https:" not in text
    assert b"<style" not in body
    assert b"onclick" not in body


def test_logs_have_no_texts_unless_asked_for():
    with running({"mood": Fake("sad", "happy")}) as quiet:
        quiet.ask("/classify", {"input": "secret"}, headers={"X-Request-Id": "one"})
    (line,) = quiet.requests_logged()
    assert (line["id"], line["route"], line["status"], line["by"]) == (
        "one",
        "/classify",
        200,
        "student",
    )
    assert line["student"] == "tutelage/mood@v1"
    assert "secret" not in str(quiet.lines)
    with running({"mood": Fake("sad", "happy")}, log_texts=True) as loud:
        loud.ask("/classify", {"input": "secret"})
    assert loud.requests_logged()[0]["text"] == ["secret"]


def test_a_student_that_fails_is_a_500_without_its_message():
    with running({"mood": Fake("sad", "happy", fails="poison")}) as found:
        status, said, _ = found.ask("/classify", {"input": "poison"})
        assert (status, said["error"]["code"]) == (500, 500)
        assert found.ask("/classify", {"input": "fine"})[0] == 200
    assert "stranger" not in str((said, found.lines))
    assert any(event == "error" and line["error"] == "RuntimeError" for event, line in found.lines)


def test_a_token_is_asked_for_where_there_is_one():
    body = decision("x", choice("sad", "happy"))
    with running({"mood": Fake("sad", "happy")}, token=TOKEN) as found:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            status, said, answered = found.ask("/v1/decisions", body, headers=headers)
            assert (status, said["error"]["code"]) == (401, "invalid_api_key")
            assert answered["WWW-Authenticate"] == "Bearer"
        right = {"Authorization": f"bearer {TOKEN}"}
        assert found.ask("/v1/decisions", body, headers=right)[0] == 200
        assert found.ask("/metrics")[0] == 401
        assert [found.ask(path)[0] for path in ("/", "/health", "/ready", "/openapi.json")] == [
            200
        ] * 4
        assert "bearer" in json.dumps(found.ask("/openapi.json")[1])
    assert TOKEN not in str(found.lines)
    assert TOKEN not in repr(Options(token=TOKEN))


def test_beyond_loopback_a_token_is_needed_or_said_not_to_be():
    with pytest.raises(ServeError, match="--token-env NAME"):
        Options(host="0.0.0.0")
    assert Options(host="0.0.0.0", no_token=True).token is None
    assert Options(host="::1").host == "::1"
    assert token_of("T", {"T": f" {TOKEN}\n"}) == TOKEN
    with pytest.raises(ServeError, match="16 visible ASCII"):
        token_of("T", {"T": "short"})
    with pytest.raises(ServeError, match="not set"):
        token_of("T", {})


def test_pages_of_other_sites_are_kept_out(server):
    body = decision("x", choice("sad", "happy"))
    assert server.ask("/", headers={"Host": "evil.example"})[0] == 421
    assert (
        server.ask("/v1/decisions", body, headers={"Host": f"evil.example:{server.port}"})[0] == 421
    )
    assert server.ask("/v1/decisions", body, headers={"Origin": "http://evil.example"})[0] == 403
    assert server.ask("/v1/decisions", body, headers={"Origin": "null"})[0] == 403
    assert server.ask("/v1/decisions", body, headers={"Origin": server.url})[0] == 200
    assert server.ask("/", headers={"Host": f"localhost:{server.port}"})[0] == 200
    with running({"mood": Fake("sad", "happy")}, allowed_hosts=("proxy.example",)) as found:
        assert found.ask("/", headers={"Host": "proxy.example"})[0] == 200


def test_giant_bodies_and_texts_are_refused():
    limits = Limits(body_bytes=10_000, text_characters=100, texts=2)
    with running({"mood": Fake("sad", "happy")}, limits=limits) as found:
        assert found.ask("/classify", b" " * 10_001)[0] == 413
        assert found.ask("/classify", b" " * 100_000)[0] == 413
        assert found.ask("/classify", {"input": "x" * 101})[0] == 400
        assert found.ask("/classify", {"input": ["x"] * 3})[0] == 400
        _, said, _ = found.ask("/v1/systemone", b" " * 10_001)
        assert "10,000 bytes" in said["detail"]
        # One that says how large it is, and one that does not, and sends on.
        head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\n"
        for line in (b"Content-Length: 99999999999", b"Transfer-Encoding: chunked"):
            with socket.create_connection(("127.0.0.1", found.port), timeout=10) as client:
                client.sendall(head + line + b"\r\n\r\n")
                if b"chunked" in line:
                    for _ in range(20):
                        client.sendall(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
                assert client.recv(4096).startswith(b"HTTP/1.1 413")
        assert found.ask("/classify", {"input": "fine"})[0] == 200


def test_slow_bodies_are_ended_and_hang_ups_are_survived():
    with running({"mood": Fake("sad", "happy")}, limits=Limits(body_seconds=0.5)) as found:
        head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{"
        with socket.create_connection(("127.0.0.1", found.port), timeout=10) as client:
            client.sendall(head)
            assert client.recv(4096).startswith(b"HTTP/1.1 408")
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", found.port), timeout=10) as client:
                client.sendall(head)
        assert found.ask("/classify", {"input": "fine"})[0] == 200
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if [line["status"] for line in found.requests_logged()].count(499) == 5:
                break
            time.sleep(0.01)
    assert [line["status"] for line in found.requests_logged()].count(499) == 5


def test_a_full_queue_says_when_to_come_again():
    student = Fake("sad", "happy")
    with running({"mood": student}, batch_texts=1, queue_texts=1) as found:
        shut(student)
        thread = threading.Thread(target=found.ask, args=("/classify", {"input": "x"}))
        thread.start()
        while len(student.calls) < 2:  # the first is that of starting
            time.sleep(0.002)
        status, _, headers = found.ask("/classify", {"input": "y"})
        student.gate.set()
        thread.join()
    assert (status, headers["Retry-After"]) == (503, "1")


def test_two_students_of_one_question_keep_a_server_from_starting():
    with (
        pytest.raises(ServeError, match="answer the same question"),
        running({"a": Fake("x", "y"), "b": Fake("y", "x")}),
    ):
        pass
