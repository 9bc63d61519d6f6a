"""Plain sentences about one language-model student; none says more than its interval carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.metrics import share_interval
from tutelage.report import formats
from tutelage.report.comparisons import cost_ratio, find_comparison, unsigned
from tutelage.report.formats import bracket, percent, times
from tutelage.report.measures import Evaluation
from tutelage.report.verdict import NO_CONTROL, speed_clause
from tutelage.tasks.language.report.measures import MEASURES


def student_sentences(evaluation: Evaluation, name: str) -> list[str]:
    """What can be said of one student: what it keeps, what it costs, what the teacher bought."""
    sentences = (
        _fidelity_sentence(evaluation, name),
        _teacher_sentence(evaluation, name),
        _answers_sentence(evaluation, name),
        _cost_sentence(evaluation, name),
        control_sentence(evaluation, name),
        _closeness_sentence(evaluation, name),
    )
    return [sentence for sentence in sentences if sentence]


def kept_intervals(evaluation: Evaluation) -> tuple[str, dict[str, dict[str, float]]]:
    """What a student is chosen by, and how much of it each keeps: how often its first choice of the
    next token is the teacher's.

    An interval without width says nothing of other documents; then the exact bound for so many of
    them stands in.
    """
    kept = {
        name: dict(student["top1_agreement"]) for name, student in evaluation["students"].items()
    }
    units = evaluation["documents"] if evaluation["documents"] > 1 else evaluation["pieces"]
    for interval in kept.values():
        if interval["low"] == interval["high"]:
            interval["low"] *= share_interval([1.0] * units).low
    return "top1_agreement", kept


def control_sentence(evaluation: Evaluation, name: str) -> str:
    """What the teacher bought in nats per token, or that nobody can tell."""
    row = find_comparison(evaluation, name, "control", "nats_per_token")
    control = evaluation.get("controls", {}).get(name)
    if control is None:
        return NO_CONTROL
    first = f"Trained on the text alone, the same network needs {nats(control)} per token"
    if row is None:
        return f"{first}. One test text alone does not say whether another would show the same."
    difference = row["difference"]
    if difference["high"] < 0:
        return f"{first}: the teacher bought {_settled(difference)}"
    if difference["low"] > 0:
        return f"{first} and predicts the text better: distillation cost {_settled(difference)}"
    documents = formats.plural(evaluation["documents"], "test document")
    return (
        f"{first}. The difference, {signed_nats(difference)}, includes zero: {documents} "
        "do not show that the teacher helped to predict the text."
    )


def writing_clause(evaluation: Evaluation, name: str) -> str:
    """How much faster a student writes, to be appended to a sentence."""
    student = evaluation["students"][name]
    ratio = cost_ratio(evaluation, student, MEASURES["tokens_per_second"])
    return speed_clause(ratio, verb="writes")


def nats(model: Mapping[str, Any]) -> str:
    """A model's nats per token, `3.312 nats`."""
    return f"{formats.decimal(model['nats_per_token']['value'])} nats"


def signed_nats(difference: Mapping[str, float]) -> str:
    """A difference in nats per token with its sign and interval."""
    return (
        f"{formats.change(difference['value'], 3)} nats per token {bracket(difference, digits=3)}"
    )


def _settled(difference: Mapping[str, float]) -> str:
    """The size of a settled difference, without its sign; ends a sentence."""
    size = unsigned(difference)
    interval = bracket(size, digits=3)
    return (
        f"{formats.decimal(size['value'])} nats per token {interval}. The interval excludes zero."
    )


def _fidelity_sentence(evaluation: Evaluation, name: str) -> str:
    """How far a student says what the teacher says."""
    student, control = evaluation["students"][name], evaluation.get("controls", {}).get(name, {})
    parts = []
    if "top1_agreement" in student:
        same = _share(student, "top1_agreement")
        words = f"Its first choice for the next token is the teacher’s {same} of the time"
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
    if "nats_per_token" not in teacher:
        is_text = (evaluation.get("targets") or {}).get("kind") == "text"
        return f"On the test texts it needs {nats(student)} per token. The teacher " + (
            "only writes, and tells no probabilities to hold beside it."
            if is_text
            else "is behind an API, and was not asked about them."
        )
    first = f"On the test texts it needs {nats(student)} per token, the teacher {nats(teacher)}"
    row = find_comparison(evaluation, name, "teacher", "nats_per_token")
    if row is None:
        return f"{first}."
    difference = row["difference"]
    if difference["low"] > 0:
        return f"{first}: it predicts the text less well, by {_settled(difference)}"
    if difference["high"] < 0:
        return f"{first}: it predicts the text better, by {_settled(difference)}"
    return (
        f"{first}. The difference, {signed_nats(difference)}, includes zero: these documents "
        "cannot tell the two apart."
    )


def _answers_sentence(evaluation: Evaluation, name: str) -> str:
    """How well a student foresees what the teacher writes; empty where it was not measured."""
    student = evaluation["students"][name].get("answer_nats")
    if student is None:
        return ""
    said = (
        "On what the teacher wrote to the test prompts it needs "
        f"{formats.decimal(student['value'])} nats per token"
    )
    row = find_comparison(evaluation, name, "control", "answer_nats")
    if row is None:
        return f"{said}."
    control = evaluation["controls"][name]["answer_nats"]["value"]
    settled = row["difference"]["low"] > 0 or row["difference"]["high"] < 0
    return (
        f"{said}, its control {formats.decimal(control)} (difference "
        f"{signed_nats(row['difference'])}{'' if settled else ', which includes zero'})."
    )


def _cost_sentence(evaluation: Evaluation, name: str) -> str:
    """What a student costs beside its teacher."""
    student = evaluation["students"][name]
    have = [
        f"{_part(found)} the {thing}"
        for key, thing in (("parameters", "parameters"), ("memory_bytes", "memory"))
        if (found := cost_ratio(evaluation, student, MEASURES[key])) is not None
    ]
    speeds = [
        f"{verb} as fast" if 0.95 < found < 1.05 else f"{verb} {times(found)} times as fast"
        for key, verb in (("prefill_tokens_per_second", "reads"), ("tokens_per_second", "writes"))
        if (found := cost_ratio(evaluation, student, MEASURES[key])) is not None
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
    difference = row["difference"]
    numbers = (
        f"KL {formats.decimal(student)} against {formats.decimal(control)} nats per token "
        f"(difference {formats.change(difference['value'], 3)} {bracket(difference, digits=3)})"
    )
    if difference["low"] <= 0 <= difference["high"]:
        return f"Whether it is closer to the teacher than its control is not settled: {numbers}."
    nearer = "closer to" if difference["high"] < 0 else "farther from"
    return f"Its probabilities are {nearer} the teacher’s than the control’s are: {numbers}."


def _share(model: Mapping[str, Any], key: str) -> str:
    return f"{percent(model[key]['value'])} {bracket(model[key], scale=100)}"


def _part(ratio: float) -> str:
    """`1/2.1 of`, `1.3 times`, `about as much of`, before `the memory`."""
    if ratio >= 1.05:
        return f"1/{times(ratio)} of"
    return f"{times(1 / ratio)} times" if ratio <= 0.95 else "all"
