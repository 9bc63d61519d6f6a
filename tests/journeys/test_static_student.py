"""A run whose student is trained with torch and answers without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.test_partial_training import LABELS, ROWS, SETTINGS, Stopped, StopsAfter
from tests.journeys.tiny_job import environment, tutelage, tutelage_json, write_job

from tutelage.errors import RecipeError
from tutelage.recipes.loading import load_recipe
from tutelage.students import Static
from tutelage.tasks.classification.checking import check_recipe
from tutelage.tasks.classification.distilling import distill


def with_static(job: Path, options: str = "") -> Path:
    """The tiny job with a static student in place of its recurrent one."""
    path = job / "recipe.yaml"
    lines = path.read_text("utf-8").splitlines()
    place = next(row for row, line in enumerate(lines) if line.startswith("  gru:"))
    words = "kind: static, size: 16, hidden: 8, tokenizer: {vocabulary_size: 300}"
    lines[place] = f"  fast: {{{words}{options}}}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return job


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """Such a job after `tutelage run`; shared, so what lies in it is not changed."""
    folder = with_static(write_job(tmp_path_factory.mktemp("static"), model_folder))
    tutelage("run", "recipe.yaml", cwd=folder)
    return folder


def test_a_run_leaves_the_student_its_control_and_their_scores(done: Path) -> None:
    run = done / "runs" / "tiny"
    evaluation = json.loads((run / "evaluation.json").read_text())
    student, control = (evaluation[group]["fast"] for group in ("students", "controls"))
    assert student["kl"]["high"] < control["kl"]["low"]
    assert control["accuracy"]["value"] > 0.9  # one word tells the class
    assert student["agreement"]["value"] > 0.45
    assert student["latency_ms_p50"]["value"] < evaluation["teacher"]["latency_ms_p50"]["value"]
    files = {path.name for path in (run / "students/fast").iterdir() if path.is_file()}
    expected = {"config.json", "model.safetensors", "metrics.jsonl"}
    assert files == expected | {"tokenizer.json", "tokenizer_config.json"}
    record = tutelage_json("run", "recipe.yaml", cwd=done)
    assert {stage["how"] for stage in record["stages"]} == {"kept"}


def test_predict_needs_no_torch(done: Path) -> None:
    code = (
        "import sys\n"
        "from tutelage.cli.main import main\n"
        "try:\n"
        "    main(['predict', 'runs/tiny', 'a superb phone', '--json'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=done, env=environment(done), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.endswith("[]\n")
    assert '"positive"' in told.stdout


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    student = Static(labels=LABELS, size=8, hidden=8, embeddings="random")

    def trained(name: str, **more: object) -> bytes:
        distill(
            student, ROWS[:60], None, validation=ROWS[60:], settings=SETTINGS,
            out=tmp_path / name, **more,  # type: ignore[arg-type]
        )  # fmt: skip
        return (tmp_path / name / "model.safetensors").read_bytes()

    whole = trained("whole")
    with pytest.raises(Stopped):
        trained("stopped", progress=StopsAfter(7))
    assert (tmp_path / "stopped" / "checkpoints").is_dir()
    assert trained("stopped") == whole


def test_check_estimates_it_and_refuses_what_it_cannot_have(job: Path) -> None:
    recipe: Any = load_recipe(with_static(job) / "recipe.yaml")
    found = check_recipe(recipe, root=job)
    assert [one for one in found.problems if one.severity == "error"] == []
    assert found.estimate["steps"] > 0
    (job / "recipe.yaml").write_text(
        (job / "recipe.yaml").read_text().replace("size: 16", "size: 65")
    )
    recipe = load_recipe(job / "recipe.yaml")
    found = check_recipe(recipe, root=job)
    errors = [(one.where, one.message) for one in found.problems if one.severity == "error"]
    assert [where for where, _ in errors] == ["students.fast.size"]
    assert "only 64 wide" in errors[0][1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (", hidden: -1", "hidden"),
        (", dropout: 1.0", "dropout"),
        (", cell: gru", "unknown key"),
        (", embeddings: theirs", "embeddings"),
    ],
)
def test_what_means_nothing_to_it_is_refused(job: Path, options: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(with_static(job, options) / "recipe.yaml")
