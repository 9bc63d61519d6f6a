"""Listing runs and cleaning one, on folders with the records of finished stages and small files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.cli.main import main
from tutelage.errors import RunDamaged, RunExists, RunIncomplete
from tutelage.recipes.cleaning import clean_run
from tutelage.recipes.listing import list_runs
from tutelage.runs import Stage, lock

RECIPE = """\
name: reviews
task: {kind: classification, labels: [bad, good]}
data: {train: train.csv, test: test.csv}
teacher: {kind: classifier, model: /models/large}
students: {gru: {kind: rnn}, lstm: {kind: rnn, cell: lstm}}
"""


def number(value: float) -> dict[str, float]:
    return {"value": value, "low": value, "high": value}


def evaluation(**more: object) -> dict[str, object]:
    students = {
        "gru": {"accuracy": number(0.7), "latency_ms_p50": number(0.5)},
        "lstm": {"accuracy": number(0.75), "latency_ms_p50": number(2.0)},
    }
    teacher = {"accuracy": number(0.8), "latency_ms_p50": number(50.0)}
    return {"labels": ["bad", "good"], "rows": 9, "teacher": teacher, "students": students, **more}


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def make_run(path: Path, *, finished: bool = True, **more: object) -> Path:
    left = {
        "recipe": write(path / "recipe.yaml", RECIPE),
        "teacher": write(path / "teacher" / "head.safetensors"),
        "students/gru": write(path / "students" / "gru" / "model.safetensors"),
    }
    if finished:
        left["evaluation"] = write(path / "evaluation.json", json.dumps(evaluation(**more)))
        left["report"] = write(path / "report.html")
    for name, file in left.items():
        Stage(path, name).mark_done("0" * 16, seconds=1.0, left=[file])
    return path


def listed(root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:
    assert main(["runs", str(root), "--json"]) == 0
    return {Path(run["run"]).name: run for run in json.loads(capsys.readouterr().out)["runs"]}


def test_runs_are_listed_with_the_student_that_answers(tmp_path: Path, capsys) -> None:
    make_run(tmp_path / "one")
    make_run(tmp_path / "two", preferred={"student": "gru"})
    make_run(tmp_path / "three", finished=False)
    write(tmp_path / "notes" / "a.txt")
    write(tmp_path / "answers" / "replies.jsonl")  # where replies are kept
    write(tmp_path / "file")
    found = listed(tmp_path, capsys)
    assert {name: run["state"] for name, run in found.items()} == {
        "one": "finished",
        "two": "finished",
        "three": "unfinished",
    }
    one = found["one"]
    assert (one["task"], one["teacher"]) == ("classification", "classifier large")
    assert (one["student"], one["preferred"]) == ("lstm", False)
    assert one["quality"] == {
        "measure": "accuracy", "student": 0.75, "teacher": 0.8, "times_better": None
    }  # fmt: skip
    assert one["cost"]["times_better"] == 25
    assert (found["two"]["student"], found["two"]["preferred"]) == ("gru", True)
    assert found["three"]["student"] is None
    assert found["three"]["stages"] == ["recipe", "students/gru", "teacher"]
    assert main(["runs", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "No runs, so not listed: notes" in told
    assert "gru (preferred)" in told
    assert listed(tmp_path / "one", capsys).keys() == {"one"}


@pytest.mark.parametrize(
    ("place", "content", "said"),
    [
        (".stages/teacher.json", "{", ".stages/teacher.json cannot be read as a record"),
        (".stages/finished/report.json", "[]", "cannot be read as a record"),
        ("teacher/head.safetensors", "xx", "head.safetensors has 2 bytes where 1 were written"),
        ("evaluation.json", "[1]", "evaluation.json has 3 bytes where"),
        ("evaluation.json", None, "evaluation.json is gone"),
        ("recipe.yaml", "task: [", "recipe.yaml has 7 bytes where"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_listed(
    tmp_path: Path, capsys, place: str, content: str | None, said: str
) -> None:
    make_run(tmp_path / "whole")
    run = make_run(tmp_path / "with [bold] name")
    (run / place).unlink(missing_ok=True)
    if content is not None:
        write(run / place, content)
    found = listed(tmp_path, capsys)
    assert found["whole"]["state"] == "finished"
    assert found[run.name]["state"] == "damaged"
    assert any(said in problem for problem in found[run.name]["problems"])
    assert main(["runs", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert said in told
    (line,) = [line for line in told.splitlines() if line.startswith("with [bold] name ")]
    assert "damaged" in line
    with pytest.raises(RunDamaged, match="Make it again first: tutelage run"):
        clean_run(run, really=True)


def test_an_evaluation_of_before_that_says_nothing_is_damaged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    for content in ("[]", "{}", '{"students": {"gru": 1}, "teacher": {}}', "\x00"):
        path = write(run / "evaluation.json", content)
        Stage(run, "evaluation").mark_done("0" * 16, seconds=1.0, left=[path])
        (summary,) = list_runs(tmp_path).runs
        assert (summary.state, summary.student) == ("damaged", None)
        assert "is no evaluation any more" in summary.problems[0]


def test_a_run_without_records_is_damaged_and_a_folder_that_is_not_there_is_refused(
    tmp_path,
) -> None:
    write(tmp_path / "one" / "recipe.yaml", RECIPE)
    write(tmp_path / "one" / "evaluation.json", json.dumps(evaluation()))
    (summary,) = list_runs(tmp_path).runs
    assert summary.state == "damaged"
    (tmp_path / "one" / "recipe.yaml").unlink()
    (tmp_path / "one" / "evaluation.json").rename(tmp_path / "evaluation.json")
    (tmp_path / "one" / ".stages").mkdir()  # as a kill leaves it before the first word
    (summary,) = list_runs(tmp_path).runs
    assert (summary.state, summary.problems) == ("unfinished", ())
    with pytest.raises(RunIncomplete, match="is no folder; expected the one in which runs lie"):
        list_runs(tmp_path / "absent")
    assert main(["runs", str(tmp_path / "absent")]) == 2
    assert not (tmp_path / "absent").exists()


def test_an_empty_folder_has_no_runs(tmp_path: Path, capsys) -> None:
    assert main(["runs", str(tmp_path)]) == 0
    assert "No runs in" in capsys.readouterr().out


LEFTOVERS = {
    "readings": "readings/a.safetensors",
    "students/gru/checkpoints": "students/gru/checkpoints/step-1/state.json",
    "teacher/embeddings": "teacher/embeddings/a.safetensors",
    ".stages/.taken": ".stages/.taken/a",
    ".evaluation.json.12.tmp": ".evaluation.json.12.tmp",
    "students/gru/.saving-7": "students/gru/.saving-7/model.safetensors",
}


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_is_left_over_is_named_first_and_removed_when_that_is_said(tmp_path, capsys) -> None:
    run = make_run(tmp_path / "one")
    before = files_of(run)
    for file in LEFTOVERS.values():
        write(run / file, "12345")
    write(run / "students/gru/checkpoints/.state.json.9.tmp", "12345")
    with_leftovers = files_of(run)
    assert main(["clean", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    sizes = {one["path"]: one["bytes"] for one in told["items"]}
    assert sizes == {**dict.fromkeys(LEFTOVERS, 5), "students/gru/checkpoints": 10}
    assert (told["removed"], told["bytes"]) == (False, 35)
    assert files_of(run) == with_leftovers
    assert main(["clean", str(run)]) == 0
    assert "Not needed any more: 6 things, 35 B. To remove it: add --yes" in capsys.readouterr().out
    assert main(["clean", str(run), "--yes"]) == 0
    assert "Removed: 6 things, 35 B." in capsys.readouterr().out
    assert files_of(run) == before
    assert main(["clean", str(run), "--yes"]) == 0
    assert "holds nothing that it does not need" in capsys.readouterr().out


def test_what_a_stage_recorded_is_never_left_over(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    path = write(run / "readings" / "a")
    Stage(run, "odd").mark_done("0" * 16, seconds=1.0, left=[path])
    assert clean_run(run, really=True).leftovers == ()
    assert path.is_file()


def test_links_out_of_a_run_are_not_followed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    theirs = write(tmp_path / "theirs" / "checkpoints" / "a")
    (run / "students" / "linked").symlink_to(tmp_path / "theirs")
    (run / "readings").symlink_to(tmp_path / "theirs")
    (found,) = clean_run(run, really=True).leftovers
    assert found.path == "readings"
    assert theirs.is_file()
    assert not (run / "readings").is_symlink()


def test_a_run_that_is_not_finished_or_none_is_not_cleaned(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", finished=False)
    kept = write(run / "students/gru/checkpoints/state.json")
    with pytest.raises(RunIncomplete, match="is not finished, and what lies there is gone on from"):
        clean_run(run, really=True)
    assert kept.is_file()
    with pytest.raises(RunIncomplete, match="so it is no run folder"):
        clean_run(tmp_path, really=True)
    assert main(["clean", str(tmp_path / "absent")]) == 2


def test_a_run_that_somebody_writes_is_not_cleaned(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    with lock(run), pytest.raises(RunExists, match="is being written by process"):
        clean_run(run)
