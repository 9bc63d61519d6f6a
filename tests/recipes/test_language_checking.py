"""What `check` says about the students of a causal_lm recipe before anything is computed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.recipes.language_job import KNOWN, UNSEEN, texts, tiny_teacher

from tutelage import models
from tutelage.errors import Problem
from tutelage.recipes.loading import load_recipe
from tutelage.students import save_model, train_tokenizer
from tutelage.tasks.language.checking import check_language_recipe, estimate_language_run
from tutelage.tasks.language.data import prepare_language_data, teacher_tokenizer
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.sections import TopKTargetsSpec
from tutelage.tasks.language.student_checking import language_student_problems

RECIPE = """\
task: {{kind: causal_lm, sequence_length: 64}}
data: {{train: train.jsonl, validation: test.jsonl, test: test.jsonl}}
teacher: {{kind: causal_lm, model: {model}}}
targets: {{kind: live}}
students: {{one: {student}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    save_model(*tiny_teacher(texts(KNOWN + UNSEEN, 100, seed=9)), folder / "teacher")
    for name, count in (("train", 30), ("test", 9)):
        rows = [json.dumps({"text": text}) + "\n" for text in texts(KNOWN, count, seed=count)]
        (folder / f"{name}.jsonl").write_text("".join(rows), "utf-8")
    return folder


@pytest.fixture
def recipe_with(folder: Path) -> Callable[[str], LanguageRecipe]:
    def make(student: str) -> LanguageRecipe:
        (folder / "recipe.yaml").write_text(
            RECIPE.format(model=folder / "teacher", student=student), "utf-8"
        )
        recipe = load_recipe(folder / "recipe.yaml")
        assert isinstance(recipe, LanguageRecipe)
        return recipe

    return make


def errors(recipe: LanguageRecipe) -> list[Problem]:
    return [
        problem for problem in check_language_recipe(recipe).problems if problem.severity == "error"
    ]


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ("{kind: pruned, layers: 3}", "layers is 3: a pruned model keeps 1 to 2"),
        (
            "{kind: pruned, heads: 9, intermediate_size: 49}",
            "heads is 9: .*; intermediate_size is 49: .* 1 to 48",
        ),
        (
            "{kind: pruned, heads: 3}",
            "heads is 3: the 4 heads share 2 keys .* so 1, 2, 4 can be kept",
        ),
        ("{kind: transformer, hidden_size: 32, heads: 4, embeddings: teacher, layers: 1}", None),
        (
            "{kind: transformer, hidden_size: 128, kv_heads: 3}",
            "2 heads cannot share 3 kv_heads evenly",
        ),
        (
            "{kind: transformer, hidden_size: 64, embeddings: teacher}",
            "is 64 wide but the teacher's .* 32 values",
        ),
        ("{kind: rnn, hidden_size: 64, embedding_size: 16, embeddings: teacher}", None),
        ("{kind: pruned, vocabulary: corpus, lora: {rank: 2}}", None),
    ],
)
def test_students_that_cannot_be_made(recipe_with, student: str, message: str | None) -> None:
    recipe = recipe_with(student)
    if message is None:
        assert errors(recipe) == []
        estimate = check_language_recipe(recipe).estimate
        # The student and its control, and three times weights, moments and the best weights.
        most = 3 * estimate["teacher_parameters"]
        assert 0 < estimate["disk_bytes"] < (2 * 4 + 3 * 16) * most
        return
    (problem,) = errors(recipe)
    assert problem.where.startswith("students.one")
    assert re.search(message, problem.message)


def test_models_that_do_not_predict_next_tokens_are_told_before_the_run(
    recipe_with, folder: Path, tmp_path: Path
) -> None:
    def copy_as(name: str, **changes: Any) -> Path:
        copy = shutil.copytree(folder / "teacher", tmp_path / name)
        entries = json.loads((copy / "config.json").read_text("utf-8"))
        (copy / "config.json").write_text(json.dumps({**entries, **changes}), "utf-8")
        return copy

    tokens = len(teacher_tokenizer(recipe_with("{kind: pruned, layers: 1}")))
    encoder = copy_as("encoder", model_type="bert", architectures=["BertForMaskedLM"])
    both = copy_as("both", model_type="t5", architectures=["T5ForConditionalGeneration"])
    for model, message in (
        (encoder, "is of the kind bert, which does not predict a text token by token"),
        (both, "is of the kind t5, which does not predict a text token by token"),
    ):
        (problem,) = errors(recipe_with(f"{{kind: pretrained, model: {model}}}"))
        assert problem.where == "students.one.model"
        assert message in problem.message
        taught = recipe_with("{kind: rnn, hidden_size: 16}")
        taught = taught.model_copy(
            update={"teacher": taught.teacher.model_copy(update={"model": str(model)})}
        )
        (problem,) = errors(taught)
        assert problem.where == "teacher.model"
        assert message in problem.message
    (problem,) = errors(
        recipe_with(f"{{kind: pretrained, model: {copy_as('narrow', vocab_size=tokens - 1)}}}")
    )
    assert problem.where == "students.one.model"
    assert (
        f"has {tokens - 1} rows in its output matrix, but the teacher speaks of {tokens} tokens"
        in problem.message
    )


def test_tokens_that_the_teacher_has_no_row_for(folder: Path, tmp_path: Path) -> None:
    """A token was added to the tokenizer and the matrix never grew: told where it matters, and only
    there."""
    model, tokenizer = tiny_teacher(texts(KNOWN + UNSEEN, 100, seed=9))
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    save_model(model, tokenizer, tmp_path / "teacher")
    for part in ("train", "test"):
        shutil.copy(folder / f"{part}.jsonl", tmp_path)
    recipe = tmp_path / "recipe.yaml"

    def said(student: str, *overrides: str) -> list[str]:
        recipe.write_text(RECIPE.format(model=tmp_path / "teacher", student=student), "utf-8")
        loaded: Any = load_recipe(recipe, overrides=overrides)
        return [problem.message for problem in errors(loaded)]

    assert said("{kind: pruned, layers: 1}") == []
    assert said("{kind: rnn, hidden_size: 16}") == []
    (message,) = said("{kind: rnn, hidden_size: 16, embeddings: teacher}")
    assert f"has embeddings for {len(tokenizer) - 1} of the {len(tokenizer)} tokens" in message
    (message,) = said("{kind: pruned, layers: 1, vocabulary: corpus}")
    assert f"has rows for {len(tokenizer) - 1} of the {len(tokenizer)} tokens" in message
    with (tmp_path / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "the <pad> film"}) + "\n")
    assert said("{kind: pruned, layers: 1}") == []  # it stays text
    (message,) = said("{kind: pruned, layers: 1}", "data.control_tokens=tokens")
    assert "row 31 holds '<pad>', which has none" in message


def test_a_teacher_whose_weights_are_not_here_is_counted_by_its_configuration(
    recipe_with, monkeypatch
) -> None:
    recipe = recipe_with("{kind: pruned, layers: 1}")
    known = check_language_recipe(recipe).estimate
    real = models.model_facts
    monkeypatch.setattr(
        models,
        "model_facts",
        lambda *names, **options: replace(real(*names, **options), parameters=0),
    )
    found = check_language_recipe(recipe).estimate
    for key in ("teacher_parameters", "memory_bytes", "least_memory_bytes"):
        assert found[key] == known[key] > 0


def test_a_teacher_needs_memory_beside_a_training_student_only_where_it_answers_live(
    recipe_with, tmp_path: Path
) -> None:
    live = recipe_with("{kind: transformer, layers: 1, hidden_size: 32, heads: 4}")
    assert live.targets.kind == "live"
    stored = live.model_copy(update={"targets": TopKTargetsSpec(kind="top_k", k=2)})
    data = prepare_language_data(stored, teacher_tokenizer(stored))
    one, other = (estimate_language_run(recipe, data, root=tmp_path) for recipe in (stored, live))
    teacher = 4 * one["teacher_parameters"]
    for key in ("memory_bytes", "least_memory_bytes"):
        assert one[key] < other[key] <= one[key] + teacher


def test_a_tokenizer_that_cannot_be_trimmed_is_told_before_the_run(recipe_with) -> None:
    recipe = recipe_with("{kind: pruned, vocabulary: corpus}")
    data = prepare_language_data(recipe, teacher_tokenizer(recipe))
    assert language_student_problems(recipe, data, teacher_tokenizer(recipe)) == []
    other: Any = train_tokenizer(texts(KNOWN, 50, seed=0), vocabulary_size=400)
    (problem,) = language_student_problems(recipe, data, other)
    assert problem.where == "students.one.vocabulary"
    assert "WordPiece tokenizer; expected byte-pair encoding" in problem.message


def test_a_trimmed_student_is_estimated_smaller(recipe_with, tmp_path: Path) -> None:
    sizes = []
    for vocabulary in ("full", "corpus"):
        recipe = recipe_with(f"{{kind: pruned, layers: 1, vocabulary: {vocabulary}}}")
        data = prepare_language_data(recipe, teacher_tokenizer(recipe))
        sizes.append(estimate_language_run(recipe, data, root=tmp_path)["disk_bytes"])
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize(
    ("targets", "few", "warned"),
    [
        ("{kind: sampled}", 10**5, True),
        ("{kind: sampled, threshold: 0.01}", 10**5, False),
        ("{kind: sampled}", 10, False),
        ("{kind: sampled, budget: 4}", 10**5, False),
        ("{kind: hidden}", 10**5, False),
    ],
)
def test_coarse_targets_of_few_tokens_are_advised_against(
    recipe_with, folder, targets, few, warned
) -> None:
    recipe_with("{kind: pruned, layers: 1}")
    found = check_language_recipe(
        load_recipe(folder / "recipe.yaml", overrides=[f"targets={targets}"]), few_tokens=few
    )
    advice = [problem.message for problem in found.problems if problem.where == "targets.threshold"]
    assert len(advice) == warned
    assert all(problem.severity == "warning" for problem in found.problems)
    if warned:
        assert re.match(r"0\.05 is coarse for \d+ tokens", advice[0])


@pytest.mark.parametrize(
    ("objective", "few", "warned"),
    [
        ("{soft_weight: 0.8}", 10**5, True),
        ("{soft_weight: 0.8}", 10, False),
        ("{soft_weight: 0.9, soft_weight_final: 0}", 10**5, False),
        ("{soft_weight: 0}", 10**5, False),
    ],
)
def test_a_share_of_the_teacher_held_to_the_end_of_few_tokens_is_advised_against(
    recipe_with, folder, objective, few, warned
) -> None:
    recipe_with("{kind: pruned, layers: 1}")
    recipe = load_recipe(folder / "recipe.yaml", overrides=[f"objective={objective}"])
    found = check_language_recipe(recipe, few_tokens=few)
    where = "objective.soft_weight_final"
    advice = [problem.message for problem in found.problems if problem.where == where]
    assert len(advice) == warned
    if warned:
        assert re.match(r"is not given, so .* would hold the teacher's share to the", advice[0])
