"""What a number of a run is: its names, which way is better, how it is written and read.

Each task lists its measures once; page, plots, verdict and the table of the terminal are all drawn
from that list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.report import formats

Evaluation = Mapping[str, Any]
"""The content of evaluation.json."""


@dataclass(frozen=True)
class Column:
    """How a measure stands in the table of a terminal."""

    title: str
    """Its short name."""
    show: Callable[[float], str]
    """How a value is written."""
    interval: bool = False
    """Whether the 95 % interval stands beside the value."""
    faster: Callable[[float], str] | None = None
    """How it is written how many times better than the teacher a model is, in a column after this
    one; None where there is no such column."""
    only_where_known: bool = False
    """Whether the column is left out where no model has a number."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number that is known of every model, or of some."""

    key: str
    """Its name in evaluation.json."""
    title: str
    """Its name for people."""
    reading: str
    """How to read it, in a sentence or two."""
    show: Callable[[float], str]
    """How a value is written."""
    higher_is_better: bool = False
    """Which way is better."""
    scale: float = 1.0
    """What differences and the ends of its interval are multiplied by."""
    digits: int | None = None
    """Digits after the point in its interval and in differences; None: the ends are written as the
    value is."""
    unit: str = ""
    """Unit of a difference; empty where the number has none."""
    aside: Callable[[float], str] | None = None
    """The same number said in another way, to stand beside it."""
    better_worse: tuple[str, str] = ("faster", "slower")
    """What a model is beside its teacher if this cost is lower, and if it is higher."""
    column: Column | None = None
    """How it stands in the table of a terminal; None where it does not."""

    @property
    def arrow(self) -> str:
        """An arrow in the better direction."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def direction(self) -> str:
        """The better direction in words."""
        return "higher is better" if self.higher_is_better else "lower is better"

    def interval(self, interval: Mapping[str, float]) -> str:
        """The ends of an interval in the unit of its value, or nothing where the number is
        exact.
        """
        if interval["low"] == interval["high"]:
            return ""
        if self.digits is not None:
            return formats.bracket(interval, scale=self.scale, digits=self.digits)
        low, high = self.show(interval["low"]), self.show(interval["high"])
        unit = self.show(interval["value"]).partition(formats.THIN)[2]
        if unit and all(end.endswith(formats.THIN + unit) for end in (low, high)):
            low, high = (end.removesuffix(formats.THIN + unit) for end in (low, high))
        return f"[{low},{formats.NO_BREAK}{high}]"


def share(key: str, title: str, reading: str, *, column: Column | None = None) -> Measure:
    """A share of all rows or tokens, written in percent; higher is better."""
    return Measure(
        key=key,
        title=title,
        reading=reading,
        show=formats.percent,
        higher_is_better=True,
        scale=100.0,
        digits=1,
        unit="points",
        column=column,
    )


def distance(
    key: str,
    title: str,
    reading: str,
    *,
    unit: str = "",
    aside: Callable[[float], str] | None = None,
    column: Column | None = None,
) -> Measure:
    """A loss, a divergence or an error, written with three digits; lower is better."""
    return Measure(
        key=key,
        title=title,
        reading=reading,
        show=formats.decimal,
        digits=3,
        unit=unit,
        aside=aside,
        column=column,
    )


@dataclass(frozen=True)
class Measures:
    """All that a task measures."""

    quality: Sequence[Measure]
    """Quality and fidelity, in the order of the table."""
    cost: Sequence[Measure]
    """What an answer costs, in the order of the table."""

    def __getitem__(self, key: str) -> Measure:
        """The measure of this name in evaluation.json."""
        return next(measure for measure in (*self.quality, *self.cost) if measure.key == key)

    def measured(self, evaluation: Evaluation) -> tuple[list[Measure], list[Measure]]:
        """Those of quality and those of cost that at least one model has a number of."""
        models = [
            evaluation["teacher"],
            *evaluation["students"].values(),
            *evaluation.get("controls", {}).values(),
        ]
        present = {key for model in models for key in model}
        return (
            [measure for measure in self.quality if measure.key in present],
            [measure for measure in self.cost if measure.key in present],
        )
