"""Plain sentences about one student; none says more than its interval carries. Numbers come in,
words go out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.report import formats
from tutelage.report.formats import bracket, change, percent, times
from tutelage.report.standing import (
    baseline_difference,
    baseline_title,
    best_baseline,
    cost_ratio,
    find_comparison,
)


def student_sentences(evaluation: Mapping[str, Any], name: str, *, judged: bool) -> list[str]:
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


def kept_value(evaluation: Mapping[str, Any], name: str) -> float:
    """The share of the teacher's accuracy that a student keeps; above 1 it exceeds its teacher."""
    row = find_comparison(evaluation, name, "teacher", "accuracy")
    if row and "ratio" in row:
        return row["ratio"]["value"]
    theirs = evaluation["teacher"]["accuracy"]["value"]
    return evaluation["students"][name]["accuracy"]["value"] / theirs if theirs else float("nan")


def kept_share(evaluation: Mapping[str, Any], name: str) -> tuple[str, str]:
    """The share of the teacher's accuracy that a student keeps in words, and its interval if the
    evaluation has one.
    """
    row = find_comparison(evaluation, name, "teacher", "accuracy")
    interval = bracket(row["ratio"], scale=100) if row and "ratio" in row else ""
    return percent(kept_value(evaluation, name)), interval


def _difference_sentence(evaluation: Mapping[str, Any], name: str) -> str:
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
        f"{_rows(evaluation)} "
        "cannot tell the two apart in accuracy."
    )


def control_sentence(evaluation: Mapping[str, Any], name: str) -> str:
    """What the teacher bought in accuracy, or that nobody can tell."""
    row = find_comparison(evaluation, name, "control", "accuracy")
    control = evaluation.get("controls", {}).get(name)
    if row is None or control is None:
        return "There is no control, so nothing here says what the teacher bought (evaluate: {control: true} trains one)."
    difference, reached = row["difference"], percent(control["accuracy"]["value"])
    if difference["low"] > 0:
        return f"On labels alone the same network reaches {reached}: the teacher bought {_points(difference)}."
    if difference["high"] < 0:
        return (
            f"On labels alone the same network does better and reaches {reached}: distillation "
            "cost "
            f"{_points(difference)}."
        )
    return (
        f"On labels alone the same network reaches {reached}. The difference, "
        f"{signed_points(difference)}, "
        "includes zero: these rows do not show that the teacher helped accuracy."
    )


def _probability_sentence(evaluation: Mapping[str, Any], name: str) -> str:
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
            f"{amount} "
            f"(difference {interval})."
        )
    if difference["low"] > 0:
        return (
            "Its probabilities are worse than the control’s: negative log-likelihood higher by "
            f"{amount} "
            f"(difference {interval})."
        )
    return (
        "Whether its probabilities are better than the control’s is not settled (negative "
        "log-likelihood, "
        f"difference {interval})."
    )


def baseline_sentences(evaluation: Mapping[str, Any], name: str, *, only_doubts: bool) -> list[str]:
    """The best simple method beside the student; with `only_doubts`, only if the student is not
    clearly better.
    """
    baselines = evaluation.get("baselines", {})
    if not baselines:
        return []
    best = best_baseline(evaluation)
    reached, title = percent(baselines[best]["accuracy"]["value"]), baseline_title(best)
    difference = baseline_difference(evaluation, name, best)
    if difference is None:
        return [] if only_doubts else [f"{title} reaches {reached}."]
    if difference["low"] > 0:
        return (
            []
            if only_doubts
            else [f"{title} reaches {reached}; the student is better by {_points(difference)}."]
        )
    if difference["high"] < 0:
        return [
            f"{title}, which needs no teacher, reaches {reached} and is better than this student, "
            "by "
            f"{_points(difference)}."
        ]
    return [
        f"It is not clearly better than {title}, which needs no teacher and reaches {reached} "
        "(difference "
        f"{signed_points(difference)})."
    ]


def speed_clause(speed: float | None, *, verb: str = "answers") -> str:
    """How much faster or slower a student answers, to be appended to a sentence; empty if it was
    not timed.
    """
    if speed is None:
        return ""
    if speed >= 1.05:
        return f" and {verb} {times(speed)} times faster"
    if speed <= 0.95:
        return f" but {verb} {times(1 / speed)} times slower"
    return f" and {verb} no faster"


def _cost_clause(evaluation: Mapping[str, Any], student: Mapping[str, Any]) -> str:
    size = cost_ratio(evaluation, student, "parameters")
    clause = (
        ""
        if size is None
        else f" at 1/{times(size)} of its parameters"
        if size >= 1
        else f" at {times(1 / size)} times its parameters"
    )
    speed = speed_clause(cost_ratio(evaluation, student, "latency_ms_p50"))
    return clause + ("," if clause and speed else "") + speed


def _points(difference: Mapping[str, float]) -> str:
    """The size of a settled difference, without its sign."""
    if difference["high"] < 0:
        difference = {
            "value": -difference["value"],
            "low": -difference["high"],
            "high": -difference["low"],
        }
    return f"{formats.decimal_places(difference['value'] * 100, 1)} points {bracket(difference, scale=100)}"


def signed_points(difference: Mapping[str, float]) -> str:
    """A difference of accuracies in points with its sign and interval."""
    return f"{change(difference['value'] * 100, 1)} points {bracket(difference, scale=100)}"


def _rows(evaluation: Mapping[str, Any]) -> str:
    return formats.plural(evaluation.get("labelled_rows", evaluation["rows"]), "test row")
