"""The small charts: calibration, and how the networks learned. Values come in, inline SVG goes out.

Widths are chosen so that a chart is shown at its own size on a phone as on a desk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tutelage.report.svg import INK, MUTED, PAPER, SERIES, inline_svg, svg_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "v", "P", "X")
"""One shape per student beside its colour, for readers who do not tell colours apart."""
TEACHER_MARKER = "D"


def calibration(
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
        description=f"Calibration curve of {whose}: share of right answers against stated confidence.",
    )


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
    (_floor if from_zero else _close)(axes, [loss for _, loss in train + validation])
    axes.set_xlabel("optimiser step", fontsize=10.5)
    last = f"; validation loss ends at {validation[-1][1]:.3f}" if validation else ""
    return inline_svg(
        figure, key=key, description=f"Loss of {name} over {len(train)} logged steps{last}."
    )


def validation_accuracy(
    soft: Sequence[Mapping[str, Any]],
    hard: Sequence[Mapping[str, Any]],
    *,
    slot: int,
    key: str,
    name: str,
) -> Markup:
    """Validation accuracy per epoch, trained on soft targets (solid) and on labels alone
    (dashed).
    """
    colour = SERIES[slot % 6]
    figure, axes = frame(340, 210, left=44, right=12, top=12, bottom=42)
    shown: list[float] = []
    for records, style, face in ((hard, (0, (4, 2)), PAPER), (soft, "-", colour)):
        points = [
            (row["step"], 100 * row["validation_accuracy"])
            for row in records
            if row.get("validation_accuracy") is not None
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                color=colour,
                linestyle=style,
                marker="o",
                markersize=4.5,
                markerfacecolor=face,
            )
            shown += [accuracy for _, accuracy in points]
    if shown:
        room = max(2.0, 0.12 * (max(shown) - min(shown)))
        axes.set_ylim(max(0, min(shown) - room), min(100.5, max(shown) + room))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.set_xlabel("optimiser step", fontsize=10.5)
    return inline_svg(
        figure,
        key=key,
        description=f"Validation accuracy of {name} by step, trained on soft targets and on labels alone.",
    )


def text_losses(
    soft: Sequence[Mapping[str, Any]],
    hard: Sequence[Mapping[str, Any]],
    *,
    slot: int,
    key: str,
    name: str,
) -> Markup:
    """Nats per token of the text, with the teacher (solid) and on the text alone (dashed); thin
    lines are train.
    """
    colour = SERIES[slot % 6]
    figure, axes = frame(340, 210, left=44, right=12, top=12, bottom=42)
    shown: list[float] = []
    for records, style, face, thin in (
        (hard, (0, (4, 2)), PAPER, MUTED),
        (soft, "-", colour, colour),
    ):
        train, validation = (
            [(row["step"], row[measure]) for row in records if row.get(measure) is not None]
            for measure in ("train_nats", "validation_nats")
        )
        if train:
            axes.plot(*zip(*train, strict=True), color=thin, linewidth=0.8, alpha=0.55)
        if validation:
            axes.plot(
                *zip(*validation, strict=True),
                color=colour,
                linestyle=style,
                marker="o",
                markersize=4.5,
                markerfacecolor=face,
            )
        shown += [nats for _, nats in train + validation]
    _close(axes, shown)
    axes.set_xlabel("optimiser step", fontsize=10.5)
    return inline_svg(
        figure,
        key=key,
        description=f"Nats per token of {name} by step, trained with the teacher and on the text alone.",
    )


def frame(
    width: int, height: int, *, left: int, right: int, top: int, bottom: int
) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; all lengths in CSS pixels."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(svg_style()):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        axes = figure.add_axes(
            (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
        )
        axes.tick_params(pad=5)
    return figure, axes


def _reliability(curve: Sequence[Mapping[str, float]]) -> tuple[list[float], list[float]]:
    """Confidence and accuracy of the bins that hold rows."""
    points = sorted((point["confidence"], point["accuracy"]) for point in curve if point["count"])
    return [confidence for confidence, _ in points], [accuracy for _, accuracy in points]


def _floor(axes: Axes, values: Sequence[float]) -> None:
    """A loss axis that starts at zero and is not flattened by the first few steps."""
    if not values:
        return
    ordered = sorted(values)
    top = max(ordered[int(0.98 * (len(ordered) - 1))], ordered[-1] * 0.5)
    axes.set_ylim(0, top * 1.08 or 1)


def _close(axes: Axes, values: Sequence[float]) -> None:
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
