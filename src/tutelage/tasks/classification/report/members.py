"""The section on a teacher of several members: each alone, all together, and where they part.

In: what `evaluate.classes.members` wrote into evaluation.json, and the test rows. Out: what the
template places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.report import formats
from tutelage.tasks.classification.report.examples import DISAGREEMENT_CHARACTERS
from tutelage.tasks.classification.report.predictions import Predictions

KEY = "members"
COMBINED = {
    "mixture": "the weighted mean of their probabilities",
    "log_mean": "the weighted mean of the logarithms of their probabilities",
}
_SHOWN_NLL_DIGITS = 3


@dataclass(frozen=True)
class Line:
    """A member, or all of them together."""

    name: str
    """The member; empty for all."""
    description: str
    """What it is."""
    weight: str
    """Its share."""
    cells: dict[str, tuple[str, str]]
    """Of each measure, by its title, the value and the interval."""


@dataclass(frozen=True)
class Disputed:
    """One text on which members part."""

    text: str
    """The text, cut if long."""
    source: str
    """Where it came from."""
    gold: str | None
    """Its gold label."""
    apart: str
    """The Jensen-Shannon divergence of the members, in nats."""
    together: tuple[str, float]
    """What all say: label and probability."""
    answers: list[tuple[str, str, float]]
    """Of each member name, label and probability."""


@dataclass(frozen=True)
class Members:
    """What the section shows."""

    combined: str
    """How they become one, in words."""
    lines: list[Line]
    """Each member, then all."""
    unanimous: str
    """The share of rows on which all answer alike, with its interval."""
    disputed: list[Disputed]
    """The texts on which they are furthest apart, first."""


def members_section(evaluation: Mapping[str, Any], predictions: Predictions) -> Members | None:
    """What is shown of the members of a teacher; None where it has none.

    Args:
        evaluation: evaluation.json.
        predictions: The test rows.
    """
    found = evaluation.get(KEY)
    if not found:
        return None
    labels = list(evaluation["labels"])
    lines = [
        Line(one["name"], one["description"], formats.decimal(one["weight"]), _cells(one))
        for one in found["each"]
    ]
    lines.append(Line("", "", "", _cells(found["together"])))
    return Members(
        combined=COMBINED.get(found["combine"], str(found["combine"])),
        lines=lines,
        unanimous=" ".join(_share(found["unanimous"])),
        disputed=[_disputed(one, labels, predictions) for one in found["disputed"]],
    )


def _cells(one: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    cells = {}
    if "accuracy" in one:
        cells["Accuracy"] = _share(one["accuracy"])
        cells["NLL"] = (formats.decimal(one["nll"]["value"]), _nats(one["nll"]))
    if "nll_over_together" in one:
        gained = one["nll_over_together"]
        cells["NLL over all"] = (
            formats.change(gained["value"], _SHOWN_NLL_DIGITS),
            _nats(gained),
        )
    if "agreement" in one:
        cells["Answers as all do"] = _share(one["agreement"])
    return cells


def _share(interval: Mapping[str, float]) -> tuple[str, str]:
    return formats.percent(interval["value"]), formats.bracket(interval, scale=100)


def _nats(interval: Mapping[str, float]) -> str:
    return formats.bracket(interval, digits=_SHOWN_NLL_DIGITS)


def _disputed(one: Mapping[str, Any], labels: list[str], predictions: Predictions) -> Disputed:
    row = int(one["row"])
    gold, teacher = int(predictions.gold[row]), predictions.teacher[row]
    return Disputed(
        text=formats.shortened(predictions.texts[row], DISAGREEMENT_CHARACTERS),
        source=predictions.sources[row],
        gold=labels[gold] if gold >= 0 else None,
        apart=formats.decimal(one["apart"]),
        together=(labels[int(teacher.argmax())], float(teacher.max())),
        answers=[
            (name, answer["label"], float(answer["probability"]))
            for name, answer in one["answers"].items()
        ],
    )
