"""How much a student could answer alone: risk against coverage on the test rows, what its
certificates promise, and the money that saves.

In: the predictions of the test rows, and the certificates that lie in the run. Out: what the
template places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from tutelage.report import formats
from tutelage.report.svg import SERIES, frame, inline_svg
from tutelage.tasks.classification.report.predictions import Predictions

SHARES = (0.01, 0.02, 0.05)
"""Of all rows, disagreed on, at which the table tells how much is answered."""
FEWEST_ROWS = 20
"""Test rows from which there is a curve."""
MOST_POINTS = 120
"""Of one curve, so that the page stays small."""


@dataclass(frozen=True)
class Curve:
    """One student."""

    name: str
    """The student."""
    slot: int
    """Its position."""
    answered: list[tuple[str, str]]
    """For each of `SHARES`: the share disagreed on, and the share answered."""


@dataclass(frozen=True)
class Certified:
    """One certificate, in words."""

    name: str
    """The student."""
    slot: int | None
    """Its position; None where it is no student of the page."""
    coverage: str
    """The share that may be answered."""
    promise: str
    """What is promised of it."""
    seen: str
    """What the rows that certified show."""
    saved: str
    """Money; nothing where no price was given."""


@dataclass(frozen=True)
class Coverage:
    """The section."""

    picture: Markup
    """The curves."""
    curves: list[Curve]
    """The table."""
    certified: list[Certified]
    """Certificates."""


def coverage_section(
    predictions: Predictions, certificates: Mapping[str, Mapping[str, Any]]
) -> Coverage | None:
    """What is shown of coverage; None where there are too few rows.

    Args:
        predictions: The test rows.
        certificates: What certificate.json says, by student.
    """
    if len(predictions.teacher) < FEWEST_ROWS or not predictions.students:
        return None
    answers = predictions.teacher.argmax(axis=1)
    risks = {
        name: _wrong_from_the_surest(probs, answers) for name, probs in predictions.students.items()
    }
    names = list(predictions.students)
    return Coverage(
        picture=_picture(risks, certificates),
        curves=[
            Curve(
                name,
                slot,
                [
                    (formats.percent(share), formats.percent(_answered(risks[name], share)))
                    for share in SHARES
                ],
            )
            for slot, name in enumerate(names)
        ],
        certified=[
            _certified(name, names.index(name) if name in names else None, values)
            for name, values in sorted(certificates.items())
        ],
    )


def _wrong_from_the_surest(
    probs: NDArray[np.floating], answers: NDArray[np.integer]
) -> NDArray[np.int64]:
    """How many of the k surest answers are not the teacher's, for k from 1 to N."""
    order = np.argsort(-probs.max(axis=1), kind="stable")
    return np.cumsum((probs.argmax(axis=1) != answers)[order])


def _answered(wrong: NDArray[np.int64], share: float) -> float:
    """The share answered where at most this share of all rows is disagreed on."""
    return float((wrong <= share * len(wrong)).mean())


def _certified(name: str, slot: int | None, values: Mapping[str, Any]) -> Certified:
    of = "of all requests" if values["over"] == "all" else "of the requests it answers"
    whom = "the teacher" if values["against"] == "teacher" else "the labels"
    rows = int(values["rows"])
    saved = ""
    if "saved_per_million" in values:
        saved = (
            f"{values['saved_per_million']:,.2f} of {values['price_per_million']:,.2f} "
            "for a million requests"
        )
    return Certified(
        name=name,
        slot=slot,
        coverage=formats.percent(values["coverage"]),
        promise=(
            f"disagrees with {whom} on at most {formats.percent(values['disagreement'])} {of}, "
            f"with {formats.percent(values['confidence'])} confidence"
            + "; for every class"
            * (len(values["thresholds"]) > 1)
        ),
        seen=(
            f"{values['disagreed']:,} of {rows:,} rows ({values['rows_from']}) answered and "
            "disagreed on"
        ),
        saved=saved,
    )


def _picture(
    risks: Mapping[str, NDArray[np.int64]], certificates: Mapping[str, Mapping[str, Any]]
) -> Markup:
    """Disagreement among what is answered, against the share answered; rings: certified."""
    figure, axes = frame(640, 260, left=52, right=16, top=14, bottom=44)
    highest = 0.0
    for slot, (name, wrong) in enumerate(risks.items()):
        answered = np.arange(1, len(wrong) + 1)
        places = _spaced(len(wrong))
        x, y = 100 * answered[places] / len(wrong), 100 * (wrong / answered)[places]
        axes.plot(x, y, color=SERIES[slot % 6])
        highest = max(highest, float(y[len(y) // 4 :].max()))
        if (values := certificates.get(name)) is not None and values["coverage"] > 0:
            axes.plot(
                100 * values["coverage"],
                100 * values["disagreed"] / (values["coverage"] * values["rows"]),
                color=SERIES[slot % 6],
                marker="o",
                markersize=9,
                markerfacecolor="none",
                markeredgewidth=1.6,
            )
    axes.set_xlim(0, 101)
    axes.set_ylim(0, max(1.0, 1.1 * highest))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{value:.0f} %" if highest > 4 else f"{value:.1f} %"
    )
    axes.set_xlabel("answered alone, the surest first", fontsize=10.5)
    told = "; ".join(
        f"{name}: {formats.percent(_answered(wrong, 0.02))} answered at 2 % disagreement of all"
        for name, wrong in risks.items()
    )
    return inline_svg(
        figure,
        key="coverage",
        description=f"Disagreement with the teacher by the share answered alone. {told}.",
    )


def _spaced(rows: int) -> Sequence[int]:
    """Places of the points that are drawn, the last among them."""
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST_POINTS)).astype(int)).tolist()
