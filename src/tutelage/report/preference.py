"""Which student to use: the cheapest one that keeps as much of the teacher as was asked for.

In: the content of evaluation.json and a share. Out: what `evaluate.prefer` of a recipe writes
there, and a sentence about it. A student counts by the lower end of its interval, so that few test
rows make nobody eligible by luck. Each interval stands alone: of many students that are just good
enough one may pass by chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.report.comparisons import cost_ratio
from tutelage.report.formats import bracket, percent
from tutelage.report.measures import Evaluation, Measure, Measures
from tutelage.report.verdict import speed_clause

KEY = "preferred"
"""Its name in evaluation.json; absent where the recipe does not ask."""

KEEPS: Mapping[str, tuple[str, str]] = {
    "accuracy": ("keeps", "of the teacher’s accuracy"),
    "agreement": ("gives the teacher’s answer on", "of the test texts"),
    "top1_agreement": ("makes the teacher’s first choice of the next token", "of the time"),
}
"""What is kept, in words before and after its share, by measure."""


def best_student(
    evaluation: Evaluation, names: Sequence[str], *, metric: str, higher_is_better: bool
) -> str:
    """Which of some students answers where none is named: the one that `evaluate.prefer` chose,
    else the best one on the test rows, else the first.

    Args:
        evaluation: The content of evaluation.json.
        names: Of the students that are there, at least one.
        metric: By which one is best.
        higher_is_better: Which way it is better.
    """
    chosen = dict(evaluation.get(KEY) or {}).get("student")
    if chosen is not None and chosen in names:
        return chosen
    values = {
        name: metrics[metric]["value"] * (-1 if higher_is_better else 1)
        for name, metrics in evaluation["students"].items()
        if metric in metrics
    }
    return min(names, key=lambda name: values.get(name, float("inf")))


def choose_student(
    evaluation: Evaluation,
    *,
    keep: float,
    measure: str,
    kept: Mapping[str, Mapping[str, float]],
    cost: Measure,
) -> dict[str, Any]:
    """The cheapest student whose interval lies wholly at or above a share of the teacher.

    Args:
        evaluation: The content of evaluation.json, with costs.
        keep: The share, in (0, 1].
        measure: What is kept, a key of `KEEPS`.
        kept: By student the share that it keeps, with its interval.
        cost: By which students are cheap; one without such a number comes last.

    Returns:
        `{"keep", "measure", "cost", "kept", "student"}`, the last None where nobody keeps so much.
    """
    known = {
        name: dict(interval)
        for name, interval in kept.items()
        if all(math.isfinite(end) for end in interval.values())
    }
    eligible = [name for name, interval in known.items() if interval["low"] >= keep]
    cheapest = min(
        eligible, key=lambda name: _cost(evaluation["students"][name], cost), default=None
    )
    return {
        "keep": keep,
        "measure": measure,
        "cost": cost.key,
        "kept": known,
        "student": cheapest,
    }


def preference_sentence(evaluation: Evaluation, measures: Measures) -> str:
    """Which student to use and what it keeps, or that none keeps enough; empty where the recipe
    does not ask.
    """
    chosen = evaluation.get(KEY)
    if chosen is None:
        return ""
    verb, of_what = KEEPS[chosen["measure"]]
    enough = f"{verb} at least {percent(chosen['keep'])} {of_what}"
    by = "the lower end of its 95 % interval"
    kept, name = chosen["kept"], chosen["student"]
    if name is not None:
        ratio = cost_ratio(evaluation, evaluation["students"][name], measures[chosen["cost"]])
        speed = speed_clause(ratio, verb="writes" if "per_second" in chosen["cost"] else "answers")
        return (
            f"The cheapest student that by {by} {enough} is “{name}”: {_share(kept[name])}{speed}."
        )
    if not kept:
        return f"Whether any student {enough} is not known: there are no intervals to tell it by."
    nearest = max(kept, key=lambda name: kept[name]["low"])
    return f"No student {enough} by {by}; “{nearest}” comes nearest: {_share(kept[nearest])}."


def _share(interval: Mapping[str, float]) -> str:
    return f"{percent(interval['value'])} {bracket(interval, scale=100)}"


def _cost(student: Mapping[str, Any], cost: Measure) -> float:
    if cost.key not in student:
        return math.inf
    return student[cost.key]["value"] * (-1 if cost.higher_is_better else 1)
