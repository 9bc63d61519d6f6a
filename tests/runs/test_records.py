"""A stage's record knows what the stage left, and what of it is not what it was."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import RunDamaged, StorageError
from tutelage.runs import Stage, recorded, require_undamaged
from tutelage.runs.fingerprints import fingerprint


def finished(run: Path) -> Stage:
    """A stage that left three files, and one of another stage and one of unfinished work beside."""
    student = run / "students" / "gru"
    for name in ("model.safetensors", "recipe.txt", "tensorboard/events"):
        (student / name).parent.mkdir(parents=True, exist_ok=True)
        (student / name).write_text("made by " + name, encoding="utf-8")
    for name in ("export/half/model", "checkpoints/step-1/state.json", ".writing"):
        (student / name).parent.mkdir(parents=True, exist_ok=True)
        (student / name).write_text("of others", encoding="utf-8")
    stage = Stage(run, "students/gru")
    stage.mark_done("f", seconds=1.0, left=[student], copied=[student / "recipe.txt"], steps=7)
    return stage


def test_what_a_stage_left_is_as_it_was(tmp_path: Path) -> None:
    stage = finished(tmp_path)
    assert sorted(stage.sums) == [
        "students/gru/model.safetensors",
        "students/gru/recipe.txt",
        "students/gru/tensorboard/events",
    ]
    assert (stage.damages(), stage.state, stage.facts) == ([], "summed", {"steps": 7})
    require_undamaged(tmp_path, ["students/gru", "never finished"])


def other_bytes(path: Path) -> None:
    path.write_bytes(b"M" + path.read_bytes()[1:])


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (other_bytes, "holds other bytes than were written"),
        (shorter, "has 24 bytes where 25 were written"),
        (Path.unlink, "is gone"),
        (folder_instead, "is no file any more"),
    ],
)
def test_a_file_that_is_not_what_it_was_is_named(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    stage = finished(tmp_path)
    damage(tmp_path / "students/gru/model.safetensors")
    assert [str(found) for found in stage.damages()] == [f"students/gru/model.safetensors {words}"]
    with pytest.raises(RunDamaged, match=f"students/gru/model.safetensors {words}"):
        require_undamaged(tmp_path, ["students/gru"])


def test_what_nothing_is_made_from_stops_nobody(tmp_path: Path) -> None:
    stage = finished(tmp_path)
    (tmp_path / "students/gru/tensorboard/events").unlink()
    assert [found.matters for found in stage.damages()] == [False]
    require_undamaged(tmp_path, ["students/gru"])


def test_small_texts_are_put_back(tmp_path: Path) -> None:
    stage = finished(tmp_path)
    text = tmp_path / "students/gru/recipe.txt"
    folder_instead(text)
    assert [found.path for found in stage.restore(stage.damages())] == ["students/gru/recipe.txt"]
    assert text.read_text(encoding="utf-8") == "made by recipe.txt"
    assert stage.damages() == []


@pytest.mark.parametrize("place", [0.1, 0.4, 0.7, 0.95])
def test_a_damaged_record_vouches_for_nothing(tmp_path: Path, place: float) -> None:
    stage = finished(tmp_path)
    content = bytearray(stage.path.read_bytes())
    content[int(place * len(content))] ^= 1
    stage.path.write_bytes(content)
    assert (stage.is_done("f"), stage.state, stage.facts) == (False, "broken", {})
    with pytest.raises(RunDamaged, match="cannot be read"):
        require_undamaged(tmp_path, ["students/gru"])


def test_records_of_earlier_versions_are_believed_and_can_be_given_sums(tmp_path: Path) -> None:
    stage = finished(tmp_path)
    earlier = {"fingerprint": "f", "seconds": 1.0, "facts": {"steps": 7}}
    stage.path.write_text(json.dumps(earlier), encoding="utf-8")
    assert (stage.is_done("f"), stage.state, stage.damages()) == (True, "unsummed", [])
    stage.add_sums(left=[tmp_path / "students/gru"], copied=[])
    assert (stage.is_done("f"), stage.state, stage.facts) == (True, "summed", {"steps": 7})
    assert len(stage.sums) == 3


def test_every_record_of_a_run_is_found(tmp_path: Path) -> None:
    finished(tmp_path)
    Stage(tmp_path, "teacher").mark_done("t", seconds=1.0)
    ending = tmp_path / ".stages" / "finished" / "report.json"
    ending.parent.mkdir()
    ending.write_text("{}", encoding="utf-8")
    assert [stage.name for stage in recorded(tmp_path)] == ["students/gru", "teacher"]


@pytest.mark.parametrize("name", ["result", ".stages/teacher.json"])
def test_what_cannot_be_read_just_now_is_not_damaged(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run without file handles would remove what it could not open, and make it again."""
    (tmp_path / "result").write_text("made")
    stage = Stage(tmp_path, "teacher")
    stage.mark_done("1", seconds=1.0, left=[tmp_path / "result"])

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Any, *words: Any, **options: Any) -> Any:
            if path == tmp_path / name:
                raise OSError(errno.EMFILE, "Too many open files", str(path))
            return real(path, *words, **options)

        return refuse

    monkeypatch.setattr(Path, "open", refusing(Path.open))
    monkeypatch.setattr(os, "open", refusing(os.open))
    with pytest.raises(StorageError, match="no file handles left"):
        stage.damages()
    monkeypatch.undo()
    assert stage.damages() == []


def strangers(stage: Stage, **changed: Any) -> None:
    """Write a record as somebody can who knows how: its sum is right."""
    record = json.loads(stage.path.read_text("utf-8")) | changed
    record.pop("sum")
    stage.path.write_text(json.dumps(record | {"sum": fingerprint(record)}), encoding="utf-8")


SUM = {"bytes": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "name", ["../victim", "a/../../victim", "{}/victim", "", ".", "a//b", "\0"]
)
def test_names_that_lead_out_of_the_run_are_no_record(tmp_path: Path, name: str) -> None:
    run, victim = tmp_path / "run", tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    stage = finished(run)
    name = name.format(tmp_path)
    for changed in ({"files": {name: SUM}}, {"files": {"a": SUM}, "copies": {name: "theirs"}}):
        strangers(stage, **changed)
        assert (stage.state, stage.sums, stage.copies, stage.damages()) == ("broken", {}, {}, [])
        assert stage.restore(stage.damages()) == []
        with pytest.raises(RunDamaged, match="cannot be read"):
            require_undamaged(run, ["students/gru"])
    assert victim.read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    "changed",
    [
        {"files": ["a"]},
        {"files": {"a": 1}},
        {"files": {"a": {"bytes": "1"}}},
        {"copies": {"a": 1}},
        {"copies": {"a": "\ud800"}},
        {"facts": []},
        {"seconds": "long"},
    ],
)
def test_values_that_no_record_holds_are_no_record(tmp_path: Path, changed: dict[str, Any]) -> None:
    stage = finished(tmp_path)
    strangers(stage, **changed)
    assert (stage.state, stage.facts, stage.seconds) == ("broken", {}, 0.0)


def test_nothing_is_put_back_where_a_link_leads_out_of_the_run(tmp_path: Path) -> None:
    run, stage = tmp_path / "run", finished(tmp_path / "run")
    (run / "students").rename(tmp_path / "mine")
    (run / "students").symlink_to(tmp_path / "mine")
    other_bytes(tmp_path / "mine/gru/recipe.txt")
    assert [damage.path for damage in stage.damages()] == ["students/gru/recipe.txt"]
    with pytest.raises(RunDamaged, match=r"recipe\.txt lies outside of the run"):
        stage.restore(stage.damages())
    assert (tmp_path / "mine/gru/recipe.txt").read_text("utf-8").startswith("M")
