"""Stages: done once, known by their inputs, taken over from a sibling, done again when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.recipes.stages import Deferred, Stages, link_tree
from tutelage.runs import RunFolder
from tutelage.types import SILENT


class Work:
    def __init__(self, folder: Path | None = None) -> None:
        self.count, self.folder = 0, folder

    def __call__(self) -> dict[str, int]:
        self.count += 1
        if self.folder is not None:
            self.folder.mkdir(parents=True)
            (self.folder / "result").write_text("made")
        return {"count": self.count}


def stages(root: Path, name: str) -> Stages:
    return Stages(RunFolder(root / name), root, SILENT)


def test_a_stage_is_done_once_for_the_same_inputs(tmp_path: Path) -> None:
    work = Work()
    assert stages(tmp_path, "a").do("teacher", "1", work=work).how == "done"
    assert stages(tmp_path, "a").do("teacher", "1", work=work).how == "kept"
    assert stages(tmp_path, "a").do("teacher", "2", work=work).how == "done"
    assert work.count == 2


def test_a_stage_that_failed_is_not_done(tmp_path: Path) -> None:
    def failing() -> dict[str, int]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stages(tmp_path, "a").do("teacher", "1", work=failing)
    assert stages(tmp_path, "a").do("teacher", "1", work=Work()).how == "done"


def test_a_sibling_gives_its_files_and_may_be_removed_afterwards(tmp_path: Path) -> None:
    import shutil

    stages(tmp_path, "a").do("teacher", "1", work=Work(tmp_path / "a" / "teacher"), folder=tmp_path / "a" / "teacher")
    work = Work()
    done = stages(tmp_path, "b").do("teacher", "1", work=work, folder=tmp_path / "b" / "teacher")
    assert (done.how, work.count) == ("reused", 0)
    shutil.rmtree(tmp_path / "a")
    assert (tmp_path / "b" / "teacher" / "result").read_text() == "made"
    assert stages(tmp_path, "b").folder.stage("teacher").facts == {"count": 1}


def test_without_a_folder_nothing_is_taken_over(tmp_path: Path) -> None:
    stages(tmp_path, "a").do("students/x", "1", work=Work())
    assert stages(tmp_path, "b").do("students/x", "1", work=Work()).how == "done"


def test_a_stage_whose_result_was_damaged_is_done_again(tmp_path: Path) -> None:
    work = Work()
    stages(tmp_path, "a").do("targets", "1", work=work)
    assert stages(tmp_path, "a").do("targets", "1", work=work, is_whole=lambda: False).how == "done"
    assert work.count == 2


def test_a_stage_whose_file_was_removed_is_done_again(tmp_path: Path) -> None:
    work = Work(tmp_path / "a" / "report")
    file = tmp_path / "a" / "report" / "result"
    assert stages(tmp_path, "a").do("report", "1", work=work, leaves=file).how == "done"
    assert stages(tmp_path, "a").do("report", "1", work=work, leaves=file).how == "kept"
    file.unlink()
    file.parent.rmdir()
    assert stages(tmp_path, "a").do("report", "1", work=work, leaves=file).how == "done"


def test_link_tree_replaces_what_is_there(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    link_tree(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["new"]


def test_a_deferred_value_is_made_once_and_only_if_asked_for() -> None:
    made = []
    value = Deferred(lambda: made.append(1) or "model")
    assert made == []
    assert (value.get(), value.get(), made) == ("model", "model", [1])
