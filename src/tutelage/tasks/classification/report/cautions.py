"""What speaks against believing or using a classification result, as sentences."""

from __future__ import annotations

from tutelage.report import formats
from tutelage.report.formats import percent
from tutelage.report.measures import Evaluation
from tutelage.report.verdict import calibration_caution, poorly_calibrated
from tutelage.tasks.classification.report.measures import NAMES
from tutelage.tasks.classification.report.sentences import signed_points

_FEW_ROWS = 300
"""Below this many gold labels an accuracy of 75 % is known to no better than about 5 points either
way."""


def find_cautions(evaluation: Evaluation, *, judged: bool) -> list[str]:
    """What speaks against believing or using the result."""
    cautions: list[str] = []
    if not judged:
        return cautions
    labelled = evaluation.get("labelled_rows", evaluation["rows"])
    teacher = evaluation["teacher"]["accuracy"]
    if labelled < _FEW_ROWS:
        cautions.append(
            f"Only {formats.plural(labelled, 'test row')} with a gold label: every interval is "
            "wide. More test rows would narrow them."
        )
    majority = evaluation.get("baselines", {}).get("majority")
    if majority and teacher["value"] and majority["accuracy"]["value"] >= 0.8 * teacher["value"]:
        share = percent(majority["accuracy"]["value"] / teacher["value"])
        cautions.append(
            f"Always answering the commonest label already gives {share} of the teacher’s "
            "accuracy, so the share kept says little here. Look at macro F1."
        )
    cautions += [
        f"The teacher itself is not clearly better than {NAMES.baseline(row['baseline']).title} "
        f"(difference {signed_points(row['difference'])}): a better teacher comes first."
        for row in evaluation.get("teacher_against_baselines", [])
        if row["metric"] == "accuracy" and row["difference"]["low"] <= 0
    ]
    poorly = poorly_calibrated(evaluation)
    if len(poorly) > len(evaluation["students"]):
        poorly = ["the teacher and every student"]
    return cautions + calibration_caution("Confidence is not to be taken at its word", poorly)
