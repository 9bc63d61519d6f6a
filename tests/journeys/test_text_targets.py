"""A teacher that writes, from recipe to report: answers kept, filtered, learned as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.tiny_language_job import write_language_job, write_teacher

from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run

TEXT = "{kind: text, per_prompt: 2, sampling_temperature: 1.0, max_new_tokens: 24}"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("weights"))


def job(folder: Path, weights: Path, **more: Any) -> Any:
    more = {"targets": TEXT, "form": "pairs", "objective": "{}", "count": 12, **more}
    return load_recipe(write_language_job(folder, weights, **more))


def test_students_learn_what_the_teacher_wrote(tmp_path: Path, weights: Path) -> None:
    recipe = job(tmp_path, weights)
    outcome = run(recipe, root=tmp_path / "runs")
    evaluation = json.loads(outcome.folder.evaluation_path.read_text("utf-8"))
    print(json.dumps(evaluation["targets"], indent=1)[:3000])
    print(outcome.teacher_held_out["sentence"])
    print({k: v for k, v in evaluation["students"]["half"].items()})
    print(evaluation["training"])
    assert 0
