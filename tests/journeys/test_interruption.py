"""A run that is killed goes on where it was, and ends as if it had never been killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.journeys.tiny_job import environment, tutelage

RESULTS = ("students/gru/metrics.jsonl", "controls/gru/metrics.jsonl", "students/gru/model.safetensors")


def _start(job: Path, out: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tutelage", "run", "recipe.yaml", "--out", out]
    return subprocess.Popen(
        words, cwd=job, env=environment(job), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_killed_at_random_moments_a_run_ends_with_the_same_bytes(job: Path) -> None:
    started = time.monotonic()
    tutelage("run", "recipe.yaml", "--out", "a/unbroken", cwd=job)
    whole = time.monotonic() - started
    moments = random.Random(0)
    kills = 0
    for _ in range(4):
        process = _start(job, "b/killed")
        try:
            process.communicate(timeout=moments.uniform(0.35, 0.95) * whole)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
    assert kills >= 1
    tutelage("run", "recipe.yaml", "--out", "b/killed", cwd=job)
    for name in RESULTS:
        assert (job / "a/unbroken" / name).read_bytes() == (job / "b/killed" / name).read_bytes(), name


def test_control_c_says_how_to_go_on_and_leaves_a_run_that_does(job: Path) -> None:
    process = _start(job, "stopped")
    deadline = time.monotonic() + 120
    while not (job / "stopped" / "recipe.yaml").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=120)
    assert process.returncode == 130, talk
    assert "run the same command again" in talk
    tutelage("run", "recipe.yaml", "--out", "stopped", cwd=job)
    assert (job / "stopped" / "report.html").is_file()


def test_two_processes_never_write_one_run(job: Path) -> None:
    process = _start(job, "shared")
    deadline = time.monotonic() + 120
    while not (job / "shared" / "recipe.yaml").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    done = tutelage("run", "recipe.yaml", "--out", "shared", cwd=job, check=2)
    assert str(process.pid) in done.stderr
    process.kill()
    process.communicate()
