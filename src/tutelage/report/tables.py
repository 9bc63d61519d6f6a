"""The table of a run: every model on a line, every measure in a column, as text to be placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tutelage.report import formats
from tutelage.report.comparisons import cost_ratio
from tutelage.report.measures import Evaluation, Measure
from tutelage.report.words import Name, Names, TaskWords


@dataclass(frozen=True)
class Model:
    """One model of a run."""

    name: Name
    """What it is called."""
    role: str
    """teacher, student, control or baseline."""
    slot: int | None
    """Position of the student, which gives colour and shape."""
    numbers: Mapping[str, Any]
    """Its measures in evaluation.json."""


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


def list_models(evaluation: Evaluation, names: Names) -> list[Model]:
    """Every model in the order of a table: teacher, each student above its control, baselines."""
    found = [Model(Name("Teacher", "teacher"), "teacher", None, evaluation["teacher"])]
    for slot, (name, numbers) in enumerate(evaluation["students"].items()):
        found.append(Model(Name(name, name), "student", slot, numbers))
        if name in evaluation.get("controls", {}):
            found.append(Model(names.control, "control", slot, evaluation["controls"][name]))
    found += [
        Model(names.baseline(name), "baseline", None, numbers)
        for name, numbers in evaluation.get("baselines", {}).items()
    ]
    return found


def score_lines(evaluation: Evaluation, words: TaskWords[Any]) -> list[Line]:
    """The table of the page.

    Args:
        evaluation: The content of evaluation.json.
        words: What the task says.

    Returns:
        Lines with one cell per measure that any model has, in the order of `Measures.measured`.
    """
    quality, cost = words.measures.measured(evaluation)

    def line(model: Model) -> Line:
        """One model's line."""
        cells = [_cell(measure, model.numbers) for measure in quality]
        for measure in cost:
            ratio = "" if model.role == "teacher" else _ratio(evaluation, model.numbers, measure)
            cells.append(_cell(measure, model.numbers, ratio))
        return Line(model.name.title, model.role, model.slot, cells)

    return [line(model) for model in list_models(evaluation, words.names)]


def _cell(measure: Measure, model: Mapping[str, Any], ratio: str = "") -> Cell:
    number = model.get(measure.key)
    if number is None:
        return Cell(measure, "–")
    if measure.aside is not None:
        ratio = measure.aside(number["value"])
    return Cell(measure, measure.show(number["value"]), measure.interval(number), ratio)


def _ratio(evaluation: Evaluation, model: Mapping[str, Any], measure: Measure) -> str:
    """Cost in words beside the teacher's."""
    ratio = cost_ratio(evaluation, model, measure)
    if ratio is None:
        return ""
    if 0.95 < ratio < 1.05:
        return "same"
    better, worse = measure.better_worse
    return (
        f"{formats.times(ratio)}× {better}" if ratio > 1 else f"{formats.times(1 / ratio)}× {worse}"
    )
