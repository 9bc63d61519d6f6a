"""The run folder: never given to another recipe, stages remembered by what they depended on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.errors import RunExists
from tutelage.runs import RunFolder, atomic_write_text, describe_changes, find_stages, open_run

RECIPE = "name: reviews\ntrain:\n  epochs: 3\n  seed: 0\nstudents:\n  gru: {kind: rnn}\n"


def make_run(path: Path, recipe: str = RECIPE) -> RunFolder:
    atomic_write_text(path / "recipe.yaml", recipe)
    return RunFolder(path)


def test_where_things_lie():
    folder = RunFolder(Path("runs/reviews"))
    expected = {
        "recipe": "recipe.yaml",
        "provenance": "provenance.json",
        "targets": "targets",
        "teacher": "teacher",
        "students": "students",
        "controls": "controls",
        "evaluation": "evaluation.json",
        "predictions": "predictions.parquet",
        "report": "report.html",
    }
    for name, place in expected.items():
        assert getattr(folder, f"{name}_path") == Path("runs/reviews") / place


def test_the_first_free_name_or_the_one_that_is_ours(tmp_path):
    assert open_run(tmp_path, "reviews", RECIPE).path == tmp_path / "reviews"
    assert not (tmp_path / "reviews").exists()
    make_run(tmp_path / "reviews", "name: other\n")
    assert open_run(tmp_path, "reviews", RECIPE).path == tmp_path / "reviews-2"
    make_run(tmp_path / "reviews-2", "name: another\n")
    make_run(tmp_path / "reviews-3")
    assert open_run(tmp_path, "reviews", RECIPE).path == tmp_path / "reviews-3"
    assert open_run(tmp_path, "reviews", "name: other\n").path == tmp_path / "reviews"
    assert open_run(tmp_path, "reviews", "name: new\n").path == tmp_path / "reviews-4"


def test_a_folder_of_other_things_is_passed_over(tmp_path):
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "thesis.tex").write_text("precious")
    assert open_run(tmp_path, "reviews", RECIPE).path == tmp_path / "reviews-2"
    (tmp_path / "reviews" / "thesis.tex").unlink()
    (tmp_path / "reviews" / ".lock").write_text("1")  # what a killed run may leave
    assert open_run(tmp_path, "reviews", RECIPE).path == tmp_path / "reviews"


def test_our_run_is_found_behind_a_free_name(tmp_path):
    (tmp_path / "reviews").mkdir()
    make_run(tmp_path / "reviews-2")
    assert open_run(tmp_path, "reviews", RECIPE).path == tmp_path / "reviews-2"


def test_out_is_taken_if_free_or_ours(tmp_path):
    out = tmp_path / "mine"
    assert open_run(tmp_path, "reviews", RECIPE, out=out).path == out
    out.mkdir()
    assert open_run(tmp_path, "reviews", RECIPE, out=out).path == out
    make_run(out)
    assert open_run(tmp_path, "reviews", RECIPE, out=out).path == out


def test_out_of_another_recipe_is_refused_with_what_changed(tmp_path):
    out = make_run(tmp_path / "mine").path
    changed = RECIPE.replace("epochs: 3", "epochs: 10").replace(
        "  gru: {kind: rnn}", "  tiny: {kind: transformer}"
    )
    changes = r"\(students.gru.kind removed, students.tiny.kind added, train.epochs 3 → 10\)"
    message = (
        rf"another recipe {changes} .* --out .*mine-2: what is still the same is taken over from "
        rf".*mine$"
    )
    with pytest.raises(RunExists, match=message):
        open_run(tmp_path, "reviews", changed, out=out)
    assert (out / "recipe.yaml").read_text("utf-8") == RECIPE


def test_out_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(
        RunExists,
        match=r"holds files that are no run of tutelage and is left as it is. Give a new folder",
    ):
        open_run(tmp_path, "reviews", RECIPE, out=tmp_path)
    with pytest.raises(RunExists, match="holds files that are no run"):
        open_run(tmp_path, "reviews", RECIPE, out=tmp_path / "thesis.tex")


def test_changes_are_named_key_by_key():
    assert describe_changes("a: 1\nb: {c: x}\n", "a: 1\nb: {c: y}\n") == "b.c x → y"
    assert describe_changes("a: 1\n", "a: 1 # the same\n") == "the same values, written differently"
    many = describe_changes("{}", "\n".join(f"k{number}: 1" for number in range(9)))
    assert many.endswith("k5 added and 3 more")


def test_a_stage_is_done_for_its_inputs_only(tmp_path):
    stage = RunFolder(tmp_path).stage("students/gru")
    assert not stage.is_done("abc")
    assert (stage.facts, stage.seconds) == ({}, 0.0)
    stage.mark_done("abc", seconds=1.5, steps=7)
    assert stage.is_done("abc")
    assert not stage.is_done("abd")
    assert (stage.facts, stage.seconds) == ({"steps": 7}, 1.5)
    assert (tmp_path / ".stages" / "students" / "gru.json").is_file()
    stage.mark_done("abd", seconds=1.0)
    assert not stage.is_done("abc")
    assert stage.facts == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_damaged_record_means_not_done(tmp_path, content):
    stage = RunFolder(tmp_path).stage("teacher")
    stage.mark_done("abc", seconds=1.0)
    stage.path.write_text(content)
    assert not stage.is_done("abc")
    assert stage.facts == {}


def test_a_stage_is_found_in_every_run_beside(tmp_path):
    a = make_run(tmp_path / "a")
    a.stage("teacher").mark_done("t1", seconds=1.0)
    b = make_run(tmp_path / "b")
    b.stage("teacher").mark_done("t2", seconds=1.0)
    a.stage("students/gru").mark_done("s1", seconds=1.0)
    b.stage("students/gru").mark_done("s1", seconds=1.0)
    assert list(find_stages(tmp_path, "teacher", "t2")) == [b]
    assert list(find_stages(tmp_path, "students/gru", "s1")) == [a, b]
    assert list(find_stages(tmp_path, "teacher", "t3")) == []
    assert list(find_stages(tmp_path / "nowhere", "teacher", "t1")) == []
