"""The large numbers at the top of the page. Numbers come in, numbers with captions go out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.report.formats import bracket, change, percent, times
from tutelage.report.measures import BY_KEY
from tutelage.report.sentences import kept_share
from tutelage.report.standing import cost_ratio, find_comparison


@dataclass(frozen=True)
class Figure:
    """One large number at the top of the page."""

    value: str
    """The number."""
    caption: str
    """What it is."""
    detail: str = ""
    """Its interval, or what it is measured against."""


def large_figures(evaluation: Mapping[str, Any], name: str, *, judged: bool) -> list[Figure]:
    """The large numbers of one student, as far as they were measured."""
    student = evaluation["students"][name]
    figures: list[Figure] = []
    if judged:
        kept, interval = kept_share(evaluation, name)
        figures.append(Figure(kept, "of the teacher’s accuracy", interval))
    elif "agreement" in student:
        figures.append(
            Figure(
                percent(student["agreement"]["value"]),
                "same answer as the teacher",
                bracket(student["agreement"], scale=100),
            )
        )
    if speed := cost_ratio(evaluation, student, "latency_ms_p50"):
        pace = _against(evaluation, student, "latency_ms_p50")
        figures.append(
            Figure(
                f"{times(max(speed, 1 / speed))}×",
                "faster, one text at a time" if speed >= 1 else "slower, one text at a time",
                pace,
            )
        )
    if size := cost_ratio(evaluation, student, "parameters"):
        parameters = _against(evaluation, student, "parameters")
        figures.append(
            Figure(
                f"1/{times(size)}" if size >= 1 else f"{times(1 / size)}×",
                "of the teacher’s parameters",
                parameters,
            )
        )
    row = find_comparison(evaluation, name, "control", "accuracy")
    if row is not None:
        low, high = row["difference"]["low"], row["difference"]["high"]
        caption = (
            "points of accuracy bought by the teacher"
            if low > 0
            else "points of accuracy beside the same network on labels alone"
        )
        if low <= 0 <= high:
            caption += ": not settled"
        figures.append(
            Figure(
                change(row["difference"]["value"] * 100, 1),
                caption,
                bracket(row["difference"], scale=100),
            )
        )
    return figures


def _against(evaluation: Mapping[str, Any], student: Mapping[str, Any], key: str) -> str:
    """The student's number against the teacher's."""
    show = BY_KEY[key].show
    return f"{show(student[key]['value'])} against {show(evaluation['teacher'][key]['value'])}"
