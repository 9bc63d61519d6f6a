"""The top of a page: what the verdict of any task is made of, and the words that all tasks share.

What is said of a student is up to its task; a sentence says no more than its interval carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.report.comparisons import cost_ratio
from tutelage.report.formats import times
from tutelage.report.measures import Evaluation, Measure

CALIBRATION_SLACK = 0.10
"""A stated confidence this far from the share of right answers, on average, is worth a warning."""
NO_CONTROL = (
    "There is no control, so nothing here says what the teacher bought (evaluate: {control: true} "
    "trains one)."
)


@dataclass(frozen=True)
class LargeNumber:
    """One large number at the top of the page."""

    value: str
    """The number."""
    caption: str
    """What it is."""
    detail: str = ""
    """Its interval, or what it is measured against."""


@dataclass(frozen=True)
class StudentVerdict:
    """What can be said of one student."""

    name: str
    """The student."""
    sentences: list[str]
    """Plain sentences: quality and cost, what the teacher bought."""


@dataclass(frozen=True)
class Verdict:
    """The top of the page: sentences without markup; names are as given and need escaping."""

    headline: str
    """One sentence on the best student."""
    deck: list[str]
    """What must be known beside the headline."""
    numbers: list[LargeNumber]
    """The large numbers of that student."""
    students: list[StudentVerdict]
    """Every student, in the order of the recipe."""
    cautions: list[str]
    """What speaks against believing or using the result."""


def speed_number(
    evaluation: Evaluation,
    model: Mapping[str, Any],
    measure: Measure,
    *,
    manner: str,
    unit: str = "",
) -> list[LargeNumber]:
    """How much faster a student is, or slower; nothing where it was not timed.

    Args:
        evaluation: The content of evaluation.json.
        model: The student's numbers.
        measure: The speed or latency.
        manner: What follows `faster` in the caption.
        unit: What follows the two speeds.
    """
    speed = cost_ratio(evaluation, model, measure)
    if not speed:
        return []
    caption = f"{'faster' if speed >= 1 else 'slower'}{manner}"
    pace = _against(evaluation, model, measure) + unit
    return [LargeNumber(f"{times(max(speed, 1 / speed))}×", caption, pace)]


def size_number(
    evaluation: Evaluation, model: Mapping[str, Any], measure: Measure
) -> list[LargeNumber]:
    """A student's parameters as a part of the teacher's; nothing where they were not counted."""
    size = cost_ratio(evaluation, model, measure)
    if not size:
        return []
    value = f"1/{times(size)}" if size >= 1 else f"{times(1 / size)}×"
    detail = _against(evaluation, model, measure)
    return [LargeNumber(value, "of the teacher’s parameters", detail)]


def speed_clause(speed: float | None, *, verb: str = "answers") -> str:
    """How much faster or slower a student is, to be appended to a sentence; empty if it was not
    timed.
    """
    if speed is None:
        return ""
    if speed >= 1.05:
        return f" and {verb} {times(speed)} times faster"
    if speed <= 0.95:
        return f" but {verb} {times(1 / speed)} times slower"
    return f" and {verb} no faster"


def poorly_calibrated(evaluation: Evaluation) -> list[str]:
    """Whose calibration error is above `CALIBRATION_SLACK`: the teacher first, then students."""
    models = [("the teacher", evaluation["teacher"]), *evaluation["students"].items()]
    return [
        name
        for name, model in models
        if "ece" in model and model["ece"]["value"] > CALIBRATION_SLACK
    ]


def calibration_caution(warning: str, names: list[str]) -> list[str]:
    """The warning, with what it rests on and whom it is about; nothing if that is nobody."""
    slack = f"(calibration error above {CALIBRATION_SLACK:.2f})"
    return [f"{warning} {slack}: {', '.join(names)}."] if names else []


def _against(evaluation: Evaluation, model: Mapping[str, Any], measure: Measure) -> str:
    """The student's number against the teacher's."""
    ours, theirs = (one[measure.key]["value"] for one in (model, evaluation["teacher"]))
    return f"{measure.show(ours)} against {measure.show(theirs)}"
