"""Why a student answers as it does, where that can be told exactly."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tutelage.errors import DataError, RecipeError
from tutelage.recipes.explaining import explain_texts, explanation_lines
from tutelage.students.classifier.linear.model import LinearClassifier
from tutelage.students.classifier.linear.ngrams import NGrams

LABELS = ["bad", "fair", "good"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four words and one part of a word, with weights that can be summed in the head."""
    ngrams = NGrams(
        ["fun", "great", "great fun", "no"], ["rea"], longest_words=2, longest_characters=3
    )
    weights = np.zeros((6, 3))
    weights[1] = [-1, 0, 1]
    weights[2] = [-2, 0, 2]
    weights[4] = [3, 0, -3]
    weights[5] = [0, 0, 0.5]
    model = LinearClassifier(ngrams, weights, np.array([0.0, 1.0, 0.0]), labels=LABELS)
    return model.save(tmp_path / "bag")


def test_parts_and_bias_are_the_logits(folder: Path) -> None:
    (told,) = explain_texts(folder, ["great fun, no no !"])
    words = np.sqrt(6)
    assert told["contributions"][0] == {
        "ngram": "no",
        "inside_word": False,
        "logits": {
            label: pytest.approx(value / words)
            for label, value in zip(LABELS, (6, 0, -6), strict=True)
        },
    }
    assert told["logits"] == {
        "bad": pytest.approx(3 / words), "fair": pytest.approx(1), "good": pytest.approx(-2.5 / words),
    }  # fmt: skip
    assert told["label"] == "bad"
    inside = [part["ngram"] for part in told["contributions"] if part["inside_word"]]
    assert inside == ["rea"]


def test_lines_sum_to_the_answer_against_the_mean_of_all_classes(folder: Path) -> None:
    (told,) = explain_texts(folder, ["great fun, no no !"])
    lines = explanation_lines(told, top=1)
    values = [float(line.split()[0]) for line in lines[1:]]
    assert lines[0].startswith("bad 0.")
    assert lines[1].split()[1] == "no"
    assert "(4 others)" in lines[2]
    assert sum(values[:-1]) == pytest.approx(values[-1], abs=2e-3)


def test_what_is_no_sum_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(predictor=SimpleNamespace(probs=None)), [{}]

    monkeypatch.setattr("tutelage.recipes.explaining.answer_texts", other)
    with pytest.raises(RecipeError, match=r"bag is no sum of parts.*--student"):
        explain_texts(folder, ["great"])


def test_texts_must_be_there(folder: Path) -> None:
    with pytest.raises(RecipeError, match="give a text"):
        explain_texts(folder, [])
    with pytest.raises(DataError, match="text 1 is empty"):
        explain_texts(folder, [" "])
