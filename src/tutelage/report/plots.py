"""Quality against cost: which models are drawn on which axes. Numbers in, inline SVG out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from tutelage.report import tradeoff
from tutelage.report.measures import Evaluation, Measure


@dataclass(frozen=True)
class QualityAxis:
    """The quality that is drawn upwards."""

    measure: Measure
    """The quality."""
    title: str
    """Title of the axis."""
    style: tradeoff.AxisStyle = tradeoff.PERCENT
    """How it is written."""
    levels: Mapping[str, float] = field(default_factory=dict)
    """Qualities that cost next to nothing, by name."""


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


def plots(evaluation: Evaluation, quality: QualityAxis, costs: Sequence[CostAxis]) -> list[Plot]:
    """Quality against each cost that was measured for two models, a student among them, wide and
    narrow.

    Args:
        evaluation: The content of evaluation.json.
        quality: The vertical axis.
        costs: The horizontal axes.
    """
    found = []
    for cost in costs:
        points = _points(evaluation, quality.measure.key, cost.key, scale=cost.scale)
        if sum(point.role == "student" for point in points) == 0 or len(points) < 2:
            continue
        editions = [
            tradeoff.quality_against_cost(
                points,
                cost_title=cost.narrow if narrow else cost.wide,
                quality_title=quality.title,
                levels=quality.levels,
                key=f"cost-{cost.key.replace('_', '-')}-{'narrow' if narrow else 'wide'}",
                narrow=narrow,
                axis=quality.style,
            )
            for narrow in (False, True)
        ]
        found.append(Plot(cost.key, cost.title, *editions))
    return found


def _points(
    evaluation: Evaluation, metric: str, cost: str, *, scale: float
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
