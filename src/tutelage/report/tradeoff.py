"""The plot of quality against cost: teacher, students, controls, simple methods. Values in, inline
SVG out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup

from tutelage.report import formats
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class AxisStyle:
    """How the vertical axis is written."""

    scale: float
    """What a quality is multiplied by to be drawn."""
    least_reach: float
    """The span that the axis has at least, in drawn units: smaller differences are not blown up."""
    tick: Callable[[float], str]
    """How a drawn value is written at the axis."""
    show: Callable[[float], str]
    """How a quality is written in words."""


PERCENT = AxisStyle(100.0, 4.0, lambda value: f"{value:.0f}{formats.THIN}%", formats.percent)
"""For shares."""


@dataclass(frozen=True)
class Point:
    """One model on the plot of quality against cost."""

    name: str
    """Its name; controls carry that of their student."""
    role: str
    """teacher, student or control."""
    slot: int
    """The position of the student, which gives colour and shape."""
    cost: float
    """Where it lies on the horizontal axis, > 0."""
    quality: Mapping[str, float]
    """Value, low and high of the metric."""


def quality_against_cost(
    points: Sequence[Point],
    *,
    cost_title: str,
    quality_title: str,
    levels: Mapping[str, float],
    key: str,
    narrow: bool = False,
    axis: AxisStyle = PERCENT,
) -> Markup:
    """Teacher, students and controls: quality upwards with its interval, cost to the right on a log
    scale.

    Args:
        points: The models.
        cost_title: Title of the horizontal axis.
        quality_title: Title of the vertical axis.
        levels: Quality that costs next to nothing, by name (the baselines), drawn as lines.
        key: Distinguishes the chart on the page.
        narrow: The edition for phones.
        axis: How the vertical axis is written.
    """
    from matplotlib.ticker import MaxNLocator

    width, height = (350, 360) if narrow else (1120, 440)
    left, right = (46, 14) if narrow else (56, 30)
    figure, axes = frame(width, height, left=left, right=right, top=30, bottom=52)
    costs = [point.cost for point in points]
    low, high = min(costs), max(costs)
    span = max(high / low, 4.0)
    axes.set_xscale("log")
    axes.set_xlim(low / span**0.09, low * span ** (1.16 if narrow else 1.10))
    scale = axis.scale
    ends = [
        scale * end for point in points for end in (point.quality["low"], point.quality["high"])
    ]
    reach = max(max(ends) - min(ends), axis.least_reach)
    # A baseline far below all models would press them flat; it is named at the foot of the chart
    # instead of drawn.
    drawn = {
        name: level for name, level in levels.items() if scale * level > min(ends) - 0.8 * reach
    }
    ends += [scale * level for level in drawn.values()]
    room = max(max(ends) - min(ends), axis.least_reach) * 0.09
    axes.set_ylim(min(ends) - room, max(ends) + room)
    axes.yaxis.set_major_formatter(lambda value, _: axis.tick(value))
    axes.yaxis.set_major_locator(MaxNLocator(5 if narrow else 6, steps=[1, 2, 5, 10]))
    _plain_log_ticks(axes)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(cost_title, loc="left", fontsize=10.5)
    axes.set_title(quality_title, loc="left", fontsize=10.5, color=MUTED, pad=12)
    words: dict[str, str] = {}
    for index, (name, level) in enumerate(sorted(drawn.items(), key=lambda item: -item[1])):
        axes.axhline(scale * level, color=MUTED, linewidth=1.0, linestyle=(0, (2, 3)))
        stand_in = _words_key(words, f"{formats.shortened(name, 40)} {axis.show(level)}")
        axes.annotate(
            stand_in,
            (1, scale * level),
            xycoords=("axes fraction", "data"),
            xytext=(0, -4 if index else 4),
            textcoords="offset points",
            ha="right",
            va="top" if index else "bottom",
            fontsize=10,
            color=MUTED,
        )
    for index, (name, level) in enumerate(
        (name, level) for name, level in levels.items() if name not in drawn
    ):
        stand_in = _words_key(words, f"↓ {formats.shortened(name, 40)} {axis.show(level)}")
        axes.annotate(
            stand_in,
            (1, 0),
            xycoords="axes fraction",
            xytext=(0, 5 + 15 * index),
            textcoords="offset points",
            ha="right",
            fontsize=10,
            color=MUTED,
        )
    heights = _label_heights(points, axes, height - 82, scale=scale)
    for order, point in enumerate(points):
        _draw_point(axes, point, words, label_y=heights.get(order), narrow=narrow, scale=scale)
    description = _points_in_words(points, cost_title, quality_title, show=axis.show)
    return inline_svg(figure, key=key, words=words, description=description)


def _words_key(words: dict[str, str], word: str) -> str:
    """Note a word and give the stand-in that matplotlib draws in its place."""
    stand_in = f"Qw{len(words):02d}Q"
    words[stand_in] = word
    return stand_in


def _plain_log_ticks(axes: Axes) -> None:
    """Decades written out (`0.1`, `10`, `1 M`); 2 and 5 between them where there is little span."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    low, high = axes.get_xlim()
    decades = high / low
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1.0,) if decades > 60 else (1.0, 2.0, 5.0), numticks=12)
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(
        lambda value, _: (
            f"{value:g}"
            if value < 1000
            else formats.magnitude(value).replace(".00", "").replace(".0", "")
        )
    )


def _draw_point(
    axes: Axes,
    point: Point,
    words: dict[str, str],
    *,
    label_y: float | None,
    narrow: bool,
    scale: float,
) -> None:
    """One model: marker, interval, and its name beside it."""
    from matplotlib.transforms import ScaledTranslation

    colour, marker = (
        (INK, TEACHER_MARKER)
        if point.role == "teacher"
        else (SERIES[point.slot % 6], MARKERS[point.slot % 6])
    )
    value, low, high = (scale * point.quality[end] for end in ("value", "low", "high"))
    figure = axes.get_figure()
    assert figure is not None
    hollow = point.role == "control"
    aside = (9 if hollow else 0) / 72
    moved = ScaledTranslation(aside, 0, figure.dpi_scale_trans)  # type: ignore[attr-defined]
    transform = axes.transData + moved
    axes.plot(
        [point.cost] * 2,
        [low, high],
        color=colour,
        linewidth=1.2,
        alpha=0.9,
        transform=transform,
        linestyle=(0, (2, 2)) if hollow else "-",
    )
    axes.plot(
        [point.cost],
        [value],
        marker=marker,
        markersize=8 if hollow else 9.5,
        color=colour,
        transform=transform,
        markeredgewidth=1.6,
        markerfacecolor=PAPER if hollow else colour,
        linestyle="none",
        zorder=3,
    )
    if label_y is None:
        return
    at_right = point.role == "teacher"
    limit = 16 if narrow else 28
    stand_in = _words_key(words, formats.shortened("teacher" if at_right else point.name, limit))
    offset = -14 if at_right else 20
    axes.annotate(
        stand_in,
        (point.cost, label_y),
        xytext=(offset, 0),
        textcoords="offset points",
        ha="right" if at_right else "left",
        va="center",
        fontsize=11.5,
        color=colour,
        fontweight="bold",
    )


def _label_heights(
    points: Sequence[Point], axes: Axes, pixels: int, *, scale: float
) -> dict[int, float]:
    """Where the names go: beside their points, pushed apart until none touches another."""
    low, high = axes.get_ylim()
    line = 16 * (high - low) / pixels
    named = sorted(
        (order for order, point in enumerate(points) if point.role == "student"),
        key=lambda order: points[order].quality["value"],
    )
    heights = {order: scale * points[order].quality["value"] for order in named}
    for _ in range(50):
        for below, above in pairwise(named):
            overlap = line - (heights[above] - heights[below])
            if overlap > 0:
                heights[above] += overlap / 2
                heights[below] -= overlap / 2
    return heights | {
        order: scale * point.quality["value"]
        for order, point in enumerate(points)
        if point.role == "teacher"
    }


def _points_in_words(
    points: Sequence[Point], cost_title: str, quality_title: str, *, show: Callable[[float], str]
) -> str:
    """The plot read out."""
    parts = [
        f"{point.name} ({point.role}): {show(point.quality['value'])} at {point.cost:.3g}"
        for point in points
    ]
    return f"{quality_title} against {cost_title}. " + "; ".join(parts) + "."
