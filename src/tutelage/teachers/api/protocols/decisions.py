"""OpenAI's decision API, `POST /v1/decisions`, which vLLM, SGLang, llama.cpp and others serve too.

In: a text. Out: one request with a choice question whose options are the labels (or a yes/no
question about one of two), and the probabilities in its reply. A question can be refused, which is
no answer. `confidence` means something else in every server and is never read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tutelage.teachers.api.protocol import Answer, BadAnswer, Question, Request, distribution
from tutelage.teachers.api.protocols.groups import LabelGroups
from tutelage.teachers.api.protocols.replies import (
    mapping,
    probability,
    said,
    sequence,
    string,
    wrong,
)
from tutelage.teachers.api.protocols.wording import (
    DECISION,
    description_of,
    spread,
    statement,
    told_settings,
    with_extra,
)
from tutelage.types import same_name

MOST_OPTIONS = 255
"""Of one question, in OpenAI's API."""
MOST_QUESTIONS = 400
"""Of one request."""


@dataclass(frozen=True)
class Decisions:
    """Asks for class probabilities with choice questions, or with one predicate."""

    question: Question
    model: str
    yes: str | None = None
    """The label that a yes means, where two labels are asked as a predicate; None: as a choice."""
    groups: LabelGroups | None = None
    """Where there are more labels than options: asked as several questions of one request."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What requests carry besides; null takes a key out."""

    @cached_property
    def asked(self) -> tuple[Question, ...]:
        """The questions of a request."""
        return (self.question,) if self.groups is None else self.groups.questions

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its request about a placeholder."""
        return {**told_settings(self, "decisions", self.question), "yes": self.yes}

    def requests(self, text: str) -> list[Request]:
        """One, with every question."""
        questions = [
            self._question(one, name) for one, name in zip(self.asked, self._names, strict=True)
        ]
        body = {"model": self.model, "input": text, "questions": questions}
        return [Request("decisions", with_extra(body, self.extra))]

    def read(self, replies: Sequence[Mapping[str, Any]]) -> Answer:
        """The probabilities of the options."""
        (body,) = replies
        answers = sequence(mapping(body, "the reply").get("answers"), "`answers`")
        if len(answers) != len(self.asked):
            raise wrong("the number of `answers`", len(answers), f"{len(self.asked)}")
        found = [
            _read_answer(mapping(answer, f"the answer to {name}"), one.labels, name, yes=self.yes)
            for answer, one, name in zip(answers, self.asked, self._names, strict=True)
        ]
        return found[0] if self.groups is None else self.groups.combined(found)

    @property
    def _names(self) -> list[str]:
        others = [f"label_{number}" for number in range(1, len(self.asked))]
        return ["label", *others] if self.groups is None else ["group", *others]

    def _question(self, question: Question, name: str) -> dict[str, Any]:
        if self.yes is not None:
            return {
                "type": "predicate",
                "name": name,
                "instructions": statement(question, self.yes),
            }
        choices = []
        for label in question.labels:
            meaning = description_of(question, label)
            choices.append({"value": label} | ({"description": meaning} if meaning else {}))
        return {
            "type": "choice",
            "name": name,
            "instructions": question.instruction or DECISION,
            "choices": choices,
        }


def read_reply(body: Mapping[str, Any], labels: Sequence[str], *, yes: str | None = None) -> Answer:
    """The probabilities in a reply to a request that is not known: of the choice among exactly
    these labels.

    Args:
        body: The JSON of a reply.
        labels: Class names in the order of the soft targets.
        yes: Which of two labels a yes means; then a predicate is an answer too.

    Returns:
        The answer.

    Raises:
        BadAnswer: No answer is about these labels, or it was refused.
    """
    answers = sequence(mapping(body, "the reply").get("answers"), "`answers`")
    found = [mapping(answer, "an answer") for answer in answers]
    wanted = set(map(same_name, labels))
    about = [answer for answer in found if _options(answer) == wanted]
    about += [answer for answer in found if yes is not None and answer.get("type") == "predicate"]
    about += [answer for answer in found if answer.get("type") == "refusal"]
    if not about:
        kinds = [answer.get("type") for answer in found]
        raise wrong("`answers`", kinds, f"a choice among {', '.join(labels)}")
    return _read_answer(about[0], labels, None, yes=yes)


def _options(answer: Mapping[str, Any]) -> set[str] | None:
    """The options that a choice speaks of, as names are compared."""
    told = answer.get("probabilities")
    if answer.get("type") != "choice" or not isinstance(told, (list, tuple)):
        return None
    values = [entry.get("value") for entry in told if isinstance(entry, Mapping)]
    return {same_name(value) for value in values if isinstance(value, str)}


def _read_answer(
    answer: Mapping[str, Any], labels: Sequence[str], name: str | None, *, yes: str | None
) -> Answer:
    """One answer of a reply, by its type."""
    given = answer.get("name")
    if name is not None and given not in (None, name):
        raise wrong("the name of an answer", given, f"{name!r}, in the order of the questions")
    match answer.get("type"):
        case "refusal":
            raise BadAnswer("refused", "the model declined to answer")
        case "predicate" if yes is not None:
            return yes_or_no(probability(answer.get("probability"), "`probability`"), labels, yes)
        case "choice" if yes is None or _options(answer) == set(map(same_name, labels)):
            return _read_choice(answer, labels)
        case other:
            expected = "'choice'" if yes is None else "'predicate'"
            raise wrong("the type of an answer", other, expected)


def yes_or_no(prob: float, labels: Sequence[str], yes: str) -> Answer:
    """The answer about two labels, one of which has this probability."""
    probs = [prob if same_name(label) == same_name(yes) else 1.0 - prob for label in labels]
    return Answer(probs=distribution(probs, labels))


def _read_choice(answer: Mapping[str, Any], labels: Sequence[str]) -> Answer:
    told: dict[str, Any] = {}
    for entry in sequence(answer.get("probabilities"), "`probabilities`"):
        entry = mapping(entry, "an entry of `probabilities`")
        value = string(entry.get("value"), "the value of an option")  # true is not "true"
        if value in told:
            raise BadAnswer("wrong_shape", f"the option {said(value)} is answered twice")
        told[value] = entry.get("probability")
    return options_answer(told, labels)


def options_answer(told: Mapping[str, Any], labels: Sequence[str]) -> Answer:
    """The answer in probabilities by option.

    Raises:
        BadAnswer: The options are not the labels, or the numbers are no distribution.
    """
    probs = spread(told, labels)
    if probs is None:
        named = set(map(same_name, told))
        absent = [label for label in labels if same_name(label) not in named]
        unknown = [
            option for option in told if same_name(option) not in set(map(same_name, labels))
        ]
        parts = [
            *([f"no probability for {', '.join(map(said, absent))}"] if absent else []),
            *([f"unknown options {', '.join(map(said, unknown))}"] if unknown else []),
        ]
        what = "; ".join(parts) or "an option is answered twice"
        raise BadAnswer("wrong_shape", f"{what}; expected the {len(labels)} labels")
    return Answer(probs=distribution(probs, labels))
