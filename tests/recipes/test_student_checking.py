"""Students that cannot be built are refused before the teacher is asked for anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertForSequenceClassification, BertModel

from tutelage.errors import RecipeError
from tutelage.models import ModelFacts
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run
from tutelage.students import train_tokenizer
from tutelage.tasks.classification.checking import check_recipe, require_students, student_problems
from tutelage.tasks.classification.recipe import Recipe
from tutelage.teachers.spec import LocalModel

TEXTS = [f"a {word} film number {number}" for number in range(20) for word in ("good", "bad")]
RECIPE = """\
task: {{kind: classification, labels: [bad, good]}}
data: {{train: train.csv, validation: test.csv, test: test.csv}}
teacher: {{kind: classifier, model: {model}, fit: {{method: head, cross_fit: 0}}}}
students:
  one: {student}
"""
FACTS = ModelFacts(
    parameters=1000, disk_bytes=4000, needs_conversion=False, layers=30, embedding_width=64
)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A tiny encoder with a vocabulary of word pieces."""
    folder = tmp_path / "encoder"
    BertModel(bert_config()).save_pretrained(folder)
    train_tokenizer(TEXTS, vocabulary_size=400, boundaries=True).save_pretrained(folder)
    return folder


def bert_config(**changes: Any) -> BertConfig:
    return BertConfig(
        vocab_size=400,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        **changes,
    )


@pytest.fixture
def recipe_with(tmp_path: Path, encoder: Path) -> Callable[[str], Recipe]:
    """Makes a recipe with one student, written as in YAML."""

    def make(student: str) -> Recipe:
        for name, texts in (("train", TEXTS[:30]), ("test", TEXTS[30:])):
            rows = "".join(f"{text},{text.split()[1]}\n" for text in texts)
            (tmp_path / f"{name}.csv").write_text("text,label\n" + rows)
        (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=encoder, student=student))
        recipe = load_recipe(tmp_path / "recipe.yaml")
        assert isinstance(recipe, Recipe)
        return recipe

    return make


REFUSED = {
    "{kind: transformer, hidden_size: 100}": (
        r"students\.one\.hidden_size: hidden_size 100 does not divide into 3 heads: give heads, or "
        r"a hidden_size that "
        "is a multiple of 32"
    ),
    "{kind: transformer, hidden_size: 33, heads: 3}": r"students\.one\.hidden_size: each of 3 heads would be 11 wide",
    "{kind: transformer, hidden_size: 96, embeddings: teacher}": (
        r"students\.one\.hidden_size: is 96, but the teacher's embeddings are only 64 wide"
    ),
    "{kind: rnn, embedding_size: 65, embeddings: teacher_contextual}": (
        r"students\.one\.embedding_size: is 65, but the teacher's embeddings are only 64 wide"
    ),
    "{kind: rnn, embedding_size: 64, embeddings: teacher_contextual, embeddings_layer: 31}": (
        r"students\.one\.embeddings_layer: is 31, but the teacher has 30 layers: give 0 to 30"
    ),
    "{kind: rnn, tokenizer: {kind: bpe, vocabulary_size: 200}}": (
        r"students\.one\.tokenizer\.vocabulary_size: is 200, but special tokens and single letters "
        r"need 259"
    ),
    "{kind: rnn, tokenizer: {kind: teacher}}": r"students\.one\.tokenizer: .* is no byte-level BPE and cannot be trimm",
    "{kind: pretrained, model: ./nowhere}": r"students\.one\.model: .*nowhere: no such model folder",
    "{kind: pretrained, model: owner/name}": (
        r"students\.one\.model: owner/name: not a folder here, and the model hub did not give it "
        r".*Check the"
    ),
}


@pytest.mark.parametrize("student", REFUSED)
def test_what_cannot_be_built_is_refused(recipe_with, student, monkeypatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to the hub")

    recipe = recipe_with(student)
    if "owner/name" in student:
        monkeypatch.setattr("transformers.AutoConfig.from_pretrained", unreachable)
    with pytest.raises(RecipeError, match=REFUSED[student]) as refusal:
        require_students(recipe, FACTS)
    assert len(refusal.value.problems) == 1


def test_a_pretrained_classifier_for_other_labels_is_refused(recipe_with, encoder) -> None:
    student = f"{{kind: pretrained, model: {encoder}}}"
    assert student_problems(recipe_with(student), FACTS) == []
    names = {"id2label": {0: "good", 1: "bad"}, "label2id": {"good": 0, "bad": 1}}
    BertForSequenceClassification(bert_config(**names)).save_pretrained(encoder)
    with pytest.raises(
        RecipeError,
        match=r"students\.one\.model: .*classifies into \['good', 'bad'\], but the task's",
    ):
        require_students(recipe_with(student), FACTS)


def test_layers_that_a_pretrained_student_has_not_are_refused_at_their_key(
    recipe_with, encoder
) -> None:
    student = f"{{kind: pretrained, model: {encoder}, freeze: %d, head_learning_rate: 1e-3}}"
    assert student_problems(recipe_with(student % 1), FACTS) == []
    (problem,) = student_problems(recipe_with(student % 2), FACTS)
    assert problem.where == "students.one.freeze"
    assert f"{encoder} has 1 layers: give 0" in problem.message


@pytest.mark.parametrize(
    "student",
    [
        "{kind: transformer, hidden_size: 64, embeddings: teacher, tokenizer: {kind: wordpiece}}",
        "{kind: rnn, embedding_size: 64, embeddings: teacher_contextual, embeddings_layer: 30}",
        "{kind: rnn, embedding_size: 640}",
        "{kind: transformer, hidden_size: 100, heads: 5}",
    ],
)
def test_what_can_be_built_is_not(recipe_with, student) -> None:
    assert student_problems(recipe_with(student), FACTS) == []


def test_what_nobody_knows_of_the_teacher_refuses_nothing(recipe_with) -> None:
    recipe = recipe_with(
        "{kind: rnn, embedding_size: 640, embeddings: teacher_contextual, embeddings_layer: 900}"
    )
    assert student_problems(recipe, None) == []
    assert student_problems(recipe, replace(FACTS, layers=None, embedding_width=None)) == []
    assert len(student_problems(recipe, FACTS)) == 2


@pytest.mark.parametrize(
    ("student", "refused"),
    [
        ("{kind: rnn, embeddings: teacher}", True),
        ("{kind: rnn, tokenizer: {kind: teacher}}", True),
        ("{kind: rnn, embeddings: random}", False),
    ],
)
def test_a_teacher_without_weights_here_gives_none(
    recipe_with, monkeypatch, student, refused
) -> None:
    monkeypatch.setattr(LocalModel, "has_weights", False)
    problems = student_problems(recipe_with(student), None)
    assert [problem.where for problem in problems] == ["students.one"] * refused
    if refused:
        assert "but a teacher of kind classifier has none here: take embeddings: random" in str(
            problems[0]
        )


def test_run_and_check_refuse_the_same_before_any_compute(
    recipe_with, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    recipe = recipe_with(
        "{kind: transformer, hidden_size: 48, heads: 3, embeddings: teacher, tokenizer: {kind: "
        "teacher}}"
    )
    found = check_recipe(recipe, root=tmp_path / "runs")
    with pytest.raises(RecipeError) as refusal:
        run(recipe, root=tmp_path / "runs")
    assert [
        problem for problem in found.problems if problem.severity == "error"
    ] == refusal.value.problems
    assert [problem.where for problem in refusal.value.problems] == [
        "students.one.hidden_size",
        "students.one.tokenizer",
    ]
    assert "only 16 wide" in str(refusal.value)
    assert not (tmp_path / "runs").exists()
