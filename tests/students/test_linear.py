"""The linear student: how it reads, that its answers are sums, and that its folder holds it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from tests.students.linear_rows import LABELS, encoded, texts_of

from tutelage.errors import DataError, ModelError
from tutelage.losses import Objective
from tutelage.students import Linear, Predictor, load_classifier
from tutelage.students.classifier.linear.fitting import features
from tutelage.students.classifier.linear.model import LinearClassifier
from tutelage.students.classifier.linear.ngrams import NGrams, find_ngrams

READING = {"longest_words": 2, "longest_characters": 4, "max_length": 8, "lowercase": True}


@pytest.fixture(scope="module")
def model() -> LinearClassifier:
    student = Linear(labels=LABELS, strength=1e-4)
    start, ngrams = student.build(texts_of(120, seed=0))
    rows = (encoded(ngrams, texts_of(120, seed=0)), encoded(ngrams, texts_of(40, seed=1)))
    done = student.fit(start, *rows, objective=Objective(), record=lambda _: None)
    return done.model


def test_ids_are_those_of_words_then_of_their_neighbours_and_insides() -> None:
    ngrams = NGrams(["fun", "great", "great fun"], [" fu", "rea"], **READING)
    assert len(ngrams) == 6
    assert ngrams.ids("Great FUN , fun") == [2, 1, 0, 1, 3, 5, 4, 4]
    assert ngrams.ids_of("fun") == [1, 4]
    assert [ngrams.gram(place) for place in range(1, 6)] == [*ngrams.words, *ngrams.characters]
    assert ngrams.ids("") == []


def test_words_beyond_the_longest_text_are_not_read() -> None:
    ngrams = NGrams(["end"], [], **READING)
    assert ngrams.ids("a b c d e f g end") == [0] * 7 + [1]
    assert ngrams.ids("a b c d e f g h end") == [0] * 8


def test_features_are_those_of_scikit_learn_but_for_the_norm() -> None:
    texts = texts_of(30, seed=2)
    ngrams = find_ngrams(texts, READING | {"longest_characters": 0}, fewest_texts=1, most=1000)
    theirs = TfidfVectorizer(
        ngram_range=(1, 2),
        token_pattern=r"\w+|[^\w\s]",
        norm=None,  # pyright: ignore[reportArgumentType]
    )
    expected = theirs.fit_transform([" ".join(ngrams.split(text)) for text in texts]).toarray()
    assert list(theirs.get_feature_names_out()) == ngrams.words
    words = np.array([len(ngrams.split(text)) for text in texts])
    ours = features(ngrams, ngrams(texts)["input_ids"]).toarray()
    np.testing.assert_allclose(ours[:, 1:], expected / np.sqrt(words)[:, None], rtol=1e-12)
    assert not ours[:, 0].any()


def test_rare_ngrams_are_left_out_and_the_commonest_stay() -> None:
    texts = ["red fish", "red bird", "blue bird", "red car"]
    few = find_ngrams(texts, READING, fewest_texts=2, most=1)
    assert few.words == ["red"]
    assert find_ngrams(texts, READING, fewest_texts=2, most=9).words == ["bird", "red"]
    with pytest.raises(DataError, match="no n-gram stands in 5 of the 4 texts"):
        find_ngrams(texts, READING, fewest_texts=5, most=9)


def test_an_answer_is_a_sum_of_what_its_ngrams_add(model: LinearClassifier) -> None:
    for text in ("it was great , great", "the awful phone", "nothing known", ""):
        parts = model.contributions(text)
        total = model.bias + sum((part.logits for part in parts), np.zeros(3, np.float32))
        logits = model.logits([text])[0]
        np.testing.assert_allclose(total, logits, atol=1e-5)
        odds = np.exp(logits.astype(np.float64))
        np.testing.assert_allclose(model.probs([text])[0], odds / odds.sum(), rtol=1e-5)
    spread = [float(np.ptp(part.logits)) for part in model.contributions("it was great")]
    assert spread == sorted(spread, reverse=True)
    assert len(spread) > 5
    kinds = {(part.ngram, part.inside_word) for part in model.contributions("it was great")}
    assert {("great", False), ("was great", False), ("great", True), (" gre", True)} <= kinds


def test_answers_are_those_of_the_features_it_was_fitted_to(model: LinearClassifier) -> None:
    texts = [*texts_of(50, seed=3), "an unknown word", ""]
    student = Linear(labels=LABELS)
    _, ngrams = student.build(texts_of(120, seed=0))
    assert ngrams.words == model.ngrams.words
    assert ngrams.characters == model.ngrams.characters
    assert ngrams.scale is not None
    plain = model.weights / np.where(ngrams.scale > 0, ngrams.scale, 1)[:, None]
    expected = features(ngrams, ngrams(texts)["input_ids"]) @ plain + model.bias
    np.testing.assert_allclose(model.logits(texts), expected, atol=1e-5)


def test_words_that_find_no_room_are_answered_all_the_same(
    model: LinearClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = texts_of(30, seed=6)
    monkeypatch.setattr("tutelage.students.classifier.linear.model.WORDS_REMEMBERED", 2)
    small = LinearClassifier(model.ngrams, model.weights, model.bias, labels=LABELS)
    for _ in range(2):
        np.testing.assert_allclose(small.probs(texts), model.probs(texts), rtol=1e-5)


def test_a_folder_holds_all_of_it(model: LinearClassifier, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "ngrams.json", "model.safetensors",
    }  # fmt: skip
    again = load_classifier(tmp_path)
    texts = texts_of(20, seed=4)
    assert again.labels == list(LABELS)
    assert again.parameters == model.parameters == (len(model.ngrams) - 1) * 3 + 3
    assert again.probs(texts).tobytes() == model.probs(texts).tobytes()
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["strength"]) == ("tutelage_linear", 1e-4)


def test_it_is_read_and_answers_without_torch(model: LinearClassifier, tmp_path: Path) -> None:
    model.save(tmp_path)
    code = (
        "import sys\n"
        "from tutelage.students import load_classifier\n"
        f"print(load_classifier({str(tmp_path)!r}).probs(['it was great'])[0].argmax())\n"
        "print(sorted({'torch', 'transformers', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n[]\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", r"config\.json cannot be read"),
        ("ngrams.json", '{"words": ["one"], "characters": []}', "for each n-gram and each class"),
        ("ngrams.json", "[]", "cannot be read as a linear student"),
        ("ngrams.json", None, "has no ngrams.json"),
        ("model.safetensors", "short", "cannot be read as a linear student"),
        ("model.safetensors", None, "has no model.safetensors"),
    ],
)
def test_a_damaged_folder_is_refused(
    model: LinearClassifier, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    model.save(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=message) as refused:
        load_classifier(tmp_path)
    assert "\n" not in str(refused.value)


def test_networks_are_still_read_by_transformers(model: LinearClassifier, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load_classifier(tmp_path)
    model.save(tmp_path)
    with pytest.raises(ModelError, match="load_classifier"):
        Predictor.load(tmp_path)


def test_options_leave_something_to_read() -> None:
    with pytest.raises(ValueError, match="leave no n-gram"):
        Linear(labels=LABELS, words=0, characters=2)
    alone = Linear(labels=LABELS, words=0, characters=3, min_texts=1)
    _, ngrams = alone.build(["great fun"])
    assert (ngrams.words, ngrams.characters[:2]) == ([], [" fu", " gr"])
    assert math.isclose(alone.weights()[1], 3 * 20_000)


def test_texts_without_ngrams_are_a_problem_before_anything_runs() -> None:
    student = Linear(labels=LABELS)
    found = list(student.problems(None, lambda: None, texts=["one two", "three four"]))
    assert [option for option, _ in found] == ["min_texts"]
    assert "2" in found[0][1]
    assert not list(student.problems(None, lambda: None, texts=["one two", "one three"]))
    assert not list(student.problems(None, lambda: None))
