"""The pictures that the pages of both tasks show: quality against cost, and calibration. Numbers
in, inline SVG out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tutelage.report import charts, tradeoff
from tutelage.report.measures import Measure


@dataclass(frozen=True)
class CostAxis:
    """One way to say what a model costs."""

    key: str
    """Its name in evaluation.json."""
    title: str
    """Its name on the switch above the plot."""
    wide: str
    """Title of the horizontal axis on a desk."""
    narrow: str
    """The same on a phone."""
    scale: float = 1.0
    """What the number is multiplied by to be in the unit of the title."""


@dataclass(frozen=True)
class Plot:
    """Quality against one cost."""

    key: str
    """The cost."""
    title: str
    """Its name for people."""
    wide: Markup
    """The edition for desks."""
    narrow: Markup
    """The edition for phones."""


@dataclass(frozen=True)
class Calibration:
    """The calibration curve of one model, with its control."""

    name: str
    """The model."""
    slot: int | None
    """Position of the student; None for the teacher."""
    svg: Markup
    """The chart."""
    errors: list[tuple[str, str, str]]
    """Calibration errors: whose, value, interval."""


def plots(
    evaluation: Mapping[str, Any],
    metric: Measure,
    costs: Sequence[CostAxis],
    *,
    title: str,
    levels: Mapping[str, float],
    axis: tradeoff.QualityAxis = tradeoff.PERCENT,
) -> list[Plot]:
    """Quality against each cost that was measured for two models, a student among them, wide and
    narrow.

    Args:
        evaluation: The content of evaluation.json.
        metric: The quality.
        costs: The horizontal axes.
        title: Title of the vertical axis.
        levels: Qualities that cost next to nothing, by name.
        axis: How the vertical axis is written.
    """
    found = []
    for cost in costs:
        points = _points(evaluation, metric.key, cost.key, scale=cost.scale)
        if sum(point.role == "student" for point in points) == 0 or len(points) < 2:
            continue
        editions = [
            tradeoff.quality_against_cost(
                points,
                cost_title=cost.narrow if narrow else cost.wide,
                quality_title=title,
                levels=levels,
                key=f"cost-{cost.key.replace('_', '-')}-{'narrow' if narrow else 'wide'}",
                narrow=narrow,
                axis=axis,
            )
            for narrow in (False, True)
        ]
        found.append(Plot(cost.key, cost.title, *editions))
    return found


def _points(
    evaluation: Mapping[str, Any], metric: str, cost: str, *, scale: float
) -> list[tradeoff.Point]:
    """The models with both numbers. A model without a quality of its own (the teacher's agreement)
    counts as 1.
    """
    same = {"value": 1.0, "low": 1.0, "high": 1.0}
    models: list[tuple[str, str, int, Mapping[str, Any]]] = [
        ("teacher", "teacher", 0, {metric: same} | evaluation["teacher"])
    ]
    slots = {name: slot for slot, name in enumerate(evaluation["students"])}
    models += [
        (name, "student", slots[name], model) for name, model in evaluation["students"].items()
    ]
    models += [
        (name, "control", slots.get(name, 0), model)
        for name, model in evaluation.get("controls", {}).items()
    ]
    points = []
    for name, role, slot, model in models:
        # A control is the same network as its student, so it costs the same even where nobody timed
        # it.
        price = model.get(cost) or (
            evaluation["students"].get(name, {}).get(cost) if role == "control" else None
        )
        if price and price["value"] > 0 and metric in model:
            points.append(tradeoff.Point(name, role, slot, price["value"] * scale, model[metric]))
    return points


def calibrations(
    evaluation: Mapping[str, Any], measure: Measure, *, unit: str
) -> list[Calibration]:
    """One small chart for the teacher and one for each student with its control.

    Args:
        evaluation: The content of evaluation.json.
        measure: The calibration error.
        unit: What the curves count.
    """
    curves = evaluation.get("calibration") or {}
    found: list[Calibration] = []

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
            svg = charts.calibration(
                curve, control=control, slot=slot, key=key, name=name, unit=unit
            )
            found.append(Calibration(name, slot, svg, errors))

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
    return (
        [(title, measure.show(model["ece"]["value"]), measure.interval(model["ece"]))]
        if "ece" in model
        else []
    )
