"""What would keep a prompted teacher from being asked is told by `check` and by `run`, before a
folder is opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.journeys.tiny_job import run_here

from tutelage.errors import Problem, RecipeError
from tutelage.recipes.loading import load_recipe
from tutelage.tasks.classification.checking import check_recipe
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.estimates import Check
from tutelage.teachers.prompted.teacher import CALIBRATION_ROWS

REFUSED = {
    "chat: true": r"^teacher: chat: true given, but the tokenizer of .* has no chat template; use chat: false$",
    "shots: 500": r"^teacher\.shots: 500 shots wanted, .* lower teacher\.shots or label more rows$",
    "shots: 12": r"^teacher: the prompt takes \d+ tokens, which leaves \d for the text in a context of \d+; use fewer",
}


def recipe_with(job: Path, teacher: str) -> tuple[Recipe, list[str]]:
    """The job's recipe with a prompted teacher, and the override that makes it so."""
    model = load_recipe(job / "recipe.yaml").teacher.model
    overrides = [
        "evaluate.control=false",
        f"teacher={{kind: prompted, model: '{model}', {teacher}}}",
    ]
    recipe = load_recipe(job / "recipe.yaml", overrides=overrides)
    assert isinstance(recipe, Recipe)
    return recipe, overrides


def errors(found: Check) -> list[Problem]:
    return [problem for problem in found.problems if problem.severity == "error"]


@pytest.mark.parametrize("teacher", REFUSED)
def test_check_finds_what_run_refuses(job: Path, model_folder: Path, teacher: str) -> None:
    if "12" in teacher:
        shorten(job, model_folder, context=96)
    recipe, overrides = recipe_with(job, teacher)
    (problem,) = errors(check_recipe(recipe, root=job / "runs"))
    with pytest.raises(RecipeError, match=REFUSED[teacher]) as refusal:
        run_here(job, *overrides)
    assert str(problem) == str(refusal.value)
    assert not (job / "runs").exists()


def test_an_encoder_cannot_be_asked(job: Path, model_folder: Path) -> None:
    from transformers import BertConfig, BertModel

    folder = shorten(job, model_folder, context=256)
    config = BertConfig(vocab_size=400, hidden_size=64, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(folder)
    recipe, overrides = recipe_with(job, "shots: 0")
    (problem,) = errors(check_recipe(recipe, root=job / "runs"))
    assert problem.where == "teacher.model"
    assert "is of the kind bert, which does not continue text from left to right" in problem.message
    with pytest.raises(RecipeError, match="kind bert"):
        run_here(job, *overrides)
    assert not (job / "runs").exists()


def test_the_estimate_counts_prompt_shots_and_calibration(job: Path) -> None:
    def tokens(teacher: str) -> int:
        found = check_recipe(recipe_with(job, teacher)[0], root=job / "runs")
        assert errors(found) == []
        return found.estimate["teacher_tokens"]

    plain, few, fitted = (
        tokens(f"shots: {shots}, calibration: {how}")
        for shots, how in ((0, "none"), (3, "none"), (0, "fitted"))
    )
    assert plain > 200 * 5  # each of 200 texts is followed by the words that ask for its label
    assert 0 < few - plain < 200  # shots are part of the shared beginning, which runs once
    assert 0.5 < (fitted - plain) / plain < 0.7  # 120 of the 200 texts are read once more
    assert CALIBRATION_ROWS > 120


def shorten(job: Path, model_folder: Path, *, context: int) -> Path:
    """Copy the model beside the recipe with another context, and let the recipe name the copy."""
    folder = job / "copy"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": context}))
    recipe = job / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(model_folder), str(folder)))
    return folder
