"""Deaths of a server: an exported student, alone or in a cascade that records what it forwards.

Its bytes are its answers. Killed at a random request, or write, and started again, it must give to
every text the answer that one gives that never died, and no line that it recorded may be half.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.deaths.dying import SIGNALS, Death, End, faults, start, wait
from tests.journeys.tiny_job import LABELS, sentences

EXPORT = "runs/tiny/students/gru/export/onnx"
TEXTS = [text for text, _ in sentences(24, seed=7)]


class Upstream(BaseHTTPRequestHandler):
    """Answers every choice with its first option."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """The teacher's answer."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        options = [one["value"] for one in asked["questions"][0]["choices"]]
        probs = [{"value": one, "probability": 1 / len(options)} for one in options]
        answer = {"type": "choice", "name": "q", "choice": options[0], "confidence": 0.1}
        reply = {"model": "big-1", "answers": [{**answer, "probabilities": probs}], "usage": None}
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002
        """Nothing."""


def start_upstream() -> tuple[int, int]:
    """A process that answers as the teacher; its number and its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    if (pid := os.fork()) == 0:
        server.serve_forever()
    port = server.server_address[1]
    server.socket.close()
    return pid, port


def die(
    bench: Any, state: Path, url: str, kind: str, moments: random.Random, counts: Counter[str]
) -> list[dict[str, Any]]:
    """One death, the restart, and what is wrong with either."""
    bench.load(state)
    cascade = moments.random() < 0.5
    words = ["serve", EXPORT, "--port", "0", "--quiet"]
    if cascade:
        words += ["--upstream", url, "--state", "state", "--record", "traffic"]
    path = "/v1/decisions" if cascade else "/classify"
    if kind in SIGNALS:
        death = Death(kind, seconds=moments.choice([moments.uniform(0, 1), 60.0]))
    elif kind in ("memory", "handles", "file size", "disk full"):
        most = {"memory": 64 << 20, "handles": 24, "file size": 20_000, "disk full": 20_000}[kind]
        death = Death(kind, amount=moments.randrange(1, most))
    else:
        death = Death(kind, event=moments.randint(1, 20))
    end, answers = _life(bench, words, path, death, moments)
    bench.volume.restore()
    how = "by itself" if end.code == 0 and kind not in SIGNALS else "died"
    counts[f"classification serve {how}"] += 1
    counts[f"{kind} {how}"] += 1
    found = faults(_without_log(end), death)
    again, whole = _life(bench, words, path, None, moments)
    if again.code != 0 or len(whole) != len(TEXTS):
        found.append(f"again: {again.code}, {len(whole)} answers: {again.said[-800:]}")
    found += [f"answered otherwise: {text}" for text in answers if _differ(text, answers, whole)]
    for file in (bench.job / "traffic").glob("*.jsonl"):
        for line in file.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n") or not json.loads(line):
                found.append(f"half a line in {file.name}")
    where = {"task": "classification", "command": " ".join(words), "deaths": [f"{death}"]}
    return [{**where, "fault": fault, "said": end.said[-1500:]} for fault in found]


def _differ(text: str, one: dict[str, bytes], other: dict[str, bytes]) -> bool:
    """Whether the same model answered otherwise; audits draw at random who is asked."""
    if text not in other:
        return False
    (model, _), (again, _) = json.loads(one[text]), json.loads(other[text])
    return model == again and one[text] != other[text]


def _life(
    bench: Any, words: list[str], path: str, death: Death | None, moments: random.Random
) -> tuple[End, dict[str, bytes]]:
    """From the start of a server to its end; what it answered to each text meanwhile."""
    started, answers = time.monotonic(), dict[str, bytes]()
    pid, pipe = start(words, cwd=bench.job, volume=bench.volume, log=bench.log, death=death)
    at_start = death is not None and death.seconds is not None and death.seconds < 2
    if at_start and death is not None and death.seconds is not None:
        time.sleep(death.seconds)
        os.kill(pid, getattr(signal, death.kind))
    port = _port(bench.log, pid)
    last = moments.randrange(len(TEXTS)) if death is not None else len(TEXTS)
    for number, text in enumerate(TEXTS if port else []):
        if number == last and death is not None and death.kind in SIGNALS and not at_start:
            os.kill(pid, getattr(signal, death.kind))
        if (answer := _ask(port, path, text)) is None:
            if death is not None:
                break
            continue
        answers[text] = answer
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and not at_start:
        os.kill(pid, signal.SIGTERM)
    return wait(pid, pipe, bench.log, started), answers


def _port(log: Path, pid: int) -> int:
    for _ in range(2000):
        told = log.read_text("utf-8", "replace") if log.exists() else ""
        for line in told.splitlines():
            if '"serving"' in line and line.endswith("}"):
                return int(json.loads(line)["url"].rpartition(":")[2])
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return 0
        time.sleep(0.005)
    return 0


def _ask(port: int, path: str, text: str) -> bytes | None:
    """What does not change from one time to the next of an answer; None without one."""
    question = {"type": "choice", "name": "q", "instructions": "Which?"}
    asked: dict[str, Any] = {"model": "big", "input": text}
    if path != "/classify":
        asked["questions"] = [{**question, "choices": [{"value": one} for one in LABELS]}]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        kinds = {"Content-Type": "application/json", "Authorization": "Bearer sk-0123456789"}
        connection.request("POST", path, json.dumps(asked), kinds)
        reply = connection.getresponse()
        value = json.loads(reply.read()) if reply.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    if value is None:
        return None
    return json.dumps([value.get("model"), value.get("answers", value.get("data"))]).encode()


def _without_log(end: End) -> End:
    """The log is JSON lines; only what is none are words to a person."""
    lines = [line for line in end.said.splitlines() if not line.startswith("{")]
    if end.code in (1, 2) and len(lines) != 1:
        lines = [f"{len(lines)} lines: ", *lines]
    elif end.code in (1, 2):
        lines = ["ServeError: " + lines[0]]
    return End(end.code, "\n".join(lines), end.seconds, end.events)
