"""The curves of training: how losses fell, step by step. Logs in, inline SVG out.

Widths are chosen so that a chart is shown at its own size on a phone as on a desk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tutelage.report.svg import MUTED, SERIES, frame, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Learning:
    """How one student and its control learned."""

    name: str
    """The student."""
    slot: int
    """Its position."""
    pictures: list[tuple[str, Markup]]
    """Title and chart; the third, where there is one, has student and control together."""


def loss_charts(
    soft: Sequence[Mapping[str, Any]],
    hard: Sequence[Mapping[str, Any]],
    *,
    slot: int,
    name: str,
    alone: str,
    unit: str = "",
    from_zero: bool = True,
) -> list[tuple[str, Markup]]:
    """What training minimised, of a student and of its control, each with its title.

    Args:
        soft: The student's log; empty where it was not trained in this run.
        hard: The control's.
        slot: Position of the student.
        name: The student.
        alone: What the control was trained on.
        unit: What follows the titles.
        from_zero: Whether the vertical axis starts at zero.
    """
    kinds = (
        (soft, "soft", "with the teacher", name),
        (hard, "hard", f"on {alone}", f"{name} on {alone}"),
    )
    return [
        (
            f"Loss {manner}{unit}",
            losses(
                rows,
                slot=slot,
                control=kind == "hard",
                key=f"loss-{kind}-{slot}",
                name=whose,
                from_zero=from_zero,
            ),
        )
        for rows, kind, manner, whose in kinds
        if rows
    ]


def losses(
    records: Sequence[Mapping[str, Any]],
    *,
    slot: int,
    control: bool,
    key: str,
    name: str,
    from_zero: bool = True,
) -> Markup:
    """Training loss per logged step (thin) and validation loss per epoch (thick); the ring marks
    the best epoch.
    """
    colour = SERIES[slot % 6]
    train = [(row["step"], row["train_loss"]) for row in records if "train_loss" in row]
    validation = [
        (row["step"], row["validation_loss"]) for row in records if "validation_loss" in row
    ]
    figure, axes = frame(340, 210, left=44, right=12, top=12, bottom=42)
    if train:
        axes.plot(*zip(*train, strict=True), color=MUTED, linewidth=0.9)
    if validation:
        axes.plot(
            *zip(*validation, strict=True),
            color=colour,
            linestyle=(0, (4, 2)) if control else "-",
            marker="o",
            markersize=3.5,
        )
        best = min(validation, key=lambda point: point[1])
        axes.plot(
            *best,
            color=colour,
            linestyle="none",
            marker="o",
            markersize=9,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=1.4,
        )
    (_floor if from_zero else close_limits)(axes, [loss for _, loss in train + validation])
    axes.set_xlabel("optimiser step", fontsize=10.5)
    last = f"; validation loss ends at {validation[-1][1]:.3f}" if validation else ""
    return inline_svg(
        figure, key=key, description=f"Loss of {name} over {len(train)} logged steps{last}."
    )


def _floor(axes: Axes, values: Sequence[float]) -> None:
    """A loss axis that starts at zero and is not flattened by the first few steps."""
    if not values:
        return
    ordered = sorted(values)
    top = max(ordered[int(0.98 * (len(ordered) - 1))], ordered[-1] * 0.5)
    axes.set_ylim(0, top * 1.08 or 1)


def close_limits(axes: Axes, values: Sequence[float]) -> None:
    """A loss axis close around what is drawn, not stretched by the first few steps."""
    if not values:
        return
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    ordered = sorted(values)
    low, high = (
        ordered[0],
        ordered[-1] if len(ordered) < 20 else ordered[int(0.97 * (len(ordered) - 1))],
    )
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(max(0.0, low - room), high + room)
