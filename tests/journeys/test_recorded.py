"""Recorded answers as a teacher, from a file to a report."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
import yaml
from tests.journeys.tiny_job import LABELS, run_here, sentences, write_csv

from tutelage.cli.main import main
from tutelage.recipes.loading import load_recipe

RECIPE = """\
name: tiny
task: {kind: classification, labels: [negative, neutral, positive]}
data: {train: train.csv, validation: validation.csv, test: test.csv}
teacher: {kind: recorded, file: answers.csv}
students:
  words: {kind: linear, max_ngrams: 200}
train: {epochs: 1}
evaluate: {control: true, bootstrap_samples: 100, latency_examples: 5}
"""


def job(folder: Path) -> Path:
    """Data, answers in another order of labels, and a recipe."""
    rows = sentences(120, seed=0)
    for name, part in (("train", rows[:60]), ("validation", rows[60:80]), ("test", rows[80:])):
        write_csv(folder / f"{name}.csv", part)
    chance = random.Random(1)
    lines = ["text,p_positive,p_negative,p_neutral"]
    for text, label in chance.sample(rows, len(rows)):
        top = chance.uniform(0.6, 0.9)
        probs = {name: top if name == label else (1 - top) / 2 for name in LABELS}
        lines.append(f"{text},{probs['positive']},{probs['negative']},{probs['neutral']}")
    (folder / "answers.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = job(tmp_path_factory.mktemp("recorded"))
    run_here(folder, until="report")
    return folder


def test_a_report_names_the_file_and_times_no_teacher(finished: Path) -> None:
    run = finished / "runs" / "tiny"
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["teacher"]["accuracy"]["value"] == 1.0
    assert "latency_ms_p50" not in evaluation["teacher"]
    assert evaluation["students"]["words"]["agreement"]["value"] > 0.9
    said = "answers recorded in answers.csv: probabilities of 120 texts"
    assert json.loads((run / "provenance.json").read_text())["teacher"]["description"] == said
    assert said in (run / "report.html").read_text(encoding="utf-8")


def test_a_second_run_has_nothing_to_do_until_the_answers_change(finished: Path) -> None:
    assert set(_stages(finished).values()) == {"kept"}
    file = finished / "answers.csv"
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace("p_positive,p_negative", "p_negative,p_positive"), "utf-8")
    changed = _stages(finished)
    file.write_text(before, encoding="utf-8")
    assert changed["teacher"] == changed["targets"] == changed["students/words"] == "done"
    run_here(finished, until="report")


def _stages(folder: Path) -> dict[str, str]:
    return {stage.name: stage.how for stage in run_here(folder, until="report").stages}


def test_rows_without_an_answer_are_left_out_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = job(tmp_path)
    header, *rows = (folder / "answers.csv").read_text(encoding="utf-8").splitlines()
    judged = [(folder / f"{name}.csv").read_text("utf-8") for name in ("validation", "test")]
    held = [row for row in rows if any(row.split(",")[0] in text for text in judged)]
    kept = [row for row in rows if row not in held[:5]][7:]
    (folder / "answers.csv").write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
    assert main(["check", str(folder / "recipe.yaml")]) == 0
    missing = 120 - len(kept)
    assert f"no answer for {missing} of 120 texts" in capsys.readouterr().out
    outcome = run_here(folder, until="evaluate")
    evaluation = json.loads((outcome.folder.path / "evaluation.json").read_text())
    assert evaluation["rows"] < 40
    account = outcome.folder.stage("targets").facts["answers"]
    assert account["answers"] == 120 - missing
    assert account["unanswered"] == {"not recorded": missing}
    assert {stage.how for stage in run_here(folder, until="evaluate").stages} == {"kept"}


def test_everything_else_that_is_done_with_a_run(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(finished / "runs" / "tiny")
    assert main(["predict", run, "great lovely phone", "--json"]) == 0
    assert '"positive"' in capsys.readouterr().out
    assert main(["explain", run, "great phone"]) == 0
    assert main(["explain", run, "--teacher", "great phone"]) == 2
    assert "of kind recorded and has no weights here" in capsys.readouterr().err
    assert main(["runs", str(finished / "runs")]) == 0
    assert "recorded answers.csv" in capsys.readouterr().out
    assert main(["verify", run]) == 0
    assert main(["check", str(finished / "recipe.yaml")]) == 0
    assert "its answers are there: nothing is computed" in capsys.readouterr().out


def test_a_store_of_another_run_is_a_teacher(finished: Path, tmp_path: Path) -> None:
    other = job(tmp_path)
    (other / "answers.csv").unlink()
    store = finished / "runs" / "tiny"
    labels = "task.labels=[positive, negative, neutral]"
    outcome = run_here(other, f"teacher.file={store}", labels, until="label")
    held_out = outcome.teacher_held_out
    assert held_out["accuracy"]["value"] == 1.0


def test_students_are_told_that_there_are_no_weights(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--set", "students.words={kind: rnn, embeddings: teacher}"]
    assert main(["check", str(finished / "recipe.yaml"), *asked]) == 2
    assert (
        "a teacher of kind recorded has none here: take embeddings: random"
        in capsys.readouterr().out
    )


def test_a_wrong_path_is_told_with_the_right_one(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(finished / "recipe.yaml")
    assert main(["check", recipe, "--set", "teacher.file=answer.csv"]) == 2
    assert "teacher.file: answer.csv: no such file" in capsys.readouterr().out
    assert main(["check", recipe, "--set", "teacher.file=answers.xls"]) == 2
    assert "teacher.file" in capsys.readouterr().err


def test_every_recipe_of_the_page_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "recorded.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert len(blocks) == 9
    whole = blocks[0]
    for block in blocks:
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump({**whole, **block}), encoding="utf-8")
        assert load_recipe(file).teacher.kind == "recorded"
