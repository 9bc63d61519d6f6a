"""A run whose student is its teacher with fewer layers: checked, trained, stopped, evaluated and
asked as others are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tests.journeys.test_partial_training import Stopped, StopsAfter
from tests.journeys.tiny_job import run_here, tutelage, tutelage_json, write_job

from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run
from tutelage.tasks.classification.checking import check_recipe

MATCHED = ", vocabulary: corpus, hidden_weight: 0.5, head_learning_rate: 5e-2"


def with_half(job: Path, options: str = "", layers: int = 1) -> Path:
    """The tiny job with a pruned student in place of its recurrent one."""
    path = job / "recipe.yaml"
    lines = path.read_text("utf-8").splitlines()
    place = next(row for row, line in enumerate(lines) if line.startswith("  gru:"))
    lines[place] = f"  half: {{kind: pruned, layers: {layers}{options}}}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return job


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """Such a job after `tutelage run`; shared, so what lies in it is not changed."""
    folder = with_half(write_job(tmp_path_factory.mktemp("halved"), model_folder), MATCHED)
    tutelage("run", "recipe.yaml", cwd=folder)
    return folder


def test_a_run_leaves_the_student_its_control_and_their_scores(halved: Path) -> None:
    folder = halved / "runs" / "tiny"
    evaluation = json.loads((folder / "evaluation.json").read_text())
    student, control = (evaluation[group]["half"] for group in ("students", "controls"))
    assert student["kl"]["value"] < control["kl"]["value"]
    assert student["parameters"]["value"] < evaluation["teacher"]["parameters"]["value"]
    config = json.loads((folder / "students/half/config.json").read_text())
    assert (config["kept_layers"], config["text_config"]["num_hidden_layers"]) == ([0], 1)
    assert str(halved) not in json.dumps(config)  # it may be given away
    answer = tutelage_json("predict", "runs/tiny", "a great phone", cwd=halved)
    assert sum(answer[0]["probabilities"].values()) == pytest.approx(1)
    record = tutelage_json("run", "recipe.yaml", cwd=halved)
    assert {stage["how"] for stage in record["stages"]} == {"kept"}


def test_a_stopped_run_ends_as_if_it_had_not_been(job: Path) -> None:
    recipe = load_recipe(with_half(job, MATCHED) / "recipe.yaml")
    whole = run(recipe, root=job / "whole").folder.path
    run(recipe, root=job / "cut", until="label")
    with pytest.raises(Stopped):
        run(recipe, root=job / "cut", progress=StopsAfter(30))
    assert list((job / "cut").rglob("checkpoints"))
    again = run(recipe, root=job / "cut").folder.path
    for group in ("students", "controls"):
        first, second = (
            load_file(one / group / "half/model.safetensors") for one in (whole, again)
        )
        assert first.keys() == second.keys()
        assert all((first[name] == second[name]).all() for name in first)


def test_more_layers_than_the_teacher_reads_are_refused_before_anything_is_made(job: Path) -> None:
    text = (with_half(job, layers=3) / "recipe.yaml").read_text("utf-8")
    found = check_recipe(load_recipe(job / "recipe.yaml"), root=job / "runs")
    told = [str(problem) for problem in found.problems]
    assert any("students.half.layers" in one and "give 1 to 2" in one for one in told), told
    (job / "recipe.yaml").write_text(text.replace("method: head", "method: head, layers: [1]"))
    found = check_recipe(load_recipe(job / "recipe.yaml"), root=job / "runs")
    told = [str(problem) for problem in found.problems]
    assert any("its head reads the first 1: give 1 to 1" in one for one in told), told
    assert not (job / "runs").exists()


def test_check_estimates_it(job: Path) -> None:
    found = check_recipe(load_recipe(with_half(job) / "recipe.yaml"), root=job / "runs")
    assert all(problem.severity == "warning" for problem in found.problems)
    assert found.estimate["steps"] == 2 * 8 * 8
    assert found.estimate["training_seconds"] > 0


def test_run_here_takes_it(job: Path) -> None:
    outcome = run_here(with_half(job, ", choice: influence"), "train.epochs=1")
    assert outcome.folder.path.is_dir()
