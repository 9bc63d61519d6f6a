"""A finished call is believed only while its inputs, its stages and its files are what they
were.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.runs import Finished, RunFolder, recall_finished, remember_finished

FINISHED = Finished(
    inputs="one",
    stages={"teacher": "a", "students/gru": "b"},
    files=("students/gru", "students/gru/model.safetensors"),
    facts={"warnings": ["few rows"], "kl": float("nan")},
)
RECORD = Path(".stages/finished/report.json")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that ended as FINISHED says."""
    run = RunFolder(tmp_path / "run")
    (run.path / "students" / "gru").mkdir(parents=True)
    (run.path / "students" / "gru" / "model.safetensors").touch()
    for name, known in FINISHED.stages.items():
        run.stage(name).mark_done(known, seconds=1.0)
    remember_finished(run, "report", FINISHED)
    return run


def test_it_is_recalled_as_it_was(folder: RunFolder) -> None:
    recalled = recall_finished(folder, "report", inputs="one")
    assert recalled is not None
    assert list(recalled.stages.items()) == list(FINISHED.stages.items())
    assert recalled.files == FINISHED.files
    assert recalled.facts["warnings"] == ["few rows"]
    assert recalled.facts["kl"] != recalled.facts["kl"]


def test_other_inputs_or_another_last_stage_are_not(folder: RunFolder) -> None:
    assert recall_finished(folder, "report", inputs="two") is None
    assert recall_finished(folder, "train", inputs="one") is None


def test_a_stage_that_is_no_longer_done_ends_it(folder: RunFolder) -> None:
    folder.stage("students/gru").mark_done("other", seconds=1.0)
    assert recall_finished(folder, "report", inputs="one") is None
    folder.stage("students/gru").mark_done("b", seconds=1.0)
    assert recall_finished(folder, "report", inputs="one") is not None
    folder.stage("teacher").withdraw()
    assert recall_finished(folder, "report", inputs="one") is None


def test_a_file_that_is_gone_ends_it(folder: RunFolder) -> None:
    (folder.path / "students" / "gru" / "model.safetensors").unlink()
    assert recall_finished(folder, "report", inputs="one") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "{}", '{"record": [], "sum": ""}'])
def test_a_record_that_cannot_be_read_is_none(folder: RunFolder, content: str) -> None:
    (folder.path / RECORD).write_text(content)
    assert recall_finished(folder, "report", inputs="one") is None


def test_a_record_in_which_a_byte_changed_is_none(folder: RunFolder) -> None:
    text = (folder.path / RECORD).read_text()
    assert "few rows" in text
    (folder.path / RECORD).write_text(text.replace("few rows", "few cows"))
    assert recall_finished(folder, "report", inputs="one") is None
    record = {"inputs": "one", "stages": {}, "files": []}
    (folder.path / RECORD).write_text(json.dumps({"record": record, "sum": "0"}))
    assert recall_finished(folder, "report", inputs="one") is None
