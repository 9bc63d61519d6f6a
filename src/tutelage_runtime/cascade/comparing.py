"""What an upstream's response says to the questions of a request: its likeliest option of each.

In: a request as it was read, and the response's body. Out: for each question and text the place of
the option that the upstream chose, or that it gave none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unicodedata import normalize

from tutelage_runtime.serving.answering import Asked, AskedQuestion, Option

NO, YES = 0, 1
"""The places of a predicate's answers."""
Chosen = list[list[int | None]]
"""[Q][N]: places among a question's options; None where the upstream gave no answer, such as a
refusal, or one that cannot be read."""


def chosen(path: str, asked: Asked, options: Sequence[Sequence[Option]], body: bytes) -> Chosen:
    """What a response chose.

    Args:
        path: Of the request, which says the protocol.
        asked: What was asked.
        options: Of each question; of `classes` the student's labels.
        body: Of the response.
    """
    nothing: Chosen = [[None] * len(asked.texts) for _ in asked.questions]
    read = _READERS.get(path)
    try:
        said = json.loads(body)
        return nothing if read is None else read(asked, options, said)
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ):
        return nothing


def _decisions(asked: Asked, options: Sequence[Sequence[Option]], said: Any) -> Chosen:
    answers = said["answers"]
    if len(answers) != len(asked.questions):
        raise ValueError("another number of answers")
    return [
        [_typed(question, offered, answer)]
        for question, offered, answer in zip(asked.questions, options, answers, strict=True)
    ]


def _systemone(asked: Asked, options: Sequence[Sequence[Option]], said: Any) -> Chosen:
    answers = said["answers"]
    return [
        [_typed(question, offered, answers.get(question.name))]
        for question, offered in zip(asked.questions, options, strict=True)
    ]


def _typed(
    question: AskedQuestion, options: Sequence[Option], answer: Mapping[str, Any] | None
) -> int | None:
    """The choice in one answer of either decision protocol."""
    if not isinstance(answer, Mapping):
        return None
    if question.kind == "predicate":
        prob = answer.get("probability", answer.get("noul"))
        return None if not _is_number(prob) else YES if prob >= 0.5 else NO
    told = answer.get("probabilities")
    if question.kind == "score":
        return _level(len(options), told)
    choice = answer.get("choice")
    if choice is None:
        pairs = (
            told.items()
            if isinstance(told, Mapping)
            else [(entry["value"], entry["probability"]) for entry in told or ()]
        )
        ranked = [(prob, value) for value, prob in pairs if _is_number(prob)]
        if not ranked:
            return None
        choice = max(ranked, key=lambda one: one[0])[1]
    return _place(choice, options)


def _level(levels: int, told: Any) -> int | None:
    """The likeliest level of a score."""
    if isinstance(told, Mapping):
        pairs = [(int(value), prob) for value, prob in told.items()]
    else:
        pairs = [(int(entry["value"]), entry["probability"]) for entry in told or ()]
    ranked = [(prob, value) for value, prob in pairs if _is_number(prob) and 0 <= value < levels]
    return max(ranked)[1] if ranked else None


def _classify(asked: Asked, options: Sequence[Sequence[Option]], said: Any) -> Chosen:
    found: list[int | None] = [None] * len(asked.texts)
    for entry in said["data"]:
        found[int(entry["index"])] = _place(entry["label"], options[0])
    return [found for _ in asked.questions]


def _place(choice: Any, options: Sequence[Option]) -> int | None:
    for place, option in enumerate(options):
        if type(option) is type(choice) and _same(option, choice):
            return place
    return None


def _same(first: Option, second: Option) -> bool:
    if isinstance(first, str) and isinstance(second, str):
        return normalize("NFC", first) == normalize("NFC", second)
    return first == second


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_READERS: Mapping[str, Callable[[Asked, Sequence[Sequence[Option]], Any], Chosen]] = {
    "/v1/decisions": _decisions,
    "/v1/systemone": _systemone,
    "/classify": _classify,
}
