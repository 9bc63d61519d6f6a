"""Students beside others, as evaluation.json has them: ratios of cost, and paired differences as
rows of text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutelage.report import formats
from tutelage.report.measures import Evaluation, Measure, Measures

if TYPE_CHECKING:
    from tutelage.report.words import Names


@dataclass(frozen=True)
class Comparison:
    """One metric of one student against one other model."""

    difference: str
    """Student minus the other, with its unit."""
    interval: str
    """The paired 95 % interval."""
    word: str
    """better, worse or not settled."""


@dataclass(frozen=True)
class Opponent:
    """Everything one student is compared in with one other model."""

    title: str
    """The other model."""
    by_metric: dict[str, Comparison]
    """Comparison by metric."""
    mcnemar: str
    """McNemar's p with the two counts behind it; empty without gold labels."""


def find_comparison(
    evaluation: Evaluation, student: str, against: str, metric: str
) -> Mapping[str, Any] | None:
    """The comparison of a student with the teacher or its control, if the evaluation made it."""
    for row in evaluation.get("comparisons", []):
        if (row["student"], row["against"], row["metric"]) == (student, against, metric):
            return row
    return None


def cost_ratio(evaluation: Evaluation, model: Mapping[str, Any], measure: Measure) -> float | None:
    """How many times cheaper a model is than the teacher; below 1 it is dearer, None where either
    was not measured.
    """
    ours, theirs = model.get(measure.key), evaluation["teacher"].get(measure.key)
    if not ours or not theirs or not ours["value"] or not theirs["value"]:
        return None
    ratio = theirs["value"] / ours["value"]
    return 1 / ratio if measure.higher_is_better else ratio


def opponents(
    evaluation: Evaluation, student: str, measures: Measures, *, names: Names
) -> list[Opponent]:
    """The paired comparisons of one student: with the teacher, its control, the baselines and other
    students.

    Args:
        evaluation: The content of evaluation.json.
        student: Its name.
        measures: What the task measures.
        names: What the other models are called.
    """
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in evaluation.get("comparisons", []):
        if row["student"] == student:
            rival = row.get("baseline") or row.get("other", "")
            found.setdefault((row["against"], rival), []).append(row)
    titles = {"teacher": "the teacher", "control": "its control"}
    return [
        Opponent(
            title=titles.get(against) or names.baseline(rival).title,
            by_metric={row["metric"]: _comparison(row, measures[row["metric"]]) for row in rows},
            mcnemar=next((_mcnemar(row) for row in rows if row.get("mcnemar_p") is not None), ""),
        )
        for (against, rival), rows in found.items()
    ]


def compared_measures(rivals: Sequence[Opponent], measures: Measures) -> list[Measure]:
    """The metrics that at least one comparison speaks of, in the order of the table."""
    present = {metric for rival in rivals for metric in rival.by_metric}
    return [measure for measure in measures.quality if measure.key in present]


def settled(difference: Mapping[str, float], *, higher_is_better: bool) -> str:
    """What a paired interval says in a word."""
    if difference["low"] <= 0 <= difference["high"]:
        return "not settled"
    return "better" if (difference["low"] > 0) == higher_is_better else "worse"


def negated(difference: Mapping[str, float]) -> dict[str, float]:
    """The same difference taken the other way round."""
    return {
        "value": -difference["value"],
        "low": -difference["high"],
        "high": -difference["low"],
    }


def unsigned(difference: Mapping[str, float]) -> Mapping[str, float]:
    """The size of a settled difference, without its sign."""
    return negated(difference) if difference["high"] < 0 else difference


def _comparison(row: Mapping[str, Any], measure: Measure) -> Comparison:
    difference, digits = row["difference"], measure.digits or 0
    return Comparison(
        formats.change(difference["value"] * measure.scale, digits),
        formats.bracket(difference, scale=measure.scale, digits=digits),
        settled(difference, higher_is_better=measure.higher_is_better),
    )


def _mcnemar(row: Mapping[str, Any]) -> str:
    text = formats.probability(row["mcnemar_p"])
    if "only_student_correct" in row:
        here, there = (
            formats.count(row[key]) for key in ("only_student_correct", "only_other_correct")
        )
        text += f" ({here} rows right only here, {there} only there)"
    return text
