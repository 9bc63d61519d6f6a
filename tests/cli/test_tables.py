"""The table at the end of a run; what it looks like to the character stands in golden/."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.cli.tables import results_table
from tutelage.tasks.classification.report import WORDS as CLASSIFICATION
from tutelage.tasks.language.report import WORDS as LANGUAGE

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("classification", CLASSIFICATION),
        ("language", LANGUAGE),
        ("language_part_of_tokens", LANGUAGE),
    ],
)
def test_the_table_of_a_run_stays_as_it_is_to_the_character(name, words) -> None:
    evaluation = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    assert results_table(evaluation, words) == (GOLDEN / f"{name}.txt").read_text("utf-8")


def test_a_long_name_makes_the_table_wider_and_cuts_no_number() -> None:
    evaluation = json.loads((GOLDEN / "language.json").read_text("utf-8"))
    name = "a student with a name " + "as long as this " * 10
    evaluation["students"] = {name: evaluation["students"]["gru"]}
    text = results_table(evaluation, LANGUAGE)
    assert f"{name}   5.715 [5.701, 5.731]" in text
    assert "…" not in text
    assert "…" in results_table(evaluation, LANGUAGE, width=126)


def metric(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


def test_the_table_shows_teacher_student_control_and_baseline_with_how_many_times_faster() -> None:
    quality = {name: metric(0.75) for name in ("accuracy", "macro_f1", "nll", "brier", "ece")}
    cost = {
        "parameters": metric(2_000_000),
        "disk_bytes": metric(8_000_000),
        "latency_ms_p50": metric(50.0),
    }
    student = {
        **quality,
        "agreement": metric(0.9),
        "kl": metric(0.1),
        **cost,
        "latency_ms_p50": metric(0.5),
    }
    evaluation = {
        "rows": 740, "teacher": {**quality, **cost}, "students": {"gru": student}, "controls": {"gru": student},
        "baselines": {"majority": quality},
    }  # fmt: skip
    lines = [
        line for line in results_table(evaluation, CLASSIFICATION).splitlines() if line.strip()
    ]
    assert "75.0 [73.0, 77.0]" in lines[2]
    assert lines[2].split()[-1] == "1x"
    assert lines[3].split()[0] == "gru"
    assert lines[3].split()[-1] == "100x"
    assert lines[4].startswith("  on labels only")
    assert lines[5].startswith("commonest class")
    assert "…" not in results_table(evaluation, CLASSIFICATION)
    assert lines[-1].startswith("740 test rows")


@pytest.mark.parametrize(
    ("student_ms", "shown"), [(0.5, "100x"), (20.0, "2.5x"), (125.0, "0.4x"), (2000.0, "0.025x")]
)
def test_a_slower_student_is_not_nothing_times_faster(student_ms: float, shown: str) -> None:
    quality = {name: metric(0.75) for name in ("accuracy", "macro_f1", "nll", "brier", "ece")}
    evaluation = {
        "rows": 9,
        "teacher": {**quality, "latency_ms_p50": metric(50.0)},
        "students": {"gru": {**quality, "latency_ms_p50": metric(student_ms)}},
        "devices": {"teacher": "cpu", "students": "cpu"},
    }
    lines = results_table(evaluation, CLASSIFICATION).splitlines()
    assert next(line for line in lines if line.startswith("gru")).split()[-1] == shown
    assert "Measured on" not in lines[-1]
    other = results_table(
        {**evaluation, "devices": {"teacher": "cuda (H200)", "students": "cpu"}}, CLASSIFICATION
    )
    assert "Measured on cuda (H200) (teacher), cpu (students)." in other
