"""How classifiers learned: loss and validation accuracy. Logs in, inline SVG out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tutelage.report.curves import Learning, loss_charts
from tutelage.report.reading import Records
from tutelage.report.svg import PAPER, SERIES, frame, inline_svg


def learning_charts(records: Records[Any]) -> list[Learning]:
    """The charts of each student that was trained in this run."""
    learning = []
    for slot, name in enumerate(records.students):
        soft, hard = records.student_curves.get(name, []), records.control_curves.get(name, [])
        pictures = loss_charts(soft, hard, slot=slot, name=name, alone="labels alone")
        if any("validation_accuracy" in row for row in [*soft, *hard]):
            chart = validation_accuracy(soft, hard, slot=slot, key=f"learning-{slot}", name=name)
            pictures.append(("Validation accuracy, %", chart))
        if pictures:
            learning.append(Learning(name, slot, pictures))
    return learning


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
        description=(
            f"Validation accuracy of {name} by step, trained on soft targets and on labels alone."
        ),
    )
