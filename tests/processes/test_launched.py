"""A recipe under a launcher: a process that is killed ends all, and the run goes on after it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.journeys.tiny_job import run_here, write_job
from tests.journeys.tiny_language_job import write_teacher
from tests.processes.launching import environment, launch, launcher
from tests.train.tiny_training import records

TRAINED = ("students/gru", "controls/gru")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe without dropout whose student takes a second or two."""
    folder = tmp_path_factory.mktemp("launched")
    os.environ["TUTELAGE_CACHE"] = str(folder / "cache")
    write_job(folder, write_teacher(folder / "model"))
    text = (
        (folder / "recipe.yaml")
        .read_text("utf-8")
        .replace("{kind: rnn,", "{kind: rnn, dropout: 0,")
    )
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    run_here(folder, root="alone")
    return folder


@pytest.fixture(scope="module")
def killed(job: Path) -> tuple[int, str]:
    """What a launch leaves and says whose second process was killed while the student trained."""
    words = launcher(["-m", "tutelage", "train", "recipe.yaml", "--out", "two/tiny"])
    env = environment({"HF_HUB_OFFLINE": "1"})
    with (job / "said").open("w", encoding="utf-8") as said:
        started = subprocess.Popen(words, cwd=job, env=env, stdout=said, stderr=said)
        checkpoints = job / "two/tiny/students/gru/checkpoints"
        while started.poll() is None and not list(checkpoints.glob("step-*")):
            time.sleep(0.005)
        assert started.poll() is None, (job / "said").read_text("utf-8")
        os.kill(second_of(started.pid), signal.SIGKILL)
        code = started.wait(60)
    shutil.copytree(job / "two", job / "then-one")
    return code, (job / "said").read_text("utf-8")


def second_of(launcher_process: int) -> int:
    """The process of rank 1 that a launcher started."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text("utf-8").rpartition(")")[2].split()[1]
                if (
                    int(parent) == launcher_process
                    and b"\0RANK=1\0" in (folder / "environ").read_bytes()
                ):
                    return int(folder.name)
            except OSError:
                continue
    raise AssertionError("the launcher has no second process")


def assert_as_alone(job: Path, run: Path) -> None:
    for name in TRAINED:
        for one, expected in zip(
            records(run / name), records(job / "alone/tiny" / name), strict=True
        ):
            assert one == pytest.approx(expected, abs=1e-5, rel=0)


def test_a_process_that_is_killed_ends_all_with_one_line(killed: tuple[int, str]) -> None:
    code, said = killed
    assert code == 1
    assert said.count("ProcessLost: another of the 2 processes has ended") == 1
    assert "start the same command again" in said


def test_two_processes_go_on_and_one_talks(job: Path, killed: tuple[int, str]) -> None:
    done = launch(
        ["-m", "tutelage", "evaluate", "recipe.yaml", "--out", "two/tiny"],
        cwd=job,
        env={"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Training students/gru: going on from step") == 1
    assert done.stdout.count("Run folder: two/tiny") == 1
    assert_as_alone(job, job / "two/tiny")


def test_one_process_goes_on(job: Path, killed: tuple[int, str]) -> None:
    run_here(job, root="then-one")
    assert_as_alone(job, job / "then-one/tiny")


def test_wrong_input_is_said_once_as_by_one_process(job: Path) -> None:
    words = ["-m", "tutelage", "run", "recipe.yaml", "--set", "data.text_field=nowhere", "--json"]
    done = launch(words, cwd=job, env={"HF_HUB_OFFLINE": "1"})
    assert "exitcode: 2" in done.stderr
    (said,) = done.stdout.strip().splitlines()
    assert any("nowhere" in one["message"] for one in json.loads(said)["problems"])
    assert "ProcessLost" not in done.stderr
