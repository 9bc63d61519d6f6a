"""What a model is told about the labels, and how its words are matched to them.

In: a `Question`. Out: instructions, one line for each option, and the label that an answer in words
names. What is the same for all texts comes first, so that servers which remember a prompt's
beginning read it once.
"""

from __future__ import annotations

import string as ascii_text
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.teachers.api.protocol import AskingProtocol, BadAnswer, Question
from tutelage.teachers.api.protocols.replies import said
from tutelage.types import same_name

LETTERS = ascii_text.ascii_uppercase
"""Names of options that are one token in every vocabulary."""
_AROUND = " \t\r\n\"'`*_.,:;!?()[]{}<>#\u201c\u201d\u2018\u2019\u3002"
"""What models put around a label."""
_PLACEHOLDER = "{text}"

DECISION = "Which of these describes the text best?"
CLASSIFY = "Classify the text."


def told_settings(protocol: AskingProtocol, name: str, question: Question) -> dict[str, Any]:
    """What names a way of asking: the requests that it makes about a placeholder.

    So whatever changes the wording or an option that is sent changes the settings.
    """
    asked = [{"path": one.path, "body": dict(one.body)} for one in protocol.requests(_PLACEHOLDER)]
    return {"protocol": name, "labels": list(question.labels), "requests": asked}


def with_extra(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request with what somebody adds to it; null takes a key out."""
    return {key: value for key, value in {**body, **extra}.items() if value is not None}


def description_of(question: Question, label: str) -> str | None:
    """What a label means, if somebody said it."""
    for name, description in question.descriptions.items():
        if same_name(name) == same_name(label):
            return description
    return None


def statement(question: Question, label: str) -> str:
    """What a yes/no question says about a text: that this label is the right one."""
    lead = f"{question.instruction}\n\n" if question.instruction else ""
    meaning = description_of(question, label)
    return f"{lead}The right label for the text is: {label}" + (f" ({meaning})" if meaning else "")


def options_listed(question: Question, shown: Sequence[str], *, letters: bool) -> str:
    """Instruction, options, and how to answer; the beginning of every prompt.

    Args:
        question: Labels and what they mean.
        shown: The word for each label.
        letters: Options are named A, B, C, and the answer is such a letter.
    """
    lines = []
    for place, (label, word) in enumerate(zip(question.labels, shown, strict=True)):
        meaning = description_of(question, label) or (label if word != label else None)
        name = f"{LETTERS[place]}. {word}" if letters else f"- {word}"
        lines.append(f"{name}: {meaning}" if meaning else name)
    how = "the letter of one option" if letters else "one of the options, spelled as above,"
    return "\n".join(
        [
            question.instruction or CLASSIFY,
            "",
            "Options:",
            *lines,
            "",
            f"Answer with {how} and nothing else.",
        ]
    )


def plainly_different(words: Sequence[Sequence[str]]) -> bool:
    """Whether the first character of an answer tells which label it is, whatever the case, so that
    its first token does in any vocabulary.
    """
    owner: dict[str, int] = {}
    return all(
        owner.setdefault(bare(word, case=False)[:1], place) == place
        for place, spelled in enumerate(words)
        for word in spelled
    )


def bare(text: str, *, case: bool) -> str:
    """Text without what stands around it, case told apart or not; as it is if nothing is left."""
    text = same_name(text)
    text = text.strip(_AROUND) or text.strip()
    return text if case else text.casefold()


def ends_word(rest: str) -> bool:
    """Whether what follows a word begins with something that is no part of it."""
    return not rest or not (rest[0].isalnum() or rest[0] == "_")


def named_label(answer: str, words: Sequence[Sequence[str]], *, case: bool = False) -> int | None:
    """The label that an answer in words names.

    White space and punctuation around it do not count. An answer that is a word of a label is that
    label; else the longest word that it begins with ("billing, because ..."); else the one label
    that begins with it ("bill"). A letter counts only alone or before a sign ("B. billing"), since
    "A problem with ..." begins with an article.

    Args:
        answer: What the model wrote.
        words: For each label the words that mean it.
        case: Tell upper from lower case.

    Returns:
        The label's place; None: none is named, or several are.
    """
    given = bare(answer, case=case)
    if not given:
        return None
    spelled = [
        (bare(word, case=case), place) for place, chosen in enumerate(words) for word in chosen
    ]
    exact = {place for word, place in spelled if word == given}
    if len(exact) == 1:
        return exact.pop()
    begun = [
        (len(word), place)
        for word, place in spelled
        if given.startswith(word)
        and ends_word(given[len(word) :])
        and (len(word) > 1 or not given[len(word) :][:1].isspace())
    ]
    if not exact and begun:
        longest = max(length for length, _ in begun)
        found = {place for length, place in begun if length == longest}
        return found.pop() if len(found) == 1 else None
    cut = {place for word, place in spelled if word.startswith(given)}
    return cut.pop() if not exact and len(cut) == 1 else None


def require_label(
    answer: str, words: Sequence[Sequence[str]], *, case: bool = False, cut_off: bool = False
) -> int:
    """The label that an answer names, see `named_label`.

    Args:
        answer: What the model wrote.
        words: For each label the words that mean it.
        case: Tell upper from lower case.
        cut_off: The server stopped it at the most tokens.

    Raises:
        BadAnswer: It names none.
    """
    if not answer.strip():
        raise BadAnswer("truncated" if cut_off else "empty", "the answer has no text")
    found = named_label(answer, words, case=case)
    if found is None:
        reason = "truncated" if cut_off else "unparsable"
        raise BadAnswer(reason, f"the answer {said(answer)} names none of the labels")
    return found


def spread(mapping: Mapping[str, Any], labels: Sequence[str]) -> list[Any] | None:
    """The values of a mapping in the order of labels; None unless it speaks of exactly these."""
    named = {same_name(key): value for key, value in mapping.items()}
    if len(named) != len(mapping) or set(named) != set(map(same_name, labels)):
        return None
    return [named[same_name(label)] for label in labels]
