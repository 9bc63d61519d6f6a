"""Where a student stands in evaluation.json: beside the teacher, its control and the simple
methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.report.measures import BY_KEY, Measure


def find_comparison(
    evaluation: Mapping[str, Any], student: str, against: str, metric: str
) -> Mapping[str, Any] | None:
    """The comparison of a student with the teacher or its control, if the evaluation made it."""
    for row in evaluation.get("comparisons", []):
        if (row["student"], row["against"], row["metric"]) == (student, against, metric):
            return row
    return None


def cost_ratio(
    evaluation: Mapping[str, Any],
    model: Mapping[str, Any],
    key: str,
    *,
    measures: Mapping[str, Measure] = BY_KEY,
) -> float | None:
    """How many times cheaper a model is than the teacher; below 1 it is dearer, None where either
    was not measured.
    """
    ours, theirs = model.get(key), evaluation["teacher"].get(key)
    if not ours or not theirs or not ours["value"] or not theirs["value"]:
        return None
    ratio = theirs["value"] / ours["value"]
    return 1 / ratio if measures[key].higher_is_better else ratio


def best_baseline(evaluation: Mapping[str, Any]) -> str:
    """The most accurate simple method; empty if there is none."""
    baselines = evaluation.get("baselines", {})
    return max(baselines, key=lambda key: baselines[key]["accuracy"]["value"], default="")


def baseline_difference(
    evaluation: Mapping[str, Any], name: str, baseline: str
) -> Mapping[str, float] | None:
    """Accuracy of a student minus that of a simple method."""
    for row in evaluation.get("comparisons", []):
        if (row["student"], row["against"], row.get("baseline")) == (name, "baseline", baseline):
            return row["difference"]
    return None


def baseline_title(name: str) -> str:
    """The name of a baseline for people."""
    titles = {
        "majority": "the commonest label",
        "tfidf_logistic_regression": "TF-IDF with logistic regression",
    }
    return titles.get(name, name)
