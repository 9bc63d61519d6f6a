"""The table of the report, and the paired comparisons, as rows of text ready to be placed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.report import formats
from tutelage.report.measures import COST, QUALITY, Measure
from tutelage.report.standing import baseline_title, cost_ratio


@dataclass(frozen=True)
class Cell:
    """One number."""

    measure: Measure
    """What it is."""
    value: str
    """The number, or a dash where it was not measured."""
    interval: str = ""
    """Its 95 % interval."""
    ratio: str = ""
    """Cost beside the teacher's."""


@dataclass(frozen=True)
class Line:
    """One model."""

    name: str
    """Its name for people."""
    role: str
    """teacher, student, control or baseline."""
    slot: int | None
    """Position of the student, which gives colour and shape."""
    cells: list[Cell] = field(default_factory=list)
    """Its numbers, one per column."""


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


def shown_measures(
    evaluation: Mapping[str, Any],
    *,
    quality: Sequence[Measure] = QUALITY,
    cost: Sequence[Measure] = COST,
) -> tuple[list[Measure], list[Measure]]:
    """The quality and cost columns that at least one model has a number in."""
    models = [
        evaluation["teacher"],
        *evaluation["students"].values(),
        *evaluation.get("controls", {}).values(),
    ]
    present = {key for model in models for key in model}
    return [measure for measure in quality if measure.key in present], [
        measure for measure in cost if measure.key in present
    ]


def score_lines(
    evaluation: Mapping[str, Any],
    *,
    quality: Sequence[Measure] = QUALITY,
    cost: Sequence[Measure] = COST,
    control_title: str = "on labels alone",
) -> list[Line]:
    """The table: teacher, each student above its control, baselines.

    Args:
        evaluation: The content of evaluation.json.
        quality: The metrics of quality that this task knows.
        cost: Those of cost.
        control_title: What the line of a control is called.

    Returns:
        Lines with one cell per column of `shown_measures`, in its order.
    """
    quality, cost = shown_measures(evaluation, quality=quality, cost=cost)

    def line(name: str, role: str, slot: int | None, model: Mapping[str, Any]) -> Line:
        """One model's line."""
        cells = [_cell(measure, model) for measure in quality]
        cells += [
            _cell(measure, model, "" if role == "teacher" else _ratio(evaluation, model, measure))
            for measure in cost
        ]
        return Line(name, role, slot, cells)

    lines = [line("Teacher", "teacher", None, evaluation["teacher"])]
    for slot, (name, model) in enumerate(evaluation["students"].items()):
        lines.append(line(name, "student", slot, model))
        if name in evaluation.get("controls", {}):
            lines.append(line(control_title, "control", slot, evaluation["controls"][name]))
    for name, model in evaluation.get("baselines", {}).items():
        lines.append(line(baseline_title(name), "baseline", None, model))
    return lines


def opponents(
    evaluation: Mapping[str, Any], student: str, *, quality: Sequence[Measure] = QUALITY
) -> list[Opponent]:
    """The paired comparisons of one student: with the teacher, its control, the baselines and other
    students.
    """
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in evaluation.get("comparisons", []):
        if row["student"] == student:
            found.setdefault(
                (row["against"], row.get("baseline") or row.get("other", "")), []
            ).append(row)
    titles = {"teacher": "the teacher", "control": "its control"}
    return [
        Opponent(
            title=titles.get(against) or baseline_title(rival),
            by_metric={row["metric"]: _comparison(row, quality) for row in rows},
            mcnemar=next((_mcnemar(row) for row in rows if row.get("mcnemar_p") is not None), ""),
        )
        for (against, rival), rows in found.items()
    ]


def settled(difference: Mapping[str, float], *, higher_is_better: bool) -> str:
    """What a paired interval says in a word."""
    if difference["low"] <= 0 <= difference["high"]:
        return "not settled"
    return "better" if (difference["low"] > 0) == higher_is_better else "worse"


def _cell(measure: Measure, model: Mapping[str, Any], ratio: str = "") -> Cell:
    number = model.get(measure.key)
    if number is None:
        return Cell(measure, "–")
    if measure.aside is not None:
        ratio = measure.aside(number["value"])
    return Cell(measure, measure.show(number["value"]), measure.interval(number), ratio)


def _ratio(evaluation: Mapping[str, Any], model: Mapping[str, Any], measure: Measure) -> str:
    """Cost in words beside the teacher's."""
    ratio = cost_ratio(evaluation, model, measure.key, measures={measure.key: measure})
    if ratio is None:
        return ""
    if 0.95 < ratio < 1.05:
        return "same"
    words = {
        "parameters": ("fewer", "more"),
        "disk_bytes": ("smaller", "larger"),
        "memory_bytes": ("less", "more"),
    }.get(measure.key, ("faster", "slower"))
    return (
        f"{formats.times(ratio)}× {words[0]}"
        if ratio > 1
        else f"{formats.times(1 / ratio)}× {words[1]}"
    )


def _comparison(row: Mapping[str, Any], quality: Sequence[Measure]) -> Comparison:
    measure = next(measure for measure in quality if measure.key == row["metric"])
    difference = row["difference"]
    value = formats.change(difference["value"] * measure.scale, measure.digits)
    interval = formats.bracket(difference, scale=measure.scale, digits=measure.digits)
    return Comparison(
        value, interval, settled(difference, higher_is_better=measure.higher_is_better)
    )


def _mcnemar(row: Mapping[str, Any]) -> str:
    text = formats.probability(row["mcnemar_p"])
    if "only_student_correct" in row:
        here, there = (
            formats.count(row[key]) for key in ("only_student_correct", "only_other_correct")
        )
        text += f" ({here} rows right only here, {there} only there)"
    return text


def metrics_of(rows: Sequence[Opponent], *, quality: Sequence[Measure] = QUALITY) -> list[Measure]:
    """The metrics that at least one comparison speaks of, in the order of the table."""
    present = {metric for row in rows for metric in row.by_metric}
    return [measure for measure in quality if measure.key in present]
