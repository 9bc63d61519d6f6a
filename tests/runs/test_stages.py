"""Stages: done once, known by their inputs, taken over from a sibling, done again when damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import RunDamaged
from tutelage.runs import RunFolder, lock, recall_finished, remember_finished
from tutelage.runs.stages import Deferred, StageOutcome, Stages, link_tree
from tutelage.types import SILENT


class Work:
    def __init__(self, folder: Path | None = None) -> None:
        self.count, self.folder = 0, folder

    def __call__(self) -> dict[str, int]:
        self.count += 1
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("result", "metrics.jsonl", "model.safetensors"):
                (self.folder / name).write_text("made")
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


def make(root: Path, run: str, **options: Any) -> tuple[StageOutcome, Work]:
    """Ask for the same stage in a run, telling where it lies."""
    folder = root / run / "students" / "gru"
    work = Work(folder)
    return stages(root, run).do("students/gru", "1", work=work, folder=folder, **options), work


def test_a_sibling_gives_its_files_and_may_be_removed_afterwards(tmp_path: Path) -> None:
    make(tmp_path, "a")
    done, work = make(tmp_path, "b")
    assert (done.how, work.count) == ("reused", 0)
    shutil.rmtree(tmp_path / "a")
    assert (tmp_path / "b" / "students" / "gru" / "result").read_text() == "made"
    assert stages(tmp_path, "b").folder.stage("students/gru").facts == {"count": 1}
    assert [path.name for path in (tmp_path / "b" / "students").iterdir()] == ["gru"]


def test_what_is_appended_to_is_copied_and_work_in_progress_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a")
    mine = tmp_path / "a" / "students" / "gru"
    for place in ("checkpoints/step-1", "tensorboard", ".saving-7"):
        (mine / place).mkdir(parents=True)
        (mine / place / "events").write_text("1")
    make(tmp_path, "b")
    theirs = tmp_path / "b" / "students" / "gru"
    assert {path.name for path in theirs.iterdir()} == {
        "result",
        "metrics.jsonl",
        "model.safetensors",
        "tensorboard",
    }
    with (theirs / "metrics.jsonl").open("a") as file:
        file.write("more")
    (theirs / "tensorboard" / "events").write_text("2")
    assert (mine / "metrics.jsonl").read_text() == "made"
    assert (mine / "tensorboard" / "events").read_text() == "1"
    assert (theirs / "model.safetensors").samefile(mine / "model.safetensors")


def test_a_sibling_that_is_being_written_gives_nothing(tmp_path: Path) -> None:
    make(tmp_path, "a")
    with lock(tmp_path / "a"):
        done, work = make(tmp_path, "b")
    assert (done.how, work.count) == ("done", 1)
    assert make(tmp_path, "c")[0].how == "reused"  # from b, or from a again
    assert not (tmp_path / "a" / ".lock").exists()


def test_a_sibling_that_lost_its_files_gives_nothing_but_the_next_one_does(tmp_path: Path) -> None:
    for run in ("a", "b"):
        make(tmp_path, run)
    shutil.rmtree(tmp_path / "a" / "students")
    assert make(tmp_path, "c")[0].how == "reused"
    for run in ("b", "c"):
        (tmp_path / run / "students" / "gru" / "result").unlink()
    result = tmp_path / "d" / "students" / "gru" / "result"
    assert make(tmp_path, "d", leaves=result)[0].how == "done"
    assert make(tmp_path, "e", is_whole=lambda: False)[0].how == "done"


def test_a_stage_that_lost_its_files_takes_them_from_a_sibling(tmp_path: Path) -> None:
    for run in ("a", "b"):
        make(tmp_path, run)
    shutil.rmtree(tmp_path / "b" / "students")
    assert make(tmp_path, "b")[0].how == "reused"


def test_what_others_put_into_the_folder_outlives_a_take_over(tmp_path: Path) -> None:
    for run, name in (("a", "theirs"), ("b", "mine")):
        make(tmp_path, run)
        export = tmp_path / run / "students" / "gru" / "export" / "onnx"
        export.mkdir(parents=True)
        (export / name).touch()
    (tmp_path / "b" / "students" / "gru" / "result").unlink()
    result = tmp_path / "b" / "students" / "gru" / "result"
    assert make(tmp_path, "b", leaves=result)[0].how == "reused"
    assert [file.name for file in result.parent.glob("export/onnx/*")] == ["mine"]


def test_killed_while_files_are_taken_over_the_old_record_does_not_vouch_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a")
    folder = tmp_path / "b" / "students" / "gru"
    stages(tmp_path, "b").do("students/gru", "2", work=Work(folder), folder=folder)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tutelage.runs.stages.link_tree", killed)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, "b")
    assert not stages(tmp_path, "b").folder.stage("students/gru").is_done("2")


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
    assert stages(tmp_path, "a").do("report", "1", work=work, leaves=file).how == "done"


def test_link_tree_replaces_what_is_there(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    (tmp_path / "staging").mkdir()  # what a kill has left
    link_tree(tmp_path / "new", tmp_path / "old", staging=tmp_path / "staging")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["new"]
    assert not (tmp_path / "staging").exists()


def test_a_deferred_value_is_made_once_and_only_if_asked_for() -> None:
    made = []
    value = Deferred(lambda: made.append(1) or "model")
    assert made == []
    assert (value.get(), value.get(), made) == ("model", "model", [1])


def test_how_a_call_ended_names_stages_files_and_weights(tmp_path: Path) -> None:
    asked = stages(tmp_path, "a")
    group = tmp_path / "a" / "students"
    asked.do("teacher", "1", work=Work())
    asked.do("students/gru", "2", work=Work(group / "gru"), folder=group / "gru")
    finished = asked.finished("inputs", {"warnings": []})
    assert finished.stages == {"teacher": "1", "students/gru": "2"}
    assert finished.files == ("students/gru", "students/gru/model.safetensors")
    remember_finished(asked.folder, "train", finished)
    assert recall_finished(asked.folder, "train", inputs="inputs") == finished


def test_a_stage_whose_file_was_damaged_is_done_again(tmp_path: Path) -> None:
    _, work = make(tmp_path, "a")
    weights = tmp_path / "a" / "students" / "gru" / "model.safetensors"
    weights.write_text("maid", encoding="utf-8")
    done, again = make(tmp_path, "a")
    assert (done.how, work.count, again.count) == ("done", 1, 1)
    assert weights.read_text(encoding="utf-8") == "made"


def test_nothing_is_removed_where_a_link_leads_out_of_the_run(tmp_path: Path) -> None:
    make(tmp_path, "a")
    (tmp_path / "a" / "students").rename(tmp_path / "mine")
    (tmp_path / "a" / "students").symlink_to(tmp_path / "mine")
    mine = tmp_path / "mine" / "gru" / "model.safetensors"
    mine.write_text("maid", encoding="utf-8")
    with pytest.raises(RunDamaged, match="lies outside of the run, where a link leads"):
        make(tmp_path, "a")
    assert mine.read_text(encoding="utf-8") == "maid"


def test_a_damaged_sibling_gives_nothing(tmp_path: Path) -> None:
    make(tmp_path, "a")
    (tmp_path / "a" / "students" / "gru" / "result").write_text("maid", encoding="utf-8")
    done, work = make(tmp_path, "b")
    assert (done.how, work.count) == ("done", 1)


def test_a_folder_that_became_a_file_is_made_again(tmp_path: Path) -> None:
    make(tmp_path, "a")
    folder = tmp_path / "a" / "students" / "gru"
    shutil.rmtree(folder)
    folder.write_text("no folder", encoding="utf-8")
    done, _ = make(tmp_path, "a")
    assert done.how == "done"
    assert (folder / "result").is_file()
