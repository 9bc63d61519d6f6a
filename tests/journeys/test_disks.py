"""Disks that fill up, limits of size and handles, folders that are read-only: told in a line, with
nothing lost, and the same command goes on afterwards.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.journeys.tiny_job import environment, run_here

from tutelage.cli.main import main
from tutelage.errors import StorageError
from tutelage.runs import files

RESULTS = (
    "recipe.yaml",
    "teacher/head.safetensors",
    "students/gru/metrics.jsonl",
    "students/gru/model.safetensors",
)
QUICK = ("train.epochs=3", "evaluate.control=false")


class Disk:
    """Counts what is synced, and is full at the call that it is told of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[int] = []
        self.full_at: int | None = None
        self._real = os.fsync
        monkeypatch.setattr(os, "fsync", self._sync)

    def _sync(self, descriptor: int) -> None:
        if self.full_at is not None and len(self.synced) >= self.full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.synced.append(os.fstat(descriptor).st_ino)
        self._real(descriptor)


def _is_kept(run: Path, path: Path) -> bool:
    return path.is_file() and not {"tensorboard", "readings"} & set(path.relative_to(run).parts)


def test_a_disk_that_fills_up_at_any_write_costs_nothing_that_was_done(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    unbroken = run_here(job, *QUICK, root="a").folder.path
    # Whatever a run leaves has reached the disk, and others may read it.
    for path in unbroken.rglob("*"):
        if _is_kept(unbroken, path):
            assert path.stat().st_ino in disk.synced, path
            assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(
                (unbroken / "recipe.yaml").stat().st_mode
            ), path

    writes, told = len(disk.synced), list[str]()
    for part in range(12):
        disk.synced.clear()
        disk.full_at = 1 + part * writes // 14
        try:
            run_here(job, *QUICK, root="b")
        except StorageError as error:
            told.append(str(error))
        else:
            break
    assert all("the disk is full. Free some space" in words for words in told)
    assert len({words.split(":")[0] for words in told}) > 2, told
    disk.full_at = None
    again = run_here(job, *QUICK, root="b").folder.path
    for name in RESULTS:
        assert (unbroken / name).read_bytes() == (again / name).read_bytes(), name
    left = [path.name for path in again.rglob("*") if files.UNFINISHED_FILE.fullmatch(path.name)]
    assert not left


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limits")
def test_a_limit_of_size_or_handles_is_told_and_raised_the_run_goes_on(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["label", "recipe.yaml", "--quiet"]
    script = (
        "import resource, sys; from tutelage.cli.main import main; "
        "most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, most)); sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=job, env=environment(job), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert re.fullmatch(r"StorageError: runs/tiny/.*ulimit -f unlimited.*\n", done.stderr)

    monkeypatch.chdir(job)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 2, before[1]))
    try:
        assert main(words) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        os.close(held)
    assert re.fullmatch(r"StorageError: .*ulimit -n 1024.*\n", capsys.readouterr().err)
    assert main(words) == 0


@pytest.fixture
def read_only(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run on a file system that nobody writes."""
    real = os.open

    def refuse(path: object, flags: int, *others: object, **options: object) -> int:
        if flags & (os.O_CREAT | os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))  # type: ignore[arg-type]
        return real(path, flags, *others, **options)  # type: ignore[arg-type]

    monkeypatch.chdir(finished)
    monkeypatch.setattr(os, "open", refuse)
    return finished / "runs" / "tiny"


def test_a_finished_run_that_nobody_may_write_is_found_finished(
    read_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "recipe.yaml", "--quiet"]) == 0
    assert "Everything had been done before" in capsys.readouterr().out


def test_where_nothing_may_be_written_that_is_said(
    read_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "recipe.yaml", "--quiet"]) == 2
    assert "the file system is read-only. Choose a place" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone/run", "a folder on the way is not there"),
        ("lost", "is a link that leads nowhere"),
        ("file", "no run of tutelage"),
        ("file/run", "a file lies where a folder is expected"),
        ("x" * 300, "the name is longer"),
        ("caf\udce9", "the name is not UTF-8"),
        ("folder", r"a folder, a link or a device"),
    ],
)
def test_a_folder_that_cannot_be_is_told_before_anything_is_computed(
    name: str, words: str, job: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (job / "lost").symlink_to(job / "nowhere")
    (job / "file").write_text("precious")
    (job / "folder" / ".lock").mkdir(parents=True)
    monkeypatch.chdir(job)
    out = "/proc/gone/run" if name == "gone/run" else name
    if name == "gone/run" and sys.platform != "linux":
        pytest.skip("no folder in which nobody makes one")
    assert main(["run", "recipe.yaml", "--quiet", "--out", out]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not (job / "nowhere").exists()


@pytest.mark.parametrize(
    "command",
    [["predict", "runs/tiny", "--file", "test.csv"], ["targets", "export", "runs/tiny"]],
)
def test_answers_go_to_a_file_or_nowhere(
    command: list[str], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(finished)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "lost.csv").symlink_to(tmp_path / "nowhere" / "a.csv")
    for name, words in (
        ("folder.csv", "is a folder; expected a file"),
        ("lost.csv", "a link leads nowhere"),
        ("x" * 300 + ".csv", "the name is longer"),
        ("caf\udce9.csv", "the name is not UTF-8"),
    ):
        assert main([*command, "--out", str(tmp_path / name)]) == 2
        assert words in capsys.readouterr().err
    target = tmp_path / "answers.csv"
    target.write_text("old")
    disk = Disk(monkeypatch)
    disk.full_at = 0
    assert main([*command, "--out", str(target)]) == 1
    assert "answers.csv: the disk is full" in capsys.readouterr().err
    assert target.read_text("utf-8") == "old"
    disk.full_at = None
    assert main([*command, "--out", str(target)]) == 0
    assert target.read_text("utf-8") != "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "answers.csv", "folder.csv", "lost.csv",
    ]  # fmt: skip
