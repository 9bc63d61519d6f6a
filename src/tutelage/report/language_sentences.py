"""Plain sentences about one language-model student; none says more than its interval carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.report import formats
from tutelage.report.formats import bracket, percent, times
from tutelage.report.language_measures import BY_KEY
from tutelage.report.sentences import speed_clause
from tutelage.report.standing import cost_ratio, find_comparison

Evaluation = Mapping[str, Any]


def student_sentences(evaluation: Evaluation, name: str) -> list[str]:
    """What can be said of one student: what it keeps, what it costs, what the teacher bought."""
    sentences = (
        _fidelity_sentence(evaluation, name),
        _teacher_sentence(evaluation, name),
        _cost_sentence(evaluation, name),
        control_sentence(evaluation, name),
        _closeness_sentence(evaluation, name),
    )
    return [sentence for sentence in sentences if sentence]


def control_sentence(evaluation: Evaluation, name: str) -> str:
    """What the teacher bought in nats per token, or that nobody can tell."""
    row = find_comparison(evaluation, name, "control", "nats_per_token")
    control = evaluation.get("controls", {}).get(name)
    if control is None:
        return "There is no control, so nothing here says what the teacher bought (evaluate: {control: true} trains one)."
    first = f"Trained on the text alone, the same network needs {nats(control)} per token"
    if row is None:
        return f"{first}. One test text alone does not say whether another would show the same."
    difference = row["difference"]
    if difference["high"] < 0:
        return f"{first}: the teacher bought {size(difference)}. The interval excludes zero."
    if difference["low"] > 0:
        return f"{first} and predicts the text better: distillation cost {size(difference)}. The interval excludes zero."
    documents = formats.plural(evaluation["documents"], "test document")
    return (
        f"{first}. The difference, {signed(difference)}, includes zero: {documents} "
        "do not show that the teacher helped to predict the text."
    )


def writing_clause(evaluation: Evaluation, name: str) -> str:
    """How much faster a student writes, to be appended to a sentence."""
    ratio = cost_ratio(
        evaluation, evaluation["students"][name], "tokens_per_second", measures=BY_KEY
    )
    return speed_clause(ratio, verb="writes")


def nats(model: Mapping[str, Any]) -> str:
    """A model's nats per token, `3.312 nats`."""
    return f"{formats.decimal(model['nats_per_token']['value'])} nats"


def size(difference: Mapping[str, float]) -> str:
    """The size of a settled difference in nats per token, without its sign."""
    if difference["high"] < 0:
        difference = {
            "value": -difference["value"],
            "low": -difference["high"],
            "high": -difference["low"],
        }
    return f"{formats.decimal(difference['value'])} nats per token {bracket(difference, digits=3)}"


def signed(difference: Mapping[str, float]) -> str:
    """A difference in nats per token with its sign and interval."""
    return (
        f"{formats.change(difference['value'], 3)} nats per token {bracket(difference, digits=3)}"
    )


def _fidelity_sentence(evaluation: Evaluation, name: str) -> str:
    """How far a student says what the teacher says."""
    student, control = evaluation["students"][name], evaluation.get("controls", {}).get(name, {})
    parts = []
    if "top1_agreement" in student:
        words = f"Its first choice for the next token is the teacher’s {_share(student, 'top1_agreement')} of the time"
        if "top1_agreement" in control:
            words += f" (trained on the text alone: {percent(control['top1_agreement']['value'])})"
        parts.append(words)
    if "acceptance" in student:
        parts.append(
            f"as a draft for the teacher to check, {_share(student, 'acceptance')} of its tokens "
            "would stand"
        )
    return "; ".join(parts) + "." if parts else ""


def _teacher_sentence(evaluation: Evaluation, name: str) -> str:
    """How well a student predicts the text beside its teacher."""
    student, teacher = evaluation["students"][name], evaluation["teacher"]
    first = f"On the test texts it needs {nats(student)} per token, the teacher {nats(teacher)}"
    row = find_comparison(evaluation, name, "teacher", "nats_per_token")
    if row is None:
        return f"{first}."
    difference = row["difference"]
    if difference["low"] > 0:
        return f"{first}: it predicts the text less well, by {size(difference)}. The interval excludes zero."
    if difference["high"] < 0:
        return f"{first}: it predicts the text better, by {size(difference)}. The interval excludes zero."
    return f"{first}. The difference, {signed(difference)}, includes zero: these documents cannot tell the two apart."


def _cost_sentence(evaluation: Evaluation, name: str) -> str:
    """What a student costs beside its teacher."""
    student = evaluation["students"][name]
    ratio = {
        key: cost_ratio(evaluation, student, key, measures=BY_KEY)
        for key in BY_KEY
        if key in student
    }
    have = [
        f"{_part(found)} the {thing}"
        for key, thing in (("parameters", "parameters"), ("memory_bytes", "memory"))
        if (found := ratio.get(key)) is not None
    ]
    speeds = [
        f"{verb} as fast" if 0.95 < found < 1.05 else f"{verb} {times(found)} times as fast"
        for key, verb in (("prefill_tokens_per_second", "reads"), ("tokens_per_second", "writes"))
        if (found := ratio.get(key)) is not None
    ]
    parts = ([f"takes {' and '.join(have)} of its teacher"] if have else []) + speeds
    if not parts:
        return ""
    return "It " + (", ".join(parts[:-1]) + " and " if len(parts) > 1 else "") + parts[-1] + "."


def _closeness_sentence(evaluation: Evaluation, name: str) -> str:
    """What the teacher did to the student's distance from it."""
    row = find_comparison(evaluation, name, "control", "kl")
    if row is None:
        return ""
    student, control = (
        evaluation["students"][name]["kl"]["value"],
        evaluation["controls"][name]["kl"]["value"],
    )
    numbers = f"KL {formats.decimal(student)} against {formats.decimal(control)} nats per token"
    difference = f"difference {formats.change(row['difference']['value'], 3)} {bracket(row['difference'], digits=3)}"
    if row["difference"]["high"] < 0:
        return f"Its probabilities are closer to the teacher’s than the control’s are: {numbers} ({difference})."
    if row["difference"]["low"] > 0:
        return f"Its probabilities are farther from the teacher’s than the control’s are: {numbers} ({difference})."
    return f"Whether it is closer to the teacher than its control is not settled: {numbers} ({difference})."


def _share(model: Mapping[str, Any], key: str) -> str:
    return f"{percent(model[key]['value'])} {bracket(model[key], scale=100)}"


def _part(ratio: float) -> str:
    """`1/2.1 of`, `1.3 times`, `about as much of`, before `the memory`."""
    if ratio >= 1.05:
        return f"1/{times(ratio)} of"
    return f"{times(1 / ratio)} times" if ratio <= 0.95 else "all"
