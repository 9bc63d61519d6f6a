"""How language-model students learned: loss and nats per token. Logs in, inline SVG out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tutelage.report.curves import Learning, close_limits, loss_charts
from tutelage.report.reading import Records
from tutelage.report.svg import MUTED, PAPER, SERIES, frame, inline_svg

CURVE_POINTS = 300
"""Points of a training curve that are drawn at most; where there are more, neighbours are
averaged."""


def learning_charts(records: Records[Any]) -> list[Learning]:
    """The charts of each student that was trained in this run."""
    learning = []
    for slot, name in enumerate(records.students):
        soft, hard = (
            _thinned(curves.get(name, []))
            for curves in (records.student_curves, records.control_curves)
        )
        pictures = loss_charts(
            soft, hard, slot=slot, name=name, alone="the text alone", unit=", nats", from_zero=False
        )
        if any("train_nats" in row for row in [*soft, *hard]):
            chart = text_losses(soft, hard, slot=slot, key=f"learning-{slot}", name=name)
            pictures.append(("Nats per token", chart))
        if pictures:
            learning.append(Learning(name, slot, pictures))
    return learning


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
    close_limits(axes, shown)
    axes.set_xlabel("optimiser step", fontsize=10.5)
    return inline_svg(
        figure,
        key=key,
        description=(
            f"Nats per token of {name} by step, trained with the teacher and on the text alone."
        ),
    )


def _thinned(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The training log with neighbouring steps averaged where there are many; validations stay as
    they are.
    """
    train = [row for row in rows if "train_loss" in row]
    width = -(-len(train) // CURVE_POINTS) or 1
    found: list[dict[str, Any]] = [dict(row) for row in rows if "train_loss" not in row]
    for start in range(0, len(train), width):
        group = train[start : start + width]
        mean = {
            key: sum(row[key] for row in group) / len(group)
            for key in ("train_loss", "train_nats")
            if key in group[0]
        }
        found.append({"step": group[-1]["step"], **mean})
    return sorted(found, key=lambda row: row["step"])
