"""A run that is killed goes on where it was, and ends as if it had never been killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.journeys.tiny_job import environment, tutelage

RESULTS = (
    "students/gru/metrics.jsonl",
    "controls/gru/metrics.jsonl",
    "students/gru/model.safetensors",
)


def _listen_to_control_c() -> None:
    """A shell that starts the tests in its background lets them ignore it, and what they start
    inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _start(job: Path, out: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tutelage", "run", "recipe.yaml", "--out", out]
    return subprocess.Popen(
        words,
        cwd=job,
        env=environment(job),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_listen_to_control_c,
    )


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_killed_in_every_stage_a_run_ends_with_the_same_bytes(job: Path) -> None:
    tutelage("run", "recipe.yaml", "--out", "a/unbroken", cwd=job)
    moments = random.Random(0)
    killed = job / "b/killed"
    half = _lines(job / "a/unbroken/students/gru/metrics.jsonl") // 2
    early, late = moments.randint(1, half), moments.randint(1, half)
    stages: list[Callable[[], bool]] = [
        lambda: (killed / "recipe.yaml").is_file(),
        lambda: (killed / "targets").is_dir(),
        lambda: _lines(killed / "students/gru/metrics.jsonl") >= early,
        lambda: _lines(killed / "controls/gru/metrics.jsonl") >= late,
    ]
    for reached in stages:
        process = _start(job, "b/killed")
        while not reached() and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()[1]
        process.kill()
        process.communicate()
    tutelage("run", "recipe.yaml", "--out", "b/killed", cwd=job)
    for name in RESULTS:
        assert (job / "a/unbroken" / name).read_bytes() == (killed / name).read_bytes(), name


def test_control_c_says_how_to_go_on_and_leaves_a_run_that_does(job: Path) -> None:
    process = _start(job, "stopped")
    deadline = time.monotonic() + 120
    while not (job / "stopped" / "recipe.yaml").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (job / "stopped" / "recipe.yaml").is_file(), "the run never began"
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=120)
    # Where Ctrl-C falls into code that is made from a string (dataclasses of a library that is being
    # imported), CPython ends the process by the signal itself; a shell sees 130 both ways.
    assert process.returncode in (130, -signal.SIGINT), talk
    assert "run the same command again" in talk
    tutelage("run", "recipe.yaml", "--out", "stopped", cwd=job)
    assert (job / "stopped" / "report.html").is_file()


def test_two_processes_never_write_one_run(job: Path) -> None:
    process = _start(job, "shared")
    try:
        deadline = time.monotonic() + 120
        while not (job / "shared" / "recipe.yaml").is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (job / "shared" / "recipe.yaml").is_file(), "the run never began"
        process.send_signal(signal.SIGSTOP)  # it is not to be done before the other has begun
        assert process.poll() is None
        done = tutelage("run", "recipe.yaml", "--out", "shared", cwd=job, check=2)
        assert str(process.pid) in done.stderr
    finally:
        process.kill()
        process.communicate()
