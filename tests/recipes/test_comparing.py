"""Runs side by side, on folders that hold an evaluation and predictions of made-up models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.cli.main import main
from tutelage.errors import DataError, RecipeError, RunDamaged, RunIncomplete
from tutelage.evaluate.classes.predictions import write_predictions
from tutelage.metrics import paired_bootstrap
from tutelage.recipes.comparing import compare_runs
from tutelage.runs import Stage
from tutelage.types import Example

LABELS = ("bad", "good")


def answers(right: Sequence[int], gold: Sequence[int]) -> np.ndarray:
    """Probabilities with nine tenths on the gold label where a model is right."""
    sure = np.where(np.array(right) == 1, 0.9, 0.1)
    return np.where(np.array(gold)[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])


def classified(
    path: Path,
    texts: Sequence[str],
    gold: Sequence[int | None],
    *,
    labels: Sequence[str] = LABELS,
    **students: Sequence[int],
) -> Path:
    """A run whose students are right on some rows, 1, and wrong on others, 0."""
    path.mkdir(parents=True)
    known = [one or 0 for one in gold]
    write_predictions(
        path / "predictions.parquet",
        [
            Example(text=text, label=one, source="test.csv", row=row)
            for row, (text, one) in enumerate(zip(texts, gold, strict=True), start=1)
        ],
        labels=labels,
        teacher=answers([1] * len(texts), known),
        students={name: answers(right, known) for name, right in students.items()},
    )
    means = {name: {"accuracy": {"value": float(np.mean(one))}} for name, one in students.items()}
    evaluation = {"task": "classification", "labels": list(labels), "students": means}
    (path / "evaluation.json").write_text(json.dumps(evaluation), "utf-8")
    return path


def written(path: Path, texts: Sequence[str], tokens: Sequence[int], **nats: list[float]) -> Path:
    """A run of language models with so many nats per token in each document."""
    path.mkdir(parents=True)
    columns: dict[str, Any] = {
        "source": ["test.jsonl"] * len(texts),
        "row": list(range(1, len(texts) + 1)),
        "text": list(texts),
        "tokens": list(tokens),
        "bytes": [len(text.encode()) for text in texts],
        "teacher": [1.0] * len(texts),
        **{f"students.{name}": values for name, values in nats.items()},
    }
    pq.write_table(pa.table(columns), path / "predictions.parquet")
    means = {name: {"nats_per_token": {"value": float(np.mean(one))}} for name, one in nats.items()}
    evaluation = {"task": "causal_lm", "students": means}
    (path / "evaluation.json").write_text(json.dumps(evaluation), "utf-8")
    return path


TEXTS = [f"text {number}" for number in range(40)]
GOLD = [number % 2 for number in range(40)]
MOST = [1] * 36 + [0] * 4
HALF = [1] * 20 + [0] * 20


def test_students_stand_beside_the_best_of_the_first_run_on_the_rows_that_all_have(
    tmp_path,
) -> None:
    one = classified(tmp_path / "one", TEXTS, GOLD, gru=MOST, lstm=HALF)
    # The same rows the other way round, but for five, and one that the first does not have.
    texts = ["another", *TEXTS[:4:-1]]
    gold = [0, *GOLD[:4:-1]]
    two = classified(tmp_path / "two", texts, gold, gru=[1, *HALF[:4:-1]])
    found = compare_runs([one, two], samples=500)
    assert (found.task, found.rows, found.rows_of) == ("classification", 35, {"one": 40, "two": 36})
    assert found.reference == ("one", "gru")
    assert [measure.key for measure in found.measures] == ["accuracy", "nll"]
    by_name = {(each.run, each.role, each.name): each for each in found.contestants}
    assert list(by_name) == [
        ("one", "teacher", "teacher"),
        ("one", "student", "gru"),
        ("one", "student", "lstm"),
        ("two", "teacher", "teacher"),
        ("two", "student", "gru"),
    ]
    assert by_name["one", "student", "gru"].differences == {}
    assert by_name["one", "student", "gru"].values["accuracy"]["value"] == pytest.approx(31 / 35)
    same, other = by_name["one", "student", "lstm"], by_name["two", "student", "gru"]
    assert other.values == same.values
    assert other.differences == same.differences
    expected = paired_bootstrap(HALF[5:], MOST[5:], samples=500).as_dict()
    assert other.differences["accuracy"] == pytest.approx(expected)
    assert other.differences["accuracy"]["high"] < 0


def test_equal_texts_are_paired_one_by_one_and_other_labels_make_another_row(tmp_path) -> None:
    one = classified(tmp_path / "one", ["a", "a", "b"], [0, 0, 1], gru=[1, 0, 1])
    two = classified(tmp_path / "two", ["b", "a", "a", "a"], [0, 0, 0, 0], gru=[1, 1, 0, 1])
    found = compare_runs([one, two], samples=100)
    assert found.rows == 2
    assert found.contestants[-1].differences["accuracy"] == {"value": 0, "low": 0, "high": 0}


def test_documents_of_other_tokens_are_compared_by_bytes(tmp_path: Path) -> None:
    one = written(tmp_path / "one", TEXTS, [3] * 40, half=[2.0] * 40)
    two = written(tmp_path / "two", TEXTS, [3] * 40, gru=[2.5] * 40)
    three = written(tmp_path / "three", TEXTS, [6] * 40, gru=[1.0] * 40)
    found = compare_runs([one, two], samples=100)
    assert [measure.key for measure in found.measures] == ["nats_per_token", "bits_per_byte"]
    assert found.contestants[-1].differences["nats_per_token"]["low"] == pytest.approx(0.5)
    found = compare_runs([one, three], samples=100)
    assert [measure.key for measure in found.measures] == ["bits_per_byte"]
    assert found.contestants[-1].differences["bits_per_byte"]["value"] == pytest.approx(0)


def test_runs_that_cannot_be_compared_are_refused_in_a_line(tmp_path: Path, capsys) -> None:
    one = classified(tmp_path / "one", TEXTS, GOLD, gru=MOST)
    others = classified(tmp_path / "others", TEXTS, GOLD, labels=("no", "yes"), gru=MOST)
    elsewhere = classified(tmp_path / "elsewhere", ["x"] * 40, GOLD, gru=MOST)
    bare = classified(tmp_path / "bare", TEXTS, [None] * 40, gru=MOST)
    bare_too = classified(tmp_path / "bare too", TEXTS, [None] * 40, gru=MOST)
    language = written(tmp_path / "language", TEXTS, [3] * 40, half=[2.0] * 40)
    with pytest.raises(
        RecipeError, match="one is of the task classification and language of causal"
    ):
        compare_runs([one, language])
    with pytest.raises(
        RecipeError, match="one has the labels bad, good and others the labels no, yes"
    ):
        compare_runs([one, others])
    with pytest.raises(DataError, match="one and elsewhere share no test row"):
        compare_runs([one, elsewhere])
    with pytest.raises(
        DataError, match="none of the 40 test rows that bare and bare too share has"
    ):
        compare_runs([bare, bare_too])
    with pytest.raises(RecipeError, match="1 run folder given, 1 different; expected two or more"):
        compare_runs([one])
    with pytest.raises(RecipeError, match="2 run folders given, 1 different"):
        compare_runs([one, tmp_path / "others" / ".." / "one"])
    with pytest.raises(
        RunIncomplete, match=r"holds no evaluation\.json, which runs are compared by"
    ):
        compare_runs([one, tmp_path])
    assert main(["compare", str(one), str(language), "--json"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out)["error"] == "RecipeError"
    assert "compare runs of one task" in told.err


def test_a_damaged_evaluation_is_refused(tmp_path: Path) -> None:
    one = classified(tmp_path / "one", TEXTS, GOLD, gru=MOST)
    two = classified(tmp_path / "two", TEXTS, GOLD, gru=MOST)
    Stage(two, "evaluation").mark_done("0" * 16, seconds=1, left=[two / "predictions.parquet"])
    (two / "predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunDamaged, match=r"predictions\.parquet has 4 bytes"):
        compare_runs([one, two])
    Stage(two, "evaluation").withdraw()
    with pytest.raises(RunDamaged, match="cannot be read together"):
        compare_runs([one, two])


def test_the_command_line_shows_a_table_and_json(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # a long path would be cut in the table
    one = classified(Path("a/run"), TEXTS, GOLD, gru=MOST)
    two = classified(Path("b/run"), TEXTS, GOLD, gru=HALF)
    assert main(["compare", str(one), str(two)]) == 0
    told = capsys.readouterr().out
    assert f"{one}/gru" in told  # the folders are called alike
    assert "others minus this" in told
    assert "-40.0 [" in told
    assert "worse" in told
    assert "On the 40 test rows that all runs share" in told
    assert main(["compare", str(one), str(two), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["reference"] == {"run": str(one), "student": "gru"}
    assert record["models"][-1]["difference"]["accuracy"]["value"] == pytest.approx(-0.4)


def test_the_comparison_is_a_page_too(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = classified(Path("a/run<b>"), TEXTS, GOLD, gru=MOST)
    two = classified(Path("b/run<b>"), TEXTS, GOLD, gru=HALF)
    assert main(["compare", str(one), str(two), "--out", "side.html"]) == 0
    assert "side.html" in capsys.readouterr().out
    page = (tmp_path / "side.html").read_text("utf-8")
    assert "a/run&lt;b&gt;/gru" in page
    assert "<b>/gru" not in page
    drawn = [line for line in page.splitlines() if '<svg class="apart"' in line]
    assert len(drawn) % 3 == 0  # the reference has no difference, the other three models do
    assert len(drawn) >= 3
    assert "-40.0" in page.replace("\N{MINUS SIGN}", "-")
    assert "http" not in page.replace("http-equiv", "")
    assert main(["compare", str(one), str(two), "--out", "again.html"]) == 0
    assert (tmp_path / "again.html").read_text("utf-8") == page
    capsys.readouterr()
    assert main(["compare", str(one), str(two), "--out", "side.csv"]) == 2
    assert "--out is side.csv" in capsys.readouterr().err
