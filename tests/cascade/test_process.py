"""The cascade as a process: a real export, an upstream, the client of OpenAI, kills and restarts."""

from __future__ import annotations

import http.client
import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import openai
import pytest
from tests.runtime.tiny_bundles import write_tokens
from tests.serving.test_process import TEXTS, Process

from tutelage.students.vocabulary.training import train_tokenizer
from tutelage_runtime.bundle import read_bundle
from tutelage_runtime.certificate import certificate_sum
from tutelage_runtime.session import load

KEY = "sk-of-the-client-0123456789"


class Upstream(BaseHTTPRequestHandler):
    """Answers every choice with one of its options, by the text: `first`, `last`."""

    protocol_version = "HTTP/1.1"
    got: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append((dict(self.headers), body))
        asked = json.loads(body)
        options = [one["value"] for one in asked["questions"][0]["choices"]]
        probs = [{"value": one, "probability": 1 / len(options)} for one in options]
        choice = options[-1 if "last" in asked["input"] else 0]
        answer = {"type": "choice", "name": "q", "choice": choice, "confidence": 0.1}
        reply = {"model": "big-1", "answers": [{**answer, "probabilities": probs}], "usage": None}
        content = json.dumps(reply, indent=1).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    Upstream.got = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = train_tokenizer(TEXTS, kind="wordpiece", vocabulary_size=80).backend_tokenizer
    return write_tokens(tmp_path / "tiny", tokenizer)


def certify(folder: Path, *, threshold: float | None, share: float, **changes: Any) -> None:
    bundle = read_bundle(folder)
    values = {
        "format": 1,
        "student": bundle.version,
        "labels": list(bundle.question.labels),
        "against": "teacher",
        "over": "all",
        "disagreement": 0.02,
        "confidence": 0.95,
        "rows": 1000,
        "thresholds": {"*": threshold},
        "coverage": 0.9,
        "disagreed": 1,
        "bound": 0.01,
        "score": {"weights": []},
        "audit": {"share": share, "alpha": 0.01},
        "novelty": None,
    } | changes
    values["sum"] = certificate_sum(values)
    (folder / "certificate.json").write_text(json.dumps(values), "utf-8")


@pytest.fixture
def serve(upstream: ThreadingHTTPServer, tmp_path: Path) -> Iterator[Any]:
    started: list[Process] = []

    def start(*words: str) -> Process:
        url = f"http://127.0.0.1:{upstream.server_address[1]}/v1"
        started.append(Process(*words, "--upstream", url, "--state", str(tmp_path / "state")))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.end()


def ask(process: Process, folder: Path, text: str = "A fine film.") -> Any:
    client = openai.OpenAI(
        base_url=f"http://127.0.0.1:{process.port}/v1", api_key=KEY, max_retries=0
    )
    choices = [{"value": label} for label in read_bundle(folder).question.labels]
    question = {"type": "choice", "name": "q", "instructions": "Which?", "choices": choices}
    return client.decisions.create(model="big", input=text, questions=[question])  # pyright: ignore


def metric(process: Process, name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=20)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])


def test_sure_answers_need_no_upstream_at_all(serve, upstream, folder):
    certify(folder, threshold=-1.0, share=0.0)
    process = serve(str(folder))
    upstream.shutdown()
    upstream.server_close()
    assert ask(process, folder).model.startswith("tutelage/tiny@")
    with pytest.raises(openai.APIStatusError) as caught:
        openai.OpenAI(
            base_url=f"http://127.0.0.1:{process.port}/v1", api_key=KEY, max_retries=0
        ).decisions.create(model="big", input="x", questions=[])
    assert caught.value.status_code == 502
    process.send(signal.SIGTERM)
    assert process.end() == 0


def test_the_rest_goes_on_and_no_key_stays(serve, folder, tmp_path):
    certify(folder, threshold=None, share=0.0)
    process = serve(str(folder), "--record", str(tmp_path / "traffic"), "--log-texts")
    assert ask(process, folder).model == "big-1"
    headers, body = Upstream.got[0]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(body)["input"] == "A fine film."
    process.send(signal.SIGTERM)
    assert process.end() == 0
    (traffic,) = (tmp_path / "traffic").iterdir()
    assert json.loads(traffic.read_text("utf-8"))["response"]["model"] == "big-1"
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(KEY not in path.read_text("utf-8", "replace") for path in left)
    assert KEY not in json.dumps(process.lines)


def test_a_broken_contract_outlives_a_kill(serve, folder):
    certify(folder, threshold=-1.0, share=1.0)
    process = serve(str(folder))
    mine = load(folder)
    labels = mine.question.labels
    # A text on which the upstream says another label than the student.
    text = next(
        one
        for one, place in (("first", 0), ("last", -1))
        if labels[mine.probs([one])[0].argmax()] != labels[place]
    )
    for _ in range(9):
        assert ask(process, folder, text).model == "big-1"
    assert metric(process, "tutelage_contract_broken") == 1.0
    process.send(signal.SIGKILL)
    process.end()
    assert sum("is broken" in line.get("message", "") for line in process.lines) == 1

    certify(folder, threshold=-1.0, share=0.0, audit={"share": 0.0, "alpha": 0.01})
    renewed = serve(str(folder))
    assert ask(renewed, folder, text).model.startswith("tutelage/")  # another certificate
    renewed.send(signal.SIGKILL)
    renewed.end()

    certify(folder, threshold=-1.0, share=1.0)
    again = serve(str(folder))
    assert ask(again, folder, text).model == "big-1"
    assert metric(again, 'tutelage_cascade_total{by="upstream",why="contract_broken"') == 1.0


def test_traffic_is_recorded_before_there_is_a_student(serve, folder, tmp_path):
    process = serve("--mode", "record", "--record", str(tmp_path / "traffic"))
    assert ask(process, folder).model == "big-1"
    process.send(signal.SIGTERM)
    assert process.end() == 0
    (traffic,) = (tmp_path / "traffic").iterdir()
    assert json.loads(traffic.read_text("utf-8"))["why"] == "record"
