"""Whatever a run depends on changes its inputs' fingerprint, and it is told without torch."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from tutelage.errors import ModelError
from tutelage.recipes.loading import load_recipe
from tutelage.tasks.classification.data import classification_inputs
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.language import data as language_data
from tutelage.tasks.language.data import language_inputs
from tutelage.tasks.language.recipe import LanguageRecipe

CLASSIFICATION = """\
task: {kind: classification, labels: [no, yes]}
data: {train: train.csv, validation: validation.csv, test: test.csv, unlabeled: [more.csv]}
teacher: {kind: classifier, model: ./teacher}
students: {gru: {kind: rnn}, small: {kind: pretrained, model: ./student}}
"""
LANGUAGE = """\
task: {kind: causal_lm, sequence_length: 64}
data: {train: train.csv, validation: 0.1, test: test.csv, prompt_field: q, response_field: a}
teacher: {kind: causal_lm, model: ./teacher}
students: {small: {kind: pretrained, model: ./student}}
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Data files and two model folders, of which only the bytes matter here."""
    for name in ("train", "validation", "test", "more", "unnamed"):
        (tmp_path / f"{name}.csv").write_text("text,label\n")
    for name in ("teacher", "student"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
            (tmp_path / name / file).write_text("{}")
    return tmp_path


def inputs(job: Path, text: str) -> str:
    (job / "recipe.yaml").write_text(text)
    recipe = load_recipe(job / "recipe.yaml")
    if isinstance(recipe, LanguageRecipe):
        return language_inputs(recipe)
    assert isinstance(recipe, Recipe)
    return classification_inputs(recipe)


@pytest.mark.parametrize("text", [CLASSIFICATION, LANGUAGE])
def test_every_file_that_is_named_counts_and_no_other(job: Path, text: str) -> None:
    before = inputs(job, text)
    assert inputs(job, text) == before
    named = ["train.csv", "test.csv", "teacher/model.safetensors", "student/tokenizer.json"]
    if text is CLASSIFICATION:
        named += ["validation.csv", "more.csv"]
    for name in named:
        was = (job / name).read_text()
        (job / name).write_text(was + " ")
        assert inputs(job, text) != before, name
        (job / name).write_text(was)
    (job / "unnamed.csv").write_text("changed")
    assert inputs(job, text) == before


def test_the_recipe_counts(job: Path) -> None:
    assert inputs(job, CLASSIFICATION) != inputs(job, CLASSIFICATION + "train: {seed: 1}\n")


def test_what_is_not_there_has_no_fingerprint(job: Path) -> None:
    (job / "more.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"more\.csv"):
        inputs(job, CLASSIFICATION)
    (job / "teacher" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json"):
        inputs(job, LANGUAGE)


def test_a_template_that_writes_the_date_gives_other_documents_tomorrow(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tomorrow(date):
        @classmethod
        def today(cls) -> date:
            return date.today() + timedelta(days=1)

    plain = LANGUAGE.replace("prompt_field: q, response_field: a", "text_field: text")
    (job / "teacher" / "chat_template.jinja").write_text("{{ strftime_now('%d %b %Y') }}")
    dated, undated = inputs(job, LANGUAGE), inputs(job, plain)
    monkeypatch.setattr(language_data, "date", Tomorrow)
    assert inputs(job, LANGUAGE) != dated
    assert inputs(job, plain) == undated
    (job / "teacher" / "chat_template.jinja").write_text("no date")
    undated = inputs(job, LANGUAGE)
    monkeypatch.undo()
    assert inputs(job, LANGUAGE) == undated


@pytest.mark.parametrize("text", [CLASSIFICATION, LANGUAGE])
def test_neither_torch_nor_transformers_is_loaded(job: Path, text: str) -> None:
    (job / "recipe.yaml").write_text(text)
    room = "classification" if text is CLASSIFICATION else "language"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from tutelage.recipes.loading import load_recipe\n"
        f"from tutelage.tasks.{room}.data import {room}_inputs\n"
        f"{room}_inputs(load_recipe(Path('recipe.yaml')))\n"
        "assert not {'torch', 'transformers', 'sklearn', 'scipy'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=job, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
