"""A run's folder is chosen and locked in one step: nobody's recipe or student is written over."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.errors import NotEnoughDisk, RunExists, StorageError
from tutelage.runs import atomic_write_text, claim_run, claiming, lock

MINE, THEIRS = "name: reviews\nseed: 1\n", "name: reviews\nseed: 2\n"

RUN = """
import sys, time
from pathlib import Path
from tutelage.errors import RunExists
from tutelage.runs import atomic_write_text, claim_run
root, recipe = Path(sys.argv[1]), sys.argv[2]
out = Path(sys.argv[3]) if len(sys.argv) > 3 else None
sys.stdin.readline()
try:
    with claim_run(root, "reviews", recipe, out=out) as folder:
        time.sleep(0.2)  # the other process meets a folder that is locked and says nothing yet
        atomic_write_text(folder.recipe_path, recipe)
        atomic_write_text(folder.students_path / "student", recipe)
        time.sleep(0.2)
    print(folder.path.name)
except RunExists as error:
    print(f"refused: {error}")
"""


def run_together(root: Path, *recipes: str, out: Path | None = None) -> list[str]:
    """Start a process for each recipe, let them go at once, and give what each printed."""
    words = [str(out)] if out is not None else []
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(root), recipe, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for recipe in recipes
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[0].strip() for process in started]


def test_processes_that_start_together_get_a_folder_each(tmp_path: Path) -> None:
    recipes = [MINE, THEIRS, MINE.replace("1", "3")]
    names = run_together(tmp_path, *recipes)
    assert sorted(names) == ["reviews", "reviews-2", "reviews-3"]
    for name, recipe in zip(names, recipes, strict=True):
        assert (tmp_path / name / "recipe.yaml").read_text("utf-8") == recipe
        assert (tmp_path / name / "students" / "student").read_text("utf-8") == recipe


def test_of_two_that_want_one_folder_one_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    for second, words in ((THEIRS, "made by another recipe"), (MINE, "being written by process")):
        told = run_together(tmp_path, MINE, second, out=out)
        refused = [line for line in told if line.startswith("refused")]
        assert len(refused) == 1
        assert words in refused[0]
        kept = {(out / name).read_text("utf-8") for name in ("recipe.yaml", "students/student")}
        assert kept <= {MINE, second}
        assert len(kept) == 1
        for name in ("recipe.yaml", "students/student"):
            (out / name).unlink()
        (out / "students").rmdir()


@pytest.mark.parametrize("asked", [None, "reviews"])
def test_what_another_process_finished_in_between_is_left(
    asked: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = None if asked is None else tmp_path / asked

    def late(path: Path):
        if path.name == "reviews" and not path.exists():
            atomic_write_text(path / "recipe.yaml", THEIRS)
        return lock(path)

    monkeypatch.setattr(claiming, "lock", late)
    if out is None:
        with claim_run(tmp_path, "reviews", MINE) as folder:
            assert folder.path == tmp_path / "reviews-2"
    else:
        with (
            pytest.raises(RunExists, match="made by another recipe"),
            claim_run(tmp_path, "reviews", MINE, out=out),
        ):
            pass
    assert (tmp_path / "reviews" / "recipe.yaml").read_text("utf-8") == THEIRS


@pytest.mark.parametrize("asked", [None, "reviews"])
def test_a_folder_whose_run_was_killed_in_its_first_write_is_taken_over(
    asked: str | None, tmp_path: Path
) -> None:
    killed = "import os; os.fsync = lambda _: os.kill(os.getpid(), 9)\n" + RUN
    out = [] if asked is None else [str(tmp_path / asked)]
    done = subprocess.run(
        [sys.executable, "-c", killed, str(tmp_path), THEIRS, *out], input="go\n", text=True
    )
    assert done.returncode == -signal.SIGKILL
    left = sorted(path.name for path in (tmp_path / "reviews").iterdir())
    assert left[0] == ".lock"
    assert left[1].startswith(".recipe.yaml.")
    place = None if asked is None else tmp_path / asked
    with claim_run(tmp_path, "reviews", MINE, out=place) as folder:
        assert folder.path == tmp_path / "reviews"
        assert [path.name for path in folder.path.iterdir()] == [".lock"]


def test_where_nothing_was_written_no_folder_is_left(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughDisk), claim_run(tmp_path, "reviews", MINE):
        raise NotEnoughDisk("9 GB")
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_file_system_inside_become_words(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="reviews/students/a: a folder on the way is not there"),
        claim_run(tmp_path, "reviews", MINE) as folder,
    ):
        (folder.students_path / "a").write_text("a")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone", "is a link that leads nowhere; .* give another one with --out"),
        ("circle", "is a link that leads nowhere"),
        ("file/run", "a file lies where a folder is expected"),
        ("x" * 300, "the name is longer than the file system takes"),
        ("caf\udce9", "the name is not UTF-8"),
    ],
)
def test_a_place_where_no_folder_can_be_is_told(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "file").write_text("precious")
    with (
        pytest.raises((StorageError, RunExists), match=words),
        claim_run(tmp_path, "reviews", MINE, out=tmp_path / name),
    ):
        pass
    assert not (tmp_path / "nowhere").exists()
