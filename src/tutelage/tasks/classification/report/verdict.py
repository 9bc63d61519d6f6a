"""The verdict on classification students in plain words, and what speaks against believing or using
it; a sentence says no more than its interval carries.
"""

from __future__ import annotations

from tutelage.report import formats
from tutelage.report.comparisons import cost_ratio, find_comparison
from tutelage.report.formats import bracket, change, percent
from tutelage.report.measures import Evaluation
from tutelage.report.preference import preference_sentence
from tutelage.report.verdict import (
    LargeNumber,
    StudentVerdict,
    Verdict,
    calibration_caution,
    poorly_calibrated,
    size_number,
    speed_clause,
    speed_number,
)
from tutelage.tasks.classification.report.measures import MEASURES, NAMES
from tutelage.tasks.classification.report.sentences import (
    baseline_difference,
    baseline_sentences,
    best_baseline,
    control_sentence,
    kept_share,
    kept_value,
    signed_points,
    student_sentences,
)


def reach_verdict(evaluation: Evaluation) -> Verdict:
    """Say in plain words what the numbers of a run carry.

    Args:
        evaluation: The content of evaluation.json.

    Returns:
        Sentences without markup; names are as given and need escaping.
    """
    students = evaluation["students"]
    judged = "accuracy" in evaluation["teacher"]
    key = "accuracy" if judged else "agreement"
    best = max(students, key=lambda name: students[name][key]["value"])
    return Verdict(
        headline=_headline(evaluation, best, judged=judged),
        deck=[
            *_deck(evaluation, best, judged=judged),
            *filter(None, [preference_sentence(evaluation, MEASURES)]),
        ],
        numbers=large_numbers(evaluation, best, judged=judged),
        students=[
            StudentVerdict(name, student_sentences(evaluation, name, judged=judged))
            for name in students
        ],
        cautions=find_cautions(evaluation, judged=judged),
    )


def _headline(evaluation: Evaluation, name: str, *, judged: bool) -> str:
    student = evaluation["students"][name]
    if judged:
        verb = "reaches" if kept_value(evaluation, name) >= 1 else "keeps"
        quality = f"{verb} {kept_share(evaluation, name)[0]} of the teacher’s accuracy"
    else:
        same = percent(student["agreement"]["value"])
        quality = f"gives the teacher’s answer on {same} of the test texts"
    doubt = _better_without(evaluation, name) if judged else ""
    speed = speed_clause(cost_ratio(evaluation, student, MEASURES["latency_ms_p50"]))
    return f"The student “{name}” {quality}{doubt or speed}."


def _better_without(evaluation: Evaluation, name: str) -> str:
    """What does clearly better than the student; no headline may leave that out."""
    row = find_comparison(evaluation, name, "control", "accuracy")
    if row is not None and row["difference"]["high"] < 0:
        return ", but trained on labels alone it does better"
    best = best_baseline(evaluation)
    difference = baseline_difference(evaluation, name, best)
    if difference is not None and difference["high"] < 0:
        return f", but {NAMES.baseline(best).title}, which needs no teacher, does better"
    return ""


def _deck(evaluation: Evaluation, name: str, *, judged: bool) -> list[str]:
    if not judged:
        return [
            "No test row carries a gold label, so nothing here says how often the teacher or a "
            "student is right."
        ]
    sentences = [
        control_sentence(evaluation, name),
        *baseline_sentences(evaluation, name, only_doubts=True),
    ]
    return [sentence for sentence in sentences if sentence]


def large_numbers(evaluation: Evaluation, name: str, *, judged: bool) -> list[LargeNumber]:
    """The large numbers of one student, as far as they were measured."""
    student = evaluation["students"][name]
    numbers: list[LargeNumber] = []
    if judged:
        kept, interval = kept_share(evaluation, name)
        numbers.append(LargeNumber(kept, "of the teacher’s accuracy", interval))
    elif "agreement" in student:
        same = student["agreement"]
        interval = bracket(same, scale=100)
        numbers.append(LargeNumber(percent(same["value"]), "same answer as the teacher", interval))
    latency = MEASURES["latency_ms_p50"]
    numbers += speed_number(evaluation, student, latency, manner=", one text at a time")
    numbers += size_number(evaluation, student, MEASURES["parameters"])
    row = find_comparison(evaluation, name, "control", "accuracy")
    if row is not None:
        difference = row["difference"]
        caption = (
            "points of accuracy bought by the teacher"
            if difference["low"] > 0
            else "points of accuracy beside the same network on labels alone"
        )
        if difference["low"] <= 0 <= difference["high"]:
            caption += ": not settled"
        points = change(difference["value"] * 100, 1)
        numbers.append(LargeNumber(points, caption, bracket(difference, scale=100)))
    return numbers


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
