"""Students of several runs on one page: what was measured on the rows that the runs share, each
model beside one of them, with paired intervals.

In: a `SideBySide`. Out: one HTML page that fetches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage import runs
from tutelage.report import formats
from tutelage.report.comparisons import settled
from tutelage.report.measures import Measure
from tutelage.report.scores import Role

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One model on the shared rows."""

    run: str
    role: Role
    name: str
    values: Mapping[str, Mapping[str, float]]
    """By measure its value with its interval."""
    differences: Mapping[str, Mapping[str, float]]
    """By measure this model minus the reference, with the paired interval; empty for that one."""
    costs: Mapping[str, Mapping[str, float]]
    """By measure what an answer cost where the run was evaluated."""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Several runs on the rows that they share."""

    task: str
    measures: tuple[Measure, ...]
    costs: tuple[Measure, ...]
    """What is known of the cost of an answer."""
    reference: tuple[str, str]
    """Run and student that all differences are from."""
    rows: int
    """That all runs share."""
    rows_of: Mapping[str, int]
    """Test rows of every run."""
    contestants: tuple[Contestant, ...]


@dataclass(frozen=True, slots=True)
class _Bar:
    """A difference as it is drawn: shares of the width from the left, zero in the middle."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Row:
    """One model in the table of one measure."""

    title: str
    value: str
    interval: str
    difference: str
    difference_interval: str
    word: str
    bar: _Bar | None


def write_side_by_side(found: SideBySide, out: Path) -> Path:
    """Write the comparison as one HTML page.

    Args:
        found: From `recipes.comparing.compare_runs`.
        out: The file to write; its folder must be there.

    Returns:
        The file written.
    """
    runs.atomic_write_text(out, render_side_by_side(found))
    return out


def render_side_by_side(found: SideBySide) -> str:
    """The page as text; the same comparison gives the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": formats.count, "plural": formats.plural}
    costs = [
        (
            title_of(one),
            [
                measure.show(one.costs[measure.key]["value"]) if measure.key in one.costs else "–"
                for measure in found.costs
            ],
        )
        for one in found.contestants
    ]
    return environment.get_template("side_by_side.html").render(
        names=list(found.rows_of),
        rows=found.rows,
        rows_of=found.rows_of,
        reference="/".join(found.reference),
        tables=[(measure, _rows(found, measure)) for measure in found.measures],
        cost_measures=found.costs,
        costs=costs,
    )


def title_of(one: Contestant) -> str:
    """What a model is called among several runs."""
    return f"{one.run}/{one.name}" if one.role == "student" else f"{one.run}, its teacher"


def _rows(found: SideBySide, measure: Measure) -> list[_Row]:
    """The table of one measure, the best first."""
    widest = max(
        (
            max(abs(difference["low"]), abs(difference["high"]))
            for one in found.contestants
            if (difference := one.differences.get(measure.key)) is not None
        ),
        default=0.0,
    )
    sign = -1 if measure.higher_is_better else 1
    ordered = sorted(found.contestants, key=lambda one: sign * one.values[measure.key]["value"])
    return [_row(one, measure, widest) for one in ordered]


def _row(one: Contestant, measure: Measure, widest: float) -> _Row:
    value = one.values[measure.key]
    written: tuple[str, str] = (measure.show(value["value"]), measure.interval(value))
    difference: Mapping[str, Any] | None = one.differences.get(measure.key)
    if difference is None:
        return _Row(title_of(one), *written, "", "", "the others minus this", None)
    digits = 3 if measure.digits is None else measure.digits
    return _Row(
        title_of(one),
        *written,
        formats.change(difference["value"] * measure.scale, digits),
        formats.bracket(difference, scale=measure.scale, digits=digits),
        settled(difference, higher_is_better=measure.higher_is_better),
        _Bar(
            *(
                0.5 + 0.48 * difference[end] / widest if widest else 0.5
                for end in ("value", "low", "high")
            )
        ),
    )
