"""The flow knows no task: one whose targets and students are files of its own runs like any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.recipes.own_task import LengthJob

from tutelage.recipes.loading import load_recipe
from tutelage.recipes.predicting import predict_texts
from tutelage.recipes.run import Outcome, run
from tutelage.tasks import KINDS

RECIPE = """\
task: {kind: lengths}
data: {train: texts.csv}
students: {far: {factor: 3.0}, near: {factor: 1.5}}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(KINDS, "lengths", "tests.recipes.own_task")
    (tmp_path / "texts.csv").write_text("one\nthree\n")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def done(recipe: Path) -> tuple[Outcome, list[str]]:
    outcome = run(load_recipe(recipe), root=recipe.parent / "runs", until="evaluate")
    return outcome, [stage.name for stage in outcome.stages if stage.how == "done"]


def test_it_runs_and_a_second_call_does_not_even_read_its_data(recipe, monkeypatch) -> None:
    outcome, stages = done(recipe)
    assert stages == ["targets", "students/far", "students/near", "evaluation"]
    provenance = json.loads(outcome.folder.provenance_path.read_text("utf-8"))
    assert provenance["seed"] is None
    monkeypatch.setattr(LengthJob, "__init__", None)
    assert done(recipe)[1] == []


def test_a_student_that_lost_a_file_is_trained_again(recipe) -> None:
    outcome, _ = done(recipe)
    (outcome.folder.students_path / "near" / "mean.json").unlink()
    assert done(recipe)[1] == ["students/near", "evaluation"]


@pytest.mark.parametrize(
    ("place", "name", "length"),
    [("", None, 6.0), ("", "far", 12.0), ("students/far", None, 12.0)],
)
def test_its_students_answer(recipe, place, name, length) -> None:
    folder = done(recipe)[0].folder.path / place
    assert predict_texts(folder, ["a"], student=name) == [{"text": "a", "length": length}]


def test_a_student_without_its_run_is_known_by_its_files(recipe, tmp_path) -> None:
    place = done(recipe)[0].folder.students_path / "near"
    assert predict_texts(place.rename(tmp_path / "alone"), ["a"]) == [{"text": "a", "length": 6.0}]
