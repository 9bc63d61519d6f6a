"""The verdict on language-model students in plain words; a sentence says no more than its interval
carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.report.comparisons import find_comparison, negated
from tutelage.report.formats import bracket, change, decimal, percent
from tutelage.report.measures import Evaluation
from tutelage.report.reading import Records
from tutelage.report.verdict import (
    LargeNumber,
    StudentVerdict,
    Verdict,
    size_number,
    speed_number,
)
from tutelage.tasks.language.report.cautions import find_cautions
from tutelage.tasks.language.report.measures import MEASURES
from tutelage.tasks.language.report.sentences import (
    control_sentence,
    student_sentences,
    writing_clause,
)


def reach_verdict(records: Records[Any]) -> Verdict:
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
        numbers=large_numbers(evaluation, best),
        students=[
            StudentVerdict(name, student_sentences(evaluation, name))
            for name in evaluation["students"]
        ],
        cautions=find_cautions(records),
    )


def closest(evaluation: Evaluation) -> str:
    """The student whose probabilities are nearest to the teacher's.

    By KL; but that of a student with a part of the tokens is about this part, so where there is
    one, by the overlap of distributions (acceptance), which is about all tokens for everybody.
    """
    students = evaluation["students"]
    if any("kept_mass" in student for student in students.values()):
        return max(students, key=lambda name: students[name]["acceptance"]["value"])
    return min(students, key=lambda name: students[name]["kl"]["value"])


def _headline(evaluation: Evaluation, name: str) -> str:
    agreement = percent(evaluation["students"][name]["top1_agreement"]["value"])
    row = find_comparison(evaluation, name, "control", "nats_per_token")
    better = row is not None and row["difference"]["low"] > 0
    rest = (
        ", but trained on the text alone it predicts text better"
        if better
        else writing_clause(evaluation, name)
    )
    return (
        f"The student “{name}” agrees with the teacher on the next token {agreement} of the "
        f"time{rest}."
    )


def large_numbers(evaluation: Evaluation, name: str) -> list[LargeNumber]:
    """The large numbers of one student, as far as they were measured."""
    student = evaluation["students"][name]
    agreement = student["top1_agreement"]
    share = percent(agreement["value"])
    interval = bracket(agreement, scale=100)
    numbers = [LargeNumber(share, "same next token as the teacher", interval)]
    row = find_comparison(evaluation, name, "teacher", "nats_per_token")
    if row is not None:
        caption = "nats per token beside the teacher (lower is better)"
        numbers.append(_change(row["difference"], caption))
    numbers += speed_number(
        evaluation,
        student,
        MEASURES["tokens_per_second"],
        manner=" at writing, one text at a time",
        unit=" tokens/s",
    )
    numbers += size_number(evaluation, student, MEASURES["parameters"])
    row = find_comparison(evaluation, name, "control", "nats_per_token")
    if row is not None:
        numbers.append(_bought(row["difference"]))
    return numbers


def _bought(difference: Mapping[str, float]) -> LargeNumber:
    """What the teacher bought in nats per token, from student minus control."""
    bought = negated(difference)
    if bought["low"] > 0:
        caption = "nats per token bought by the teacher"
        return LargeNumber(decimal(bought["value"]), caption, bracket(bought, digits=3))
    caption = "nats per token beside the same network on the text alone"
    caption += ": not settled" if bought["high"] >= 0 else " (lower is better)"
    return _change(difference, caption)


def _change(difference: Mapping[str, float], caption: str) -> LargeNumber:
    """A difference in nats per token with its sign and interval."""
    return LargeNumber(change(difference["value"], 3), caption, bracket(difference, digits=3))
