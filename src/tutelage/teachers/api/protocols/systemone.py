"""TypeSafe's System One API, `POST /v1/systemone`, which vLLM and others serve for open models.

In: a text. Out: one request with a `choice` question whose criteria are the labels (or a yes/no
question, `noul`, about one of two), and the probabilities in its reply. vLLM tells in `diagnostics`
how much of the model's probability fell on labels at all. `confidence` is never read: in vLLM it is
a probability times that share, in llama.cpp 0 where all options are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tutelage.teachers.api.protocol import Answer, BadAnswer, Question, Request
from tutelage.teachers.api.protocols.decisions import options_answer, yes_or_no
from tutelage.teachers.api.protocols.groups import LabelGroups
from tutelage.teachers.api.protocols.replies import mapping, probability, said, share, wrong
from tutelage.teachers.api.protocols.wording import (
    DECISION,
    description_of,
    statement,
    told_settings,
    with_extra,
)
from tutelage.types import same_name

MOST_OPTIONS = 26
"""Of one question in vLLM 0.32, which names options by letters."""
MOST_QUESTIONS = 64
"""Of one request, in vLLM."""


@dataclass(frozen=True)
class SystemOne:
    """Asks for class probabilities with choice questions, or with one yes/no question."""

    question: Question
    model: str
    yes: str | None = None
    """The label that a yes means, where two labels are asked as `noul`; None: as a choice."""
    groups: LabelGroups | None = None
    """Where there are more labels than options: asked as several questions of one request."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What requests carry besides; null takes a key out."""

    @cached_property
    def asked(self) -> dict[str, Question]:
        """The questions of a request by their ids."""
        if self.groups is None:
            return {"label": self.question}
        first, *others = self.groups.questions
        return {"group": first} | {f"label_{n}": one for n, one in enumerate(others, start=1)}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its request about a placeholder."""
        return {**told_settings(self, "systemone", self.question), "yes": self.yes}

    def requests(self, text: str) -> list[Request]:
        """One, with every question."""
        questions = {name: self._question(one) for name, one in self.asked.items()}
        body = {"model": self.model, "state": text, "questions": questions}
        return [Request("systemone", with_extra(body, self.extra))]

    def read(self, replies: Sequence[Mapping[str, Any]]) -> Answer:
        """The probabilities of the options."""
        (body,) = replies
        answers = mapping(mapping(body, "the reply").get("answers"), "`answers`")
        if absent := [name for name in self.asked if name not in answers]:
            raise wrong("the ids of `answers`", list(answers), f"{absent[0]!r} among them")
        found = [
            _read_answer(body, name, one.labels, yes=self.yes) for name, one in self.asked.items()
        ]
        return found[0] if self.groups is None else self.groups.combined(found)

    def _question(self, question: Question) -> dict[str, Any]:
        meanings = {label: description_of(question, label) for label in question.labels}
        if self.yes is None:
            return {
                "type": "choice",
                "instructions": question.instruction or DECISION,
                "criteria": meanings,
            }
        sides = {
            "true" if same_name(label) == same_name(self.yes) else "false": meaning
            for label, meaning in meanings.items()
            if meaning
        }
        asked = {"type": "noul", "instructions": statement(question, self.yes)}
        return asked | ({"criteria": sides} if sides else {})


def read_reply(body: Mapping[str, Any], labels: Sequence[str], *, yes: str | None = None) -> Answer:
    """The probabilities in a reply to a request that is not known: of the choice among exactly
    these labels.

    Args:
        body: The JSON of a reply.
        labels: Class names in the order of the soft targets.
        yes: Which of two labels a yes means; then a `noul` is an answer too.

    Returns:
        The answer.

    Raises:
        BadAnswer: No answer is about these labels, or it was refused.
    """
    answers = mapping(mapping(body, "the reply").get("answers"), "`answers`")
    found = {name: mapping(answer, f"the answer {said(name)}") for name, answer in answers.items()}
    wanted = set(map(same_name, labels))
    about = [name for name, answer in found.items() if _options(answer) == wanted]
    about += [name for name, one in found.items() if yes is not None and one.get("type") == "noul"]
    about += [name for name, one in found.items() if one.get("type") == "refusal"]
    if not about:
        kinds = {name: answer.get("type") for name, answer in found.items()}
        raise wrong("`answers`", kinds, f"a choice among {', '.join(labels)}")
    return _read_answer(body, about[0], labels, yes=yes)


def _options(answer: Mapping[str, Any]) -> set[str] | None:
    """The options that a choice speaks of, as names are compared."""
    told = answer.get("probabilities")
    if answer.get("type") != "choice" or not isinstance(told, Mapping):
        return None
    return set(map(same_name, told))


def _read_answer(
    body: Mapping[str, Any], name: str, labels: Sequence[str], *, yes: str | None
) -> Answer:
    """One answer of a reply, by its type, with what `diagnostics` tells about it."""
    answer = mapping(body["answers"][name], f"the answer {said(name)}")
    match answer.get("type"):
        case "refusal":
            raise BadAnswer("refused", "the model declined to answer")
        case "noul" if yes is not None:
            found = yes_or_no(probability(answer.get("noul"), "`noul`"), labels, yes)
        case "choice" if yes is None or _options(answer) == set(map(same_name, labels)):
            told = mapping(answer.get("probabilities"), "`probabilities`")
            found = options_answer(told, labels)
        case other:
            expected = "'choice'" if yes is None else "'noul'"
            raise wrong("the type of an answer", other, expected)
    diagnostics = body.get("diagnostics")
    told = diagnostics.get(name) if isinstance(diagnostics, Mapping) else None
    mass = share(told.get("label_mass")) if isinstance(told, Mapping) else None
    return replace(found, label_mass=mass)
