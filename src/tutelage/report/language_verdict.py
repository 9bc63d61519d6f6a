"""The verdict on language-model students in plain words; a sentence says no more than its interval
carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.report.figures import Figure
from tutelage.report.formats import bracket, change, decimal, percent, times
from tutelage.report.language_cautions import find_cautions
from tutelage.report.language_measures import BY_KEY
from tutelage.report.language_sentences import control_sentence, student_sentences, writing_clause
from tutelage.report.reading import Records
from tutelage.report.standing import cost_ratio, find_comparison
from tutelage.report.verdict import StudentVerdict, Verdict


def reach_language_verdict(records: Records[Any]) -> Verdict:
    """Say in plain words what the numbers of a language-model run carry.

    Args:
        records: What the run left behind.

    Returns:
        Sentences without markup; names are as given and need escaping.
    """
    evaluation = records.evaluation
    best = closest(evaluation)
    return Verdict(
        headline=_headline(evaluation, best),
        deck=[control_sentence(evaluation, best)],
        figures=language_figures(evaluation, best),
        students=[
            StudentVerdict(name, student_sentences(evaluation, name))
            for name in evaluation["students"]
        ],
        cautions=find_cautions(records),
    )


def closest(evaluation: Mapping[str, Any]) -> str:
    """The student whose probabilities are nearest to the teacher's.

    By KL; but that of a student with a part of the tokens is about this part, so where there is
    one, by the overlap of distributions (acceptance), which is about all tokens for everybody.
    """
    students = evaluation["students"]
    if any("kept_mass" in student for student in students.values()):
        return max(students, key=lambda name: students[name]["acceptance"]["value"])
    return min(students, key=lambda name: students[name]["kl"]["value"])


def _headline(evaluation: Mapping[str, Any], name: str) -> str:
    agreement = percent(evaluation["students"][name]["top1_agreement"]["value"])
    row = find_comparison(evaluation, name, "control", "nats_per_token")
    better = row is not None and row["difference"]["low"] > 0
    rest = (
        ", but trained on the text alone it predicts text better"
        if better
        else writing_clause(evaluation, name)
    )
    return f"The student “{name}” agrees with the teacher on the next token {agreement} of the time{rest}."


def language_figures(evaluation: Mapping[str, Any], name: str) -> list[Figure]:
    """The large numbers of one student, as far as they were measured."""
    student = evaluation["students"][name]
    agreement = student["top1_agreement"]
    figures = [
        Figure(
            percent(agreement["value"]),
            "same next token as the teacher",
            bracket(agreement, scale=100),
        )
    ]
    row = find_comparison(evaluation, name, "teacher", "nats_per_token")
    if row is not None:
        caption = "nats per token beside the teacher (lower is better)"
        figures.append(
            Figure(
                change(row["difference"]["value"], 3), caption, bracket(row["difference"], digits=3)
            )
        )
    if speed := cost_ratio(evaluation, student, "tokens_per_second", measures=BY_KEY):
        caption = f"{'faster' if speed >= 1 else 'slower'} at writing, one text at a time"
        pace = f"{_against(evaluation, student, 'tokens_per_second')} tokens/s"
        figures.append(Figure(f"{times(max(speed, 1 / speed))}×", caption, pace))
    if size := cost_ratio(evaluation, student, "parameters", measures=BY_KEY):
        value = f"1/{times(size)}" if size >= 1 else f"{times(1 / size)}×"
        figures.append(
            Figure(
                value, "of the teacher’s parameters", _against(evaluation, student, "parameters")
            )
        )
    row = find_comparison(evaluation, name, "control", "nats_per_token")
    if row is not None:
        difference = row["difference"]
        bought = {
            "value": -difference["value"],
            "low": -difference["high"],
            "high": -difference["low"],
        }
        if bought["low"] > 0:
            figures.append(
                Figure(
                    decimal(bought["value"]),
                    "nats per token bought by the teacher",
                    bracket(bought, digits=3),
                )
            )
        else:
            caption = "nats per token beside the same network on the text alone"
            caption += ": not settled" if bought["high"] >= 0 else " (lower is better)"
            figures.append(
                Figure(change(difference["value"], 3), caption, bracket(difference, digits=3))
            )
    return figures


def _against(evaluation: Mapping[str, Any], student: Mapping[str, Any], key: str) -> str:
    """The student's number against the teacher's."""
    show = BY_KEY[key].show
    return f"{show(student[key]['value'])} against {show(evaluation['teacher'][key]['value'])}"
