"""The verdict on language-model students in plain words, and what speaks against believing or using
it; a sentence says no more than its interval carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage import metrics
from tutelage.report import formats
from tutelage.report.comparisons import find_comparison, negated
from tutelage.report.formats import bracket, change, decimal, percent
from tutelage.report.measures import Evaluation
from tutelage.report.preference import preference_sentence
from tutelage.report.reading import Records
from tutelage.report.verdict import (
    LargeNumber,
    StudentVerdict,
    Verdict,
    calibration_caution,
    poorly_calibrated,
    size_number,
    speed_number,
)
from tutelage.tasks.language.report.examples import DocumentScores
from tutelage.tasks.language.report.measures import MEASURES
from tutelage.tasks.language.report.sentences import (
    control_sentence,
    signed_nats,
    student_sentences,
    writing_clause,
)
from tutelage.tasks.language.report.written import written_sentence


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
        deck=[
            control_sentence(evaluation, best),
            *filter(
                None, [written_sentence(evaluation), preference_sentence(evaluation, MEASURES)]
            ),
        ],
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
    Where the teacher tells no probabilities, the one that predicts the test texts best.
    """
    students = evaluation["students"]
    if not all("kl" in student for student in students.values()):  # nobody to be near to
        return min(students, key=lambda name: students[name]["nats_per_token"]["value"])
    if any("kept_mass" in student for student in students.values()):
        return max(students, key=lambda name: students[name]["acceptance"]["value"])
    return min(students, key=lambda name: students[name]["kl"]["value"])


def _headline(evaluation: Evaluation, name: str) -> str:
    if "top1_agreement" not in evaluation["students"][name]:
        needs = decimal(evaluation["students"][name]["nats_per_token"]["value"])
        return (
            f"The student “{name}” learned what the teacher wrote, and needs {needs} nats per "
            "token of the test texts."
        )
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
    numbers = []
    if (agreement := student.get("top1_agreement")) is not None:
        share, interval = percent(agreement["value"]), bracket(agreement, scale=100)
        numbers.append(LargeNumber(share, "same next token as the teacher", interval))
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


_FEW_DOCUMENTS = 30
"""Below this many documents, resampling them says little about documents that were not drawn."""
_LOW_AGREEMENT = 0.5


def find_cautions(records: Records[DocumentScores]) -> list[str]:
    """What speaks against believing or using the result."""
    evaluation = records.evaluation
    students: Mapping[str, Any] = evaluation["students"]
    cautions: list[str] = []
    if evaluation["documents"] < _FEW_DOCUMENTS:
        cautions.append(
            f"Only {formats.plural(evaluation['documents'], 'test document')}: the intervals "
            "themselves are uncertain. More test documents would narrow them."
        )
    cautions += _weak_teacher(records)
    agreements = [
        student["top1_agreement"]["value"]
        for student in students.values()
        if "top1_agreement" in student
    ]
    if agreements and max(agreements) < _LOW_AGREEMENT:
        cautions.append(
            "No student shares the teacher’s first choice on even half of the tokens: what it "
            "writes will differ from what the teacher writes. Read the samples before you rely on "
            "one."
        )
    cautions += _short_training(evaluation)
    unfinished = [name for name, rows in records.student_curves.items() if _still_falling(rows)]
    if unfinished:
        cautions.append(
            f"The validation loss was still falling when training ended: {', '.join(unfinished)}. "
            "Longer training may give more."
        )
    return cautions + calibration_caution(
        "Probabilities are not to be taken at their word", poorly_calibrated(evaluation)
    )


def _weak_teacher(records: Records[DocumentScores]) -> list[str]:
    """The best control, if it predicts the text as well as the teacher: there is little to learn
    from it then.
    """
    scores, bootstrap = records.predictions, records.evaluation.get("bootstrap") or {}
    if not scores.controls or np.isnan(scores.teacher).all():
        return []
    name, control = min(
        scores.controls.items(), key=lambda item: float((item[1] * scores.tokens).sum())
    )
    interval = metrics.ratio_interval(
        np.bincount(scores.units, weights=(scores.teacher - control) * scores.tokens),
        np.bincount(scores.units, weights=scores.tokens),
        samples=int(bootstrap.get("samples", 2000)),
        seed=int(bootstrap.get("seed", 0)),
    )
    if interval.high < 0:
        return []
    than = (
        "predicts these texts less well than"
        if interval.low > 0
        else "is not clearly better at these texts than"
    )
    return [
        f"The teacher itself {than} “{name}” trained on the text alone (teacher minus control "
        f"{signed_nats(interval.as_dict())}): a teacher that knows such texts better comes first."
    ]


def _short_training(evaluation: Evaluation) -> list[str]:
    """Students that read fewer tokens than they have parameters."""
    training = (evaluation.get("training") or {}).get("students", {})
    short = [
        name
        for name, facts in training.items()
        if facts.get("parameters") and facts.get("tokens", 0) < facts["parameters"]
    ]
    if not short:
        return []
    most = max(training[name]["tokens"] for name in short)
    return [
        f"Short training: {', '.join(short)} read at most {formats.magnitude(most)} tokens, fewer "
        "than one for each parameter. The numbers speak of this training, not of what such "
        "networks can reach with more text."
    ]


def _still_falling(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last of three or more validation losses is the lowest, by more than a hair."""
    losses = [row["validation_loss"] for row in rows if row.get("validation_loss") is not None]
    return len(losses) >= 3 and losses[-1] < 0.998 * min(losses[:-1])
