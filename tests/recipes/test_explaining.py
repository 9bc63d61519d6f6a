"""Why a student answers as it does: words, files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tutelage.errors import DataError, ModelError, RecipeError, RunIncomplete
from tutelage.recipes.explaining import (
    explain_file,
    explain_texts,
    explanation_lines,
    measure_faithfulness,
)
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


def test_ngrams_and_baseline_are_the_logits(folder: Path) -> None:
    (told,) = explain_texts(folder, ["great fun, no no !"])
    words = np.sqrt(6)
    assert told["method"] == "exact"
    assert told["ngrams"][0] == {
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
    inside = [part["ngram"] for part in told["ngrams"] if part["inside_word"]]
    assert inside == ["rea"]


def test_words_stand_in_the_order_of_the_text_and_are_complete(folder: Path) -> None:
    (told,) = explain_texts(folder, ["great fun, no no !"])
    assert [one["word"] for one in told["words"]] == ["great", "fun,", "no", "no", "!"]
    assert [told["text"][one["start"] : one["end"]] for one in told["words"]] == [
        one["word"] for one in told["words"]
    ]
    root = np.sqrt(6)
    # "great" and, inside it, "rea"; "great fun" has no weight.
    assert told["words"][0]["logits"]["good"] == pytest.approx(2.5 / root)
    for label, logit in told["logits"].items():
        parts = [one["logits"][label] for one in told["words"]]
        assert told["baseline"][label] + sum(parts) == pytest.approx(logit)
        assert told["residual"][label] == pytest.approx(0, abs=1e-6)


def test_lines_sum_to_the_answer_against_the_mean_of_all_classes(folder: Path) -> None:
    (told,) = explain_texts(folder, ["great fun, no no !"])
    lines = explanation_lines(told, top=1)
    values = [float(line.split()[0]) for line in lines[1:]]
    assert lines[0].startswith("bad 0.")
    assert lines[1].split()[1] == "no"
    assert "(4 others)" in lines[2]
    assert sum(values[:-1]) == pytest.approx(values[-1], abs=2e-3)


def test_anybody_is_explained_by_occlusion(folder: Path) -> None:
    (told,) = explain_texts(folder, ["great fun"], method="occlusion")
    assert told["method"] == "occlusion"
    assert "ngrams" not in told
    (exact,) = explain_texts(folder, ["great fun"])
    for label in LABELS:  # both of the same text, up to what all classes share
        mean = np.mean(list(exact["logits"].values()))
        assert told["logits"][label] == pytest.approx(exact["logits"][label] - mean, abs=1e-5)


def test_what_cannot_be_told_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"bag has no gradients.*Take --method exact"):
        explain_texts(folder, ["great"], method="gradients")
    with pytest.raises(RecipeError, match="lies in no run"):
        explain_texts(folder, ["great"], teacher=True)
    with pytest.raises(RunIncomplete, match=r"no predictions.parquet with test rows"):
        measure_faithfulness(folder, 3)

    def writer(_: Any) -> Any:
        return None, SimpleNamespace()

    monkeypatch.setattr("tutelage.recipes.explaining.load_student", writer)
    with pytest.raises(RecipeError, match="bag goes on with a text"):
        explain_texts(folder, ["great"])


def test_texts_must_be_there(folder: Path) -> None:
    with pytest.raises(RecipeError, match="give a text"):
        explain_texts(folder, [])
    with pytest.raises(DataError, match="text 1 is empty"):
        explain_texts(folder, [" "])


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_file_is_explained_row_by_row(folder: Path, tmp_path: Path, ending: str) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("text\ngreat fun\nno fun\n", encoding="utf-8")
    out = tmp_path / f"told.{ending}"
    written = explain_file(folder, file, out=out)
    assert written == {"rows": 2, "out": str(out), "explained": "bag", "method": "exact"}
    read = rows_of(out)
    assert [row["row"] for row in read] == [1, 2]
    assert read[1]["words"] == explain_texts(folder, ["no fun"])[0]["words"]


def test_a_table_of_cells_is_refused_for_explanations(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("text\ngreat fun\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"'\.csv' is not known; use one of \.jsonl, \.parquet"):
        explain_file(folder, file, out=tmp_path / "told.csv")
    explain_file(folder, file)
    assert (tmp_path / "texts.explained.jsonl").is_file()


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
