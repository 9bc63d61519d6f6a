"""Class probabilities from the likeliest tokens that a server lists for each place of an answer.

In: the places of an answer, each with the token that was taken and up to 20 that could have been,
as text: whoever asks has no tokenizer. Out: an `Answer`.

A listed token belongs to every label that it begins (or that it is, with a sign or white space
after it). Where that is one label, its probability is that label's. Where labels share it ("card
arrival", "card linking" begin with "card"), the next place tells them apart, which is known for the
token that was taken and for no other; so a taken token that began a label and went on otherwise ("I
think" and "irrelevant") is not taken for it. What stays undecided goes to the label that is spelled
out in full, else in equal parts to the labels that it begins; a token of white space or signs only
is left out, which is to say that what follows it is like the rest.

Labels that no listed token is for certain have a probability of at most that of the least likely
token in the list each, and of what the list leaves of 1 together, besides their part of what is
shared; the estimate is half of that bound. What
they could have at most, with all that was undecided, is `Answer.unlisted`.

A label whose estimate is half of its bound is off by at most the other half; one that is dropped
would be off by all of it, and have probability 0 in the student's loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.teachers.api.protocol import Answer, BadAnswer
from tutelage.teachers.api.protocols.replies import listed_probability, mapping, sequence, string
from tutelage.teachers.api.protocols.wording import ends_word
from tutelage.types import same_name

_LEADING = " \t\r\n\u2581\u0120\u010a\"'`*_([{<:-\u201c\u2018"
"""What models write before a label, with the signs by which vocabularies show a space."""
_NOTHING = 1e-30
"""Less than this on all labels together is a rounding error of a server."""


@dataclass(frozen=True)
class Place:
    """One place of an answer."""

    taken: str
    """The token that stands there."""
    probs: Mapping[str, float]
    """Of the tokens that are listed, the taken one among them if its probability is told."""
    least: float
    """Of the tokens in the server's own list the least likely; no other is likelier. 1 where there
    is no list."""


@dataclass
class _Found:
    """What was read so far."""

    probs: NDArray[np.float64]
    listed: float = 0.0
    unlisted: float = 0.0
    undecided: float = 0.0


def read_places(content: Any) -> list[Place]:
    """The places of an answer in `logprobs.content` of a chat completion.

    Raises:
        BadAnswer: It is no such list.
    """
    places = []
    for entry in sequence(content, "`logprobs.content`"):
        entry = mapping(entry, "a place of `logprobs.content`")
        taken = string(entry.get("token"), "`token`")
        told: dict[str, float] = {}
        top = sequence(entry.get("top_logprobs") or (), "`top_logprobs`")
        for other in top:
            other = mapping(other, "an entry of `top_logprobs`")
            token = string(other.get("token"), "`token`")
            prob = listed_probability(other.get("logprob"), "`logprob`")
            if prob is not None and prob > told.get(token, 0.0):
                told[token] = prob  # parts of characters may look alike; the likeliest counts
        least = min(told.values(), default=1.0)
        prob = listed_probability(entry.get("logprob"), "`logprob`")
        if prob is not None:
            told.setdefault(taken, prob)
        places.append(Place(taken, told, least))
    return places


def read_listed(
    places: Sequence[Place], words: Sequence[Sequence[str]], *, case: bool = False
) -> Answer:
    """The class probabilities that the listed tokens tell.

    Args:
        places: Of the answer, from its first token on.
        words: For each label the words that mean it; an answer is one of these.
        case: Tell upper from lower case.

    Returns:
        The answer. `label_mass` is the listed probability that fell on labels.

    Raises:
        BadAnswer: No listed token begins a label.
    """
    spelled = [
        [plain for word in chosen if (plain := _plain(word, " \t\r\n", case=case))]
        for chosen in words
    ]
    firsts = {word[0] for chosen in spelled for word in chosen}
    leading = "".join(sign for sign in _LEADING if sign not in firsts)
    found = _Found(np.zeros(len(words)))
    _walk(places, spelled, found, leading=leading, case=case)
    if not found.listed > _NOTHING:
        tokens = ", ".join(map(repr, list(places[0].probs)[:5])) if places else "nothing"
        raise BadAnswer(
            "unparsable", f"none of the listed tokens begins a label; the first are {tokens}"
        )
    return Answer(
        probs=found.probs / found.probs.sum(),
        label_mass=min(found.listed, 1.0),
        unlisted=min(found.unlisted + found.undecided, 1.0),
    )


def _walk(
    places: Sequence[Place],
    words: Sequence[Sequence[str]],
    found: _Found,
    *,
    leading: str,
    case: bool,
) -> None:
    """Share out the probability of the listed tokens along the answer, as far as it may yet become
    a label.

    Args:
        places: Of the answer.
        words: Of labels, as they are compared.
        found: Is added to.
        leading: Characters that mean nothing before a label.
        case: Tell upper from lower case.
    """
    before, chance = "", 1.0  # what the answer says so far, and the probability of that
    going_on: tuple[str, float] | None = (before, chance)
    seen: list[tuple[set[int], set[int], float, float]] = []
    for place in places:
        if not place.probs:
            break
        sure: set[int] = set()
        going_on = None
        total = sum(place.probs.values())
        scale = chance / max(total, 1.0)  # rounding may lift a sum above 1
        for token, prob in place.probs.items():
            after = _plain(before + token, leading, case=case)
            labels = _labels_of(after, words)
            whole = len(labels) == 1 and any(after in chosen for chosen in words)
            if token == place.taken and labels and not whole:
                going_on = (after, scale * prob)
            elif after:
                sure |= _decide(after, scale * prob, words, found)
            else:
                found.undecided += scale * prob
        rest = max(1.0 - total, 0.0)
        seen.append((_labels_of(before, words), sure, chance * place.least, chance * rest))
        if going_on is None:
            break
        before, chance = going_on
    ended = set() if going_on is None else _decide(before, chance, words, found)
    _bound_absent(seen, ended, found)


def _bound_absent(
    seen: Sequence[tuple[set[int], set[int], float, float]], ended: set[int], found: _Found
) -> None:
    """Bound, at every place, the labels that could stand there and that neither a token listed
    there nor one of a later place is for certain.

    Args:
        seen: For each place the labels that were possible there, those that a listed token is for
            certain, the probability that no other token exceeds, and that of all others together.
        ended: Labels that the end of the answer is for certain.
        found: Is added to.
    """
    sure = ended
    for could, here, least, rest in reversed(seen):
        sure = sure | here
        if absent := sorted(could - sure):
            bound = min(least * len(absent), rest)
            found.unlisted += bound
            found.probs[absent] += bound / 2 / len(absent)


def _decide(text: str, prob: float, words: Sequence[Sequence[str]], found: _Found) -> set[int]:
    """Give the probability of a beginning to the labels that it may become.

    Returns:
        The label that it is for certain, if it is one.
    """
    labels = _labels_of(text, words)
    full = {label for label in labels if text in words[label]}
    if len(labels) > 1:
        found.undecided += prob
        labels = full if len(full) == 1 else labels
    if text and labels:
        found.listed += prob
        found.probs[sorted(labels)] += prob / len(labels)
    return labels if len(labels) == 1 else set()


def _labels_of(text: str, words: Sequence[Sequence[str]]) -> set[int]:
    """The labels that a beginning of an answer may become or is: all, where nothing is said yet."""
    begun = {
        label for label, chosen in enumerate(words) if any(word.startswith(text) for word in chosen)
    }
    if begun:
        return begun
    said = [
        (len(word), label)
        for label, chosen in enumerate(words)
        for word in chosen
        if text.startswith(word) and ends_word(text[len(word) :])
    ]
    longest = max((length for length, _ in said), default=0)
    return {label for length, label in said if length == longest}


def _plain(text: str, leading: str, *, case: bool) -> str:
    """Text as it is compared: composed, without what means nothing before it."""
    text = same_name(text).lstrip(leading)
    return text if case else text.casefold()
