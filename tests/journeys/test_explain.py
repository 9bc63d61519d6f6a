"""`tutelage explain` on a run: its student, its teacher, files, and the section of the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.journeys.tiny_job import tutelage, tutelage_json

from tutelage.errors import MissingExtra
from tutelage.recipes.explaining import explain_texts, measure_faithfulness

TEXT = "the superb phone was AWFUL"


def total(told: dict, label: str) -> float:
    return told["baseline"][label] + sum(one["logits"][label] for one in told["words"])


def test_a_network_is_explained_by_gradients(finished: Path) -> None:
    pytest.importorskip("captum", reason="captum is not installed")
    (told,) = tutelage_json("explain", finished / "runs/tiny", TEXT, cwd=finished)
    assert told["method"] == "gradients"
    assert [one["word"] for one in told["words"]] == TEXT.split()
    for label, logit in told["logits"].items():
        assert abs(told["residual"][label]) <= max(
            0.01, 0.01 * abs(logit - told["baseline"][label])
        )
        assert total(told, label) + told["residual"][label] == pytest.approx(logit)
    lines = tutelage(
        "explain", finished / "runs/tiny", TEXT, "--method", "occlusion", "--top", "2", cwd=finished
    ).stdout.splitlines()
    assert len([line for line in lines if line.split()[1] in TEXT.split()]) == 2
    assert "(3 others)" in lines[3]
    assert "(no word at all)" in lines[-2]


def test_without_captum_words_are_left_out_and_the_extra_is_named(
    finished: Path, monkeypatch: pytest.MonkeyPatch, recorder: list[str]
) -> None:
    run = finished / "runs/tiny"
    monkeypatch.setattr("tutelage.evaluate.classes.explaining.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)

    class Telling:
        def say(self, message: str) -> None:
            recorder.append(message)

    (told,) = explain_texts(run, [TEXT], progress=Telling())  # type: ignore[arg-type]
    assert told["method"] == "occlusion"
    assert "pip install 'tutelage[explain]'" in recorder[0]
    with pytest.raises(MissingExtra, match=r"tutelage\[explain\]"):
        explain_texts(run, [TEXT], method="gradients")


@pytest.fixture
def recorder() -> list[str]:
    return []


def test_the_teacher_of_a_run_is_explained(finished: Path) -> None:
    run = finished / "runs/tiny"
    (told,) = explain_texts(run, [TEXT], teacher=True)
    assert told["method"] == "occlusion"  # a head on features
    (probs,) = explain_texts(run / "students" / "gru", [TEXT], teacher=True)
    assert probs == told


def test_faithfulness_is_of_test_rows(finished: Path) -> None:
    found = measure_faithfulness(finished / "runs/tiny", 12, method="occlusion")
    assert found["texts"] == 12
    assert found["explained"] == "gru"
    assert found["difference"]["value"] > 0
    everything = measure_faithfulness(finished / "runs/tiny", 1000, method="occlusion")
    assert everything["texts"] == 50


def test_a_file_is_explained(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "told.jsonl"
    words = ("--file", "test.csv", "--out", out, "--method", "occlusion")
    said = tutelage("explain", finished / "runs/tiny", *words, cwd=finished).stdout
    assert said.strip() == f"50 rows of gru explained by occlusion: {out}"
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["row"] for row in rows] == list(range(1, 51))
    assert all(
        "".join(one["word"] for one in row["words"]) in row["text"].replace(" ", "") for row in rows
    )


def test_the_report_shows_what_both_looked_at(finished: Path) -> None:
    run = finished / "runs/tiny"
    told = json.loads((run / "evaluation.json").read_text())["explanations"]
    assert "strongest" not in told
    rows = told["disagreements"]["rows"]
    assert 0 < len(rows) <= 10
    for row in rows:
        assert row["teacher"]["label"] != row["student"]["label"]
        assert len(row["teacher"]["words"]) == len(row["student"]["words"])
    page = (run / "report.html").read_text()
    assert "Where teacher and gru part most" in page
    assert 'class="push' in page
