"""What speaks against believing or using a result, as sentences. Numbers come in, words go out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.report import formats
from tutelage.report.formats import percent
from tutelage.report.sentences import signed_points
from tutelage.report.standing import baseline_title

_FEW_ROWS = 300
"""Below this many gold labels an accuracy of 75 % is known to no better than about 5 points either
way."""
_CALIBRATION_SLACK = 0.10
"""A stated confidence this far from accuracy, on average, is worth a warning."""


def find_cautions(evaluation: Mapping[str, Any], *, judged: bool) -> list[str]:
    """What speaks against believing or using the result."""
    cautions: list[str] = []
    if not judged:
        return cautions
    labelled = evaluation.get("labelled_rows", evaluation["rows"])
    teacher = evaluation["teacher"]["accuracy"]
    if labelled < _FEW_ROWS:
        cautions.append(
            f"Only {formats.plural(labelled, 'test row')} with a gold label: every interval is "
            "wide. More test "
            "rows would narrow them."
        )
    majority = evaluation.get("baselines", {}).get("majority")
    if majority and teacher["value"] and majority["accuracy"]["value"] >= 0.8 * teacher["value"]:
        share = percent(majority["accuracy"]["value"] / teacher["value"])
        cautions.append(
            f"Always answering the commonest label already gives {share} of the teacher’s "
            "accuracy, so the share "
            "kept says little here. Look at macro F1."
        )
    cautions += [
        f"The teacher itself is not clearly better than {baseline_title(row['baseline'])} "
        f"(difference {signed_points(row['difference'])}): a better teacher comes first."
        for row in evaluation.get("teacher_against_baselines", [])
        if row["metric"] == "accuracy" and row["difference"]["low"] <= 0
    ]
    poorly = [
        name
        for name, student in evaluation["students"].items()
        if student["ece"]["value"] > _CALIBRATION_SLACK
    ]
    if teacher_ece := evaluation["teacher"].get("ece"):
        poorly = (["the teacher"] if teacher_ece["value"] > _CALIBRATION_SLACK else []) + poorly
    if len(poorly) > len(evaluation["students"]):
        poorly = ["the teacher and every student"]
    if poorly:
        cautions.append(
            "Confidence is not to be taken at its word (calibration error above "
            f"{_CALIBRATION_SLACK:.2f}): "
            f"{', '.join(poorly)}."
        )
    return cautions
