"""Calibration curves: how far a model's confidence can be believed. Numbers in, inline SVG out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tutelage.report.measures import Evaluation, Measure, Measures
from tutelage.report.svg import (
    INK,
    MARKERS,
    MUTED,
    PAPER,
    SERIES,
    TEACHER_MARKER,
    frame,
    inline_svg,
)


@dataclass(frozen=True)
class CalibrationPlot:
    """The calibration curve of one model, with its control."""

    name: str
    """The model."""
    slot: int | None
    """Position of the student; None for the teacher."""
    svg: Markup
    """The chart."""
    errors: list[tuple[str, str, str]]
    """Calibration errors: whose, value, interval."""


def calibrations(evaluation: Evaluation, measures: Measures, *, unit: str) -> list[CalibrationPlot]:
    """One small chart for the teacher and one for each student with its control.

    Args:
        evaluation: The content of evaluation.json.
        measures: What the task measures, `ece` among it where there are curves.
        unit: What the curves count.
    """
    curves = evaluation.get("calibration") or {}
    if not curves:
        return []
    measure = measures["ece"]
    found: list[CalibrationPlot] = []

    def add(
        name: str,
        slot: int | None,
        curve: Sequence[Mapping[str, float]],
        control: Sequence[Mapping[str, float]],
        errors: list[tuple[str, str, str]],
    ) -> None:
        """Add a chart with the calibration errors beneath it."""
        if curve:
            key = f"calibration-{len(found)}"
            svg = draw_calibration(curve, control=control, slot=slot, key=key, name=name, unit=unit)
            found.append(CalibrationPlot(name, slot, svg, errors))

    add("Teacher", None, curves.get("teacher", []), [], _error("", evaluation["teacher"], measure))
    for slot, (name, model) in enumerate(evaluation["students"].items()):
        control = evaluation.get("controls", {}).get(name, {})
        errors = _error("" if not control else "with teacher", model, measure) + _error(
            "control", control, measure
        )
        add(
            name,
            slot,
            curves.get("students", {}).get(name, []),
            curves.get("controls", {}).get(name, []),
            errors,
        )
    return found


def _error(title: str, model: Mapping[str, Any], measure: Measure) -> list[tuple[str, str, str]]:
    """A model's calibration error in words: whose, value, interval."""
    number = model.get(measure.key)
    return [(title, measure.show(number["value"]), measure.interval(number))] if number else []


def draw_calibration(
    curve: Sequence[Mapping[str, float]],
    *,
    control: Sequence[Mapping[str, float]] = (),
    slot: int | None,
    key: str,
    name: str,
    unit: str = "rows",
) -> Markup:
    """Stated confidence to the right, share of right answers upwards; on the diagonal they are
    equal.

    Args:
        curve: Points with confidence, accuracy and count.
        control: The same of the control, drawn hollow and dashed.
        slot: Position of the student; None for the teacher.
        key: Distinguishes the chart on the page.
        name: Name for the description.
        unit: What was counted.
    """
    figure, axes = frame(250, 250, left=42, right=12, top=12, bottom=44)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, ["0", "", "50", "", "100"])
    axes.set_yticks(ticks, ["0", "", "50", "", "100"])
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (2, 3)))
    colour, marker = (
        (INK, TEACHER_MARKER) if slot is None else (SERIES[slot % 6], MARKERS[slot % 6])
    )
    if control:
        axes.plot(
            *_reliability(control),
            color=colour,
            linewidth=1.1,
            linestyle=(0, (4, 3)),
            marker=marker,
            markersize=4.5,
            markerfacecolor=PAPER,
        )
    axes.plot(*_reliability(curve), color=colour, marker=marker, markersize=5, markeredgewidth=0)
    axes.set_xlabel("stated confidence, %", fontsize=10.5)
    axes.set_ylabel("right, %", fontsize=10.5, labelpad=0)
    count = sum(int(point["count"]) for point in curve)
    whose = f"{name} over {count} {unit}"
    return inline_svg(
        figure,
        key=key,
        description=(
            f"Calibration curve of {whose}: share of right answers against stated confidence."
        ),
    )


def _reliability(curve: Sequence[Mapping[str, float]]) -> tuple[list[float], list[float]]:
    """Confidence and accuracy of the bins that hold rows."""
    points = sorted((point["confidence"], point["accuracy"]) for point in curve if point["count"])
    return [confidence for confidence, _ in points], [accuracy for _, accuracy in points]
