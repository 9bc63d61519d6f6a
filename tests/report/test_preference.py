"""Which student `evaluate.prefer` chooses, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from tutelage.report.formats import THIN
from tutelage.report.preference import KEY, choose_student, preference_sentence
from tutelage.tasks.classification.report.measures import MEASURES
from tutelage.tasks.classification.report.sentences import kept_intervals
from tutelage.tasks.classification.report.verdict import reach_verdict
from tutelage.tasks.language.report.measures import MEASURES as LANGUAGE_MEASURES
from tutelage.tasks.language.report.sentences import kept_intervals as kept_by_writers


def interval(value: float, low: float | None = None) -> dict[str, float]:
    low = value if low is None else low
    return {"value": value, "low": low, "high": 2 * value - low}


def evaluated(**students: tuple[float, float, float]) -> dict[str, Any]:
    """An evaluation of students by what they keep, its lower end, and milliseconds."""
    return {
        "rows": 400,
        "labelled_rows": 400,
        "teacher": {"accuracy": interval(0.8), "latency_ms_p50": interval(50.0)},
        "students": {
            name: {
                "accuracy": interval(0.8 * kept),
                "agreement": interval(0.9, 0.88),
                "latency_ms_p50": interval(ms),
            }
            for name, (kept, _, ms) in students.items()
        },
        "comparisons": [
            {
                "student": name,
                "against": "teacher",
                "metric": "accuracy",
                "difference": interval(0.0, -0.1),
                "ratio": interval(kept, low),
            }
            for name, (kept, low, _) in students.items()
        ],
    }


def chosen(evaluation: dict[str, Any], keep: float) -> dict[str, Any]:
    measure, kept = kept_intervals(evaluation)
    cost = MEASURES["latency_ms_p50"]
    return choose_student(evaluation, keep=keep, measure=measure, kept=kept, cost=cost)


def test_the_cheapest_is_chosen_whose_lower_end_keeps_enough() -> None:
    students = {"slow": (1.0, 0.98, 5.0), "fast": (0.99, 0.975, 1.0), "faster": (0.99, 0.96, 0.5)}
    evaluation = evaluated(**students)
    assert chosen(evaluation, 0.97)["student"] == "fast"
    assert chosen(evaluation, 0.96)["student"] == "faster"
    assert chosen(evaluation, 0.979)["student"] == "slow"
    assert chosen(evaluation, 0.99) == {
        "keep": 0.99,
        "measure": "accuracy",
        "cost": "latency_ms_p50",
        "kept": {name: interval(kept, low) for name, (kept, low, _) in students.items()},
        "student": None,
    }


def test_a_student_without_an_interval_or_a_cost_is_not_taken_before_one_that_has_both() -> None:
    evaluation = evaluated(odd=(1.0, float("nan"), 0.1), sure=(1.0, 0.98, 2.0), more=(1, 0.98, 3))
    del evaluation["students"]["more"]["latency_ms_p50"]
    assert chosen(evaluation, 0.97)["student"] == "sure"
    assert "odd" not in chosen(evaluation, 0.97)["kept"]


def test_twenty_rows_on_which_everybody_is_right_do_not_show_that_97_percent_are_kept() -> None:
    evaluation = evaluated(gru=(1.0, 1.0, 1.0))
    evaluation["teacher"]["accuracy"] = interval(1.0)
    assert chosen(evaluation, 0.97)["student"] == "gru"  # 400 rows do
    evaluation["labelled_rows"] = 20
    found = chosen(evaluation, 0.97)
    assert found["student"] is None
    assert found["kept"]["gru"]["low"] == pytest.approx(0.025 ** (1 / 20))


def test_without_gold_labels_it_is_the_agreement_that_counts() -> None:
    evaluation = evaluated(gru=(1.0, 1.0, 1.0))
    evaluation["comparisons"], evaluation["teacher"] = [], {"latency_ms_p50": interval(50.0)}
    assert chosen(evaluation, 0.88)["measure"] == "agreement"
    assert chosen(evaluation, 0.88)["student"] == "gru"
    assert chosen(evaluation, 0.89)["student"] is None


@pytest.mark.parametrize(
    ("documents", "pieces", "low"), [(1, 1, 0.02), (1, 90, 0.767), (90, 95, 0.767)]
)
def test_an_interval_of_a_writer_without_width_is_widened(documents, pieces, low) -> None:
    students = {
        "half": {"top1_agreement": interval(0.8)},
        "gru": {"top1_agreement": interval(0.7, 0.6)},
    }
    evaluation = {"documents": documents, "pieces": pieces, "students": students}
    measure, kept = kept_by_writers(evaluation)
    assert measure == "top1_agreement"
    assert kept["half"]["low"] == pytest.approx(low, abs=0.002)
    assert kept["gru"] == interval(0.7, 0.6)
    assert students["half"]["top1_agreement"]["low"] == 0.8


def test_a_sentence_says_who_and_why_or_that_nobody_keeps_enough() -> None:
    evaluation = evaluated(gru=(0.985, 0.975, 1.0), lstm=(0.97, 0.95, 0.5))
    assert preference_sentence(evaluation, MEASURES) == ""
    evaluation[KEY] = chosen(evaluation, 0.97)
    said = preference_sentence(evaluation, MEASURES).replace(THIN, " ").replace("\u00a0", " ")
    assert said == (
        "The cheapest student that by the lower end of its 95 % interval keeps at least 97.0 % of "
        "the teacher’s accuracy is “gru”: 98.5 % [97.5, 99.5] and answers 50 times faster."
    )
    evaluation[KEY] = chosen(evaluation, 0.98)
    said = preference_sentence(evaluation, MEASURES).replace(THIN, " ").replace("\u00a0", " ")
    assert said == (
        "No student keeps at least 98.0 % of the teacher’s accuracy by the lower end of its 95 % "
        "interval; “gru” comes nearest: 98.5 % [97.5, 99.5]."
    )
    evaluation[KEY] = {**evaluation[KEY], "kept": {}}
    assert "is not known" in preference_sentence(evaluation, MEASURES)


def test_the_verdict_says_it_too() -> None:
    evaluation = evaluated(gru=(0.985, 0.975, 1.0))
    before = reach_verdict(evaluation).deck
    evaluation[KEY] = chosen(evaluation, 0.97)
    assert reach_verdict(evaluation).deck == [*before, preference_sentence(evaluation, MEASURES)]


def test_of_a_writer_the_speed_of_writing_is_said() -> None:
    students = {"gru": {"top1_agreement": interval(0.7, 0.6), "tokens_per_second": interval(400.0)}}
    teacher = {"tokens_per_second": interval(100.0)}
    evaluation = {"documents": 40, "pieces": 40, "students": students, "teacher": teacher}
    measure, kept = kept_by_writers(evaluation)
    cost = LANGUAGE_MEASURES["tokens_per_second"]
    evaluation[KEY] = choose_student(evaluation, keep=0.6, measure=measure, kept=kept, cost=cost)
    assert preference_sentence(evaluation, LANGUAGE_MEASURES).endswith("writes 4.0 times faster.")
