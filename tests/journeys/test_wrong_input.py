"""Bad input is refused before any compute, with the place and what to do, and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.journeys.tiny_job import tutelage, tutelage_json

CASES = {
    "missing file": ({"data.train": "trian.csv"}, "trian.csv"),
    "missing column": ({"data.text_field": "txt"}, "txt"),
    "unknown key": ({"train.epoch": "3"}, "epochs"),
    "label outside the list": ({"task.labels": "[negative, positive]"}, "neutral"),
    "missing model folder": ({"teacher.model": "./nowhere"}, "nowhere"),
    "wrong value": ({"train.epochs": "many"}, "epochs"),
}


@pytest.mark.parametrize("case", CASES)
def test_run_refuses_with_exit_2_and_starts_nothing(job: Path, case: str) -> None:
    changes, named = CASES[case]
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    done = tutelage("run", "recipe.yaml", *words, cwd=job, check=2)
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not (job / "runs").exists()


def test_every_problem_is_reported_at_once_with_its_line(job: Path) -> None:
    recipe = job / "recipe.yaml"
    recipe.write_text(
        recipe.read_text().replace("epochs: 8", "epoch: 8").replace("kind: rnn", "kind: rnm")
    )
    done = tutelage("check", "recipe.yaml", cwd=job, check=2)
    assert "recipe.yaml:7" in done.stderr
    assert "recipe.yaml:6" in done.stderr


def test_check_estimates_and_writes_nothing(job: Path) -> None:
    found = tutelage_json("check", "recipe.yaml", cwd=job)
    assert found["ok"] is True
    assert found["estimate"]["steps"] == 2 * 8 * 8
    assert found["estimate"]["disk_bytes"] > 0
    assert not (job / "runs").exists()


def test_check_warns_of_leaks_and_contradictions(job: Path) -> None:
    test_row = (job / "test.csv").read_text().splitlines()[1]
    text = (job / "train.csv").read_text().splitlines()[1].rsplit(",", 1)[0]
    with (job / "train.csv").open("a") as file:
        file.write(f"{test_row}\n{text},neutral\n")
    found = tutelage_json("check", "recipe.yaml", cwd=job)
    warnings = " ".join(problem["message"] for problem in found["problems"])
    assert "test" in warnings
    assert "more than one label" in warnings


def test_errors_as_json(job: Path) -> None:
    done = tutelage("check", "recipe.yaml", "--set", "train.epoch=1", "--json", cwd=job, check=2)
    record = json.loads(done.stdout)
    assert record["error"] == "RecipeError"
    assert "epochs" in record["problems"][0]["message"]


def test_init_writes_a_recipe_that_loads_and_never_over_another(tmp_path: Path) -> None:
    tutelage("init", "new.yaml", cwd=tmp_path)
    before = (tmp_path / "new.yaml").read_bytes()
    tutelage("init", "new.yaml", cwd=tmp_path, check=2)
    assert (tmp_path / "new.yaml").read_bytes() == before


def test_predict_needs_texts_or_a_file_and_a_student(tmp_path: Path) -> None:
    assert "--file" in tutelage("predict", tmp_path, cwd=tmp_path, check=2).stderr
    assert "tutelage run" in tutelage("predict", tmp_path, "hello", cwd=tmp_path, check=2).stderr
