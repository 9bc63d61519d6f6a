"""The verdict in plain words, computed from the numbers; a sentence says no more than its interval
carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.report.cautions import find_cautions
from tutelage.report.figures import Figure, large_figures
from tutelage.report.formats import percent
from tutelage.report.sentences import (
    baseline_sentences,
    control_sentence,
    kept_share,
    kept_value,
    speed_clause,
    student_sentences,
)
from tutelage.report.standing import (
    baseline_difference,
    baseline_title,
    best_baseline,
    cost_ratio,
    find_comparison,
)


@dataclass(frozen=True)
class StudentVerdict:
    """What can be said of one student."""

    name: str
    """The student."""
    sentences: list[str]
    """Plain sentences: quality and cost, what the teacher bought, simple methods."""


@dataclass(frozen=True)
class Verdict:
    """The top of the page."""

    headline: str
    """One sentence on the most accurate student."""
    deck: list[str]
    """What must be known beside the headline."""
    figures: list[Figure]
    """The large numbers of that student."""
    students: list[StudentVerdict]
    """Every student, in the order of the recipe."""
    cautions: list[str]
    """What speaks against believing or using the result."""


def reach_verdict(evaluation: Mapping[str, Any]) -> Verdict:
    """Say in plain words what the numbers of a run carry.

    Args:
        evaluation: The content of evaluation.json.

    Returns:
        Sentences without markup; names are as given and need escaping.
    """
    students: Mapping[str, Any] = evaluation["students"]
    judged = "accuracy" in evaluation["teacher"]
    key = "accuracy" if judged else "agreement"
    best = max(students, key=lambda name: students[name][key]["value"])
    return Verdict(
        headline=_headline(evaluation, best, judged=judged),
        deck=_deck(evaluation, best, judged=judged),
        figures=large_figures(evaluation, best, judged=judged),
        students=[
            StudentVerdict(name, student_sentences(evaluation, name, judged=judged))
            for name in students
        ],
        cautions=find_cautions(evaluation, judged=judged),
    )


def _headline(evaluation: Mapping[str, Any], name: str, *, judged: bool) -> str:
    student = evaluation["students"][name]
    if judged:
        verb = "reaches" if kept_value(evaluation, name) >= 1 else "keeps"
        quality = f"{verb} {kept_share(evaluation, name)[0]} of the teacher’s accuracy"
    else:
        quality = f"gives the teacher’s answer on {percent(student['agreement']['value'])} of the test texts"
    doubt = _better_without(evaluation, name) if judged else ""
    return f"The student “{name}” {quality}{doubt or speed_clause(cost_ratio(evaluation, student, 'latency_ms_p50'))}."


def _better_without(evaluation: Mapping[str, Any], name: str) -> str:
    """What does clearly better than the student; no headline may leave that out."""
    row = find_comparison(evaluation, name, "control", "accuracy")
    if row is not None and row["difference"]["high"] < 0:
        return ", but trained on labels alone it does better"
    best = best_baseline(evaluation)
    difference = baseline_difference(evaluation, name, best)
    if difference is not None and difference["high"] < 0:
        return f", but {baseline_title(best)}, which needs no teacher, does better"
    return ""


def _deck(evaluation: Mapping[str, Any], name: str, *, judged: bool) -> list[str]:
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
