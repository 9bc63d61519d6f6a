"""Plain sentences about one classifier; none says more than its interval carries. Numbers come in,
words go out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.metrics import share_interval
from tutelage.report import formats
from tutelage.report.comparisons import cost_ratio, find_comparison, unsigned
from tutelage.report.formats import bracket, change, percent, times
from tutelage.report.measures import Evaluation
from tutelage.report.verdict import NO_CONTROL, speed_clause
from tutelage.tasks.classification.report.measures import MEASURES, NAMES


def student_sentences(evaluation: Evaluation, name: str, *, judged: bool) -> list[str]:
    """What can be said of one student: quality and cost, what the teacher bought, simple
    methods.
    """
    student, teacher = evaluation["students"][name], evaluation["teacher"]
    cost = _cost_clause(evaluation, student)
    agreement = (
        f"Gives the teacher’s answer on {percent(student['agreement']['value'])} of the test texts "
        f"{bracket(student['agreement'], scale=100)}"
        if "agreement" in student
        else ""
    )
    if not judged:
        return [f"{agreement}{cost}."]
    kept, interval = kept_share(evaluation, name)
    verb = "Reaches" if kept_value(evaluation, name) >= 1 else "Keeps"
    accuracies = (
        f"{percent(student['accuracy']['value'])} against {percent(teacher['accuracy']['value'])}"
    )
    first = (
        f"{verb} {kept} of the teacher’s accuracy {interval}".rstrip() + f" ({accuracies}){cost}."
    )
    return [
        sentence
        for sentence in (
            first,
            _difference_sentence(evaluation, name),
            control_sentence(evaluation, name),
            _probability_sentence(evaluation, name),
            *baseline_sentences(evaluation, name, only_doubts=False),
        )
        if sentence
    ]


def kept_value(evaluation: Evaluation, name: str) -> float:
    """The share of the teacher's accuracy that a student keeps; above 1 it exceeds its teacher."""
    row = find_comparison(evaluation, name, "teacher", "accuracy")
    if row and "ratio" in row:
        return row["ratio"]["value"]
    theirs = evaluation["teacher"]["accuracy"]["value"]
    return evaluation["students"][name]["accuracy"]["value"] / theirs if theirs else float("nan")


def kept_share(evaluation: Evaluation, name: str) -> tuple[str, str]:
    """The share of the teacher's accuracy that a student keeps in words, and its interval if the
    evaluation has one.
    """
    row = find_comparison(evaluation, name, "teacher", "accuracy")
    interval = bracket(row["ratio"], scale=100) if row and "ratio" in row else ""
    return percent(kept_value(evaluation, name)), interval


def kept_intervals(evaluation: Evaluation) -> tuple[str, dict[str, dict[str, float]]]:
    """What a student is chosen by, and how much of it each keeps: the share of the teacher's
    accuracy; without gold labels the share of rows with the teacher's answer.

    Where every row is right, or wrong, for both, resamples are all alike; then the exact bound on
    the share of rows that could tell the two apart stands in.
    """
    students, teacher = evaluation["students"], evaluation["teacher"]
    if "accuracy" not in teacher:
        return "agreement", {name: dict(student["agreement"]) for name, student in students.items()}
    rows = {name: find_comparison(evaluation, name, "teacher", "accuracy") for name in students}
    kept = {name: dict(row["ratio"]) for name, row in rows.items() if row and "ratio" in row}
    alike = share_interval([1.0] * evaluation.get("labelled_rows", evaluation["rows"])).low
    for interval in kept.values():
        if interval["low"] == interval["high"] == 1.0:
            interval["low"] = max(0.0, 1 - (1 - alike) / teacher["accuracy"]["value"])
    return "accuracy", kept


def _difference_sentence(evaluation: Evaluation, name: str) -> str:
    row = find_comparison(evaluation, name, "teacher", "accuracy")
    if row is None:
        return ""
    difference = row["difference"]
    if difference["low"] > 0:
        return f"It is more accurate than its teacher, by {_points(difference)}."
    if difference["high"] < 0:
        return f"It is less accurate than its teacher, by {_points(difference)}."
    return (
        f"The difference from its teacher, {signed_points(difference)}, includes zero: "
        f"{_rows(evaluation)} cannot tell the two apart in accuracy."
    )


def control_sentence(evaluation: Evaluation, name: str) -> str:
    """What the teacher bought in accuracy, or that nobody can tell."""
    row = find_comparison(evaluation, name, "control", "accuracy")
    control = evaluation.get("controls", {}).get(name)
    if row is None or control is None:
        return NO_CONTROL
    difference, reached = row["difference"], percent(control["accuracy"]["value"])
    if difference["low"] > 0:
        return (
            f"On labels alone the same network reaches {reached}: the teacher bought "
            f"{_points(difference)}."
        )
    if difference["high"] < 0:
        return (
            f"On labels alone the same network does better and reaches {reached}: distillation "
            f"cost {_points(difference)}."
        )
    return (
        f"On labels alone the same network reaches {reached}. The difference, "
        f"{signed_points(difference)}, includes zero: these rows do not show that the teacher "
        "helped accuracy."
    )


def _probability_sentence(evaluation: Evaluation, name: str) -> str:
    """What the teacher did to the probabilities, where the interval settles it."""
    row = find_comparison(evaluation, name, "control", "nll")
    if row is None:
        return ""
    difference = row["difference"]
    amount = f"{formats.decimal(abs(difference['value']))} nats"
    interval = bracket(difference, digits=3)
    if difference["high"] < 0:
        return (
            "Its probabilities are better than the control’s: negative log-likelihood lower by "
            f"{amount} (difference {interval})."
        )
    if difference["low"] > 0:
        return (
            "Its probabilities are worse than the control’s: negative log-likelihood higher by "
            f"{amount} (difference {interval})."
        )
    return (
        "Whether its probabilities are better than the control’s is not settled (negative "
        f"log-likelihood, difference {interval})."
    )


def best_baseline(evaluation: Evaluation) -> str:
    """The most accurate simple method; empty if there is none."""
    baselines = evaluation.get("baselines", {})
    return max(baselines, key=lambda key: baselines[key]["accuracy"]["value"], default="")


def baseline_difference(
    evaluation: Evaluation, name: str, baseline: str
) -> Mapping[str, float] | None:
    """Accuracy of a student minus that of a simple method."""
    for row in evaluation.get("comparisons", []):
        if (row["student"], row["against"], row.get("baseline")) == (name, "baseline", baseline):
            return row["difference"]
    return None


def baseline_sentences(evaluation: Evaluation, name: str, *, only_doubts: bool) -> list[str]:
    """The best simple method beside the student; with `only_doubts`, only if the student is not
    clearly better.
    """
    baselines = evaluation.get("baselines", {})
    if not baselines:
        return []
    best = best_baseline(evaluation)
    reached, title = percent(baselines[best]["accuracy"]["value"]), NAMES.baseline(best).title
    difference = baseline_difference(evaluation, name, best)
    if difference is None:
        return [] if only_doubts else [f"{title} reaches {reached}."]
    if difference["low"] > 0:
        better = f"{title} reaches {reached}; the student is better by {_points(difference)}."
        return [] if only_doubts else [better]
    if difference["high"] < 0:
        return [
            f"{title}, which needs no teacher, reaches {reached} and is better than this student, "
            f"by {_points(difference)}."
        ]
    return [
        f"It is not clearly better than {title}, which needs no teacher and reaches {reached} "
        f"(difference {signed_points(difference)})."
    ]


def _cost_clause(evaluation: Evaluation, student: Mapping[str, Any]) -> str:
    size = cost_ratio(evaluation, student, MEASURES["parameters"])
    clause = (
        ""
        if size is None
        else f" at 1/{times(size)} of its parameters"
        if size >= 1
        else f" at {times(1 / size)} times its parameters"
    )
    speed = speed_clause(cost_ratio(evaluation, student, MEASURES["latency_ms_p50"]))
    return clause + ("," if clause and speed else "") + speed


def _points(difference: Mapping[str, float]) -> str:
    """The size of a settled difference, without its sign."""
    size = unsigned(difference)
    points = formats.decimal_places(size["value"] * 100, 1)
    return f"{points} points {bracket(size, scale=100)}"


def signed_points(difference: Mapping[str, float]) -> str:
    """A difference of accuracies in points with its sign and interval."""
    return f"{change(difference['value'] * 100, 1)} points {bracket(difference, scale=100)}"


def _rows(evaluation: Evaluation) -> str:
    return formats.plural(evaluation.get("labelled_rows", evaluation["rows"]), "test row")
