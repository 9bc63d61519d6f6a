"""More labels than a server takes in one question: first which group, then which label of it.

In: a question and groups of its labels, given or found. Out: the questions to ask instead, and one
answer from theirs. By the chain rule p(label) = p(group) p(label | group), which is exact for a
model that answers consistently; every group is asked about, so no label loses its probability to a
decision at the first level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tutelage.teachers.api.protocol import Answer, AskingProtocol, Question, Request
from tutelage.teachers.api.protocols.wording import description_of
from tutelage.types import same_name

_SUPPOSE = "Suppose that one of these options is right."


@dataclass(frozen=True)
class LabelGroups:
    """Labels of a question in groups; make them with `given_groups` or `found_groups`."""

    question: Question
    """With all labels."""
    names: tuple[str, ...]
    """One for each group; a group of a single label has its name."""
    members: tuple[tuple[int, ...], ...]
    """Places of labels, each in one group."""

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """What to ask: which group, then, for each group of several labels, which of these."""
        first = Question(
            labels=self.names,
            descriptions={
                name: meaning
                for name, places in zip(self.names, self.members, strict=True)
                if (meaning := self._meaning(places))
            },
            instruction=self.question.instruction,
        )
        lead = f"{self.question.instruction}\n" if self.question.instruction else ""
        within = [
            Question(
                labels=tuple(self.question.labels[place] for place in places),
                descriptions=self.question.descriptions,
                instruction=f"{lead}{_SUPPOSE} Which describes the text best?",
            )
            for places in self.members
            if len(places) > 1
        ]
        return (first, *within)

    def combined(self, answers: Sequence[Answer]) -> Answer:
        """One answer about all labels.

        Args:
            answers: One for each of `questions`, in their order.
        """
        first, *others = answers
        probs = np.zeros(len(self.question.labels))
        mass, unlisted = 0.0, first.unlisted
        remaining = iter(others)
        for share, places in zip(first.probs, self.members, strict=True):
            if len(places) == 1:
                probs[places[0]] = share
                mass += share
                continue
            inner = next(remaining)
            probs[list(places)] = share * inner.probs
            mass += share * (1.0 if inner.label_mass is None else inner.label_mass)
            unlisted += share * inner.unlisted
        told = any(answer.label_mass is not None for answer in answers)
        whole = 1.0 if first.label_mass is None else first.label_mass
        return Answer(
            probs=probs / probs.sum(),
            label_mass=float(whole * mass) if told else None,
            unlisted=float(min(unlisted, 1.0)),
            votes=min(answer.votes for answer in answers),
        )

    def _meaning(self, places: Sequence[int]) -> str | None:
        labels = [self.question.labels[place] for place in places]
        meanings = [description_of(self.question, label) for label in labels]
        if len(labels) == 1:
            return meanings[0]
        listed = [
            f"{label} ({meaning})" if meaning else label
            for label, meaning in zip(labels, meanings, strict=True)
        ]
        return f"one of these: {'; '.join(listed)}"


@dataclass(frozen=True)
class Grouped:
    """A protocol that asks one question a request, asked about groups and then within each."""

    groups: LabelGroups
    asked: tuple[AskingProtocol, ...]
    """One protocol for each of `groups.questions`."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of every question."""
        return {
            "labels": list(self.groups.question.labels),
            "groups": [list(places) for places in self.groups.members],
            "asked": [dict(one.settings) for one in self.asked],
        }

    def requests(self, text: str) -> list[Request]:
        """Those of all questions, one after another."""
        return [request for one in self.asked for request in one.requests(text)]

    def read(self, replies: Sequence[Mapping[str, Any]]) -> Answer:
        """The answers of all questions as one."""
        answers, start = [], 0
        for one in self.asked:
            end = start + len(one.requests(""))
            answers.append(one.read(replies[start:end]))
            start = end
        return self.groups.combined(answers)


def given_groups(question: Question, groups: Mapping[str, Sequence[str]]) -> LabelGroups:
    """Groups that somebody wrote down.

    Args:
        question: With all labels.
        groups: Name -> labels, every label in one of them; see `group_problems`.
    """
    place_of = {same_name(label): place for place, label in enumerate(question.labels)}
    members = tuple(
        tuple(place_of[same_name(label)] for label in labels) for labels in groups.values()
    )
    names = tuple(
        question.labels[places[0]] if len(places) == 1 else name
        for name, places in zip(groups, members, strict=True)
    )
    return LabelGroups(question, names, members)


def group_problems(question: Question, groups: Mapping[str, Sequence[str]]) -> list[str]:
    """What is wrong with groups that somebody wrote down, a sentence each."""
    problems = []
    labels = {same_name(label): label for label in question.labels}
    seen: dict[str, str] = {}
    for name, inside in groups.items():
        if not inside:
            problems.append(f"the group {name!r} has no labels; remove it or give it some")
        for label in inside:
            key = same_name(label)
            if key not in labels:
                problems.append(
                    f"the group {name!r} names {label!r}, which is not one of the labels; "
                    "correct or remove it"
                )
            elif key in seen:
                problems.append(
                    f"{label!r} stands in the groups {seen[key]!r} and {name!r}; "
                    "leave it in one of them"
                )
            seen.setdefault(key, name)
    if absent := [label for key, label in labels.items() if key not in seen]:
        problems.append(f"no group has {', '.join(map(repr, absent))}; put every label into one")
    alone = {same_name(inside[0]) for inside in groups.values() if len(inside) == 1}
    for name, inside in groups.items():
        if len(inside) > 1 and same_name(name) in alone:
            problems.append(
                f"the group {name!r} has the name of a label that is alone in another; "
                "give it another name"
            )
    return problems


def found_groups(question: Question, most: int, most_groups: int | None = None) -> LabelGroups:
    """Groups of labels that say similar things, of at most `most` labels each.

    Labels with their descriptions become TF-IDF vectors over character pieces of 3 to 5 within
    words, which are joined pair by pair (average linkage, cosine distance). The largest branches of
    that tree with at most `most` labels are the groups; while there are too many of them, the
    smallest joins the smallest that has room. No chance is in it: the same labels give the same
    groups.

    Args:
        question: At most `most` times `most_groups` labels.
        most: Options that a server takes in one question, 2 or more.
        most_groups: How many groups there may be; None: `most`, since they are options too.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [
        f" {label} {description_of(question, label) or ''} ".replace("_", " ")
        for label in question.labels
    ]
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    found = vectors.fit_transform(texts).toarray()
    joins = linkage(np.round(pdist(found, "sqeuclidean"), 9), "average")  # 2 - 2 cosine
    branches: dict[int, list[int]] = {place: [place] for place in range(len(texts))}
    groups = dict(branches)
    for step, (left, right, *_) in enumerate(joins):
        both = branches[int(left)] + branches[int(right)]
        branches[len(texts) + step] = both
        if len(both) <= most:
            del groups[int(left)], groups[int(right)]
            groups[len(texts) + step] = both
    return _named(question, _joined(list(groups.values()), most, most_groups or most))


def _joined(groups: list[list[int]], most: int, most_groups: int) -> list[list[int]]:
    """At most `most_groups` groups: the smallest joins another or, if none fits, is dealt out."""
    while len(groups) > most_groups:
        groups.sort(key=lambda places: (len(places), min(places)))
        smallest, *others = groups
        room = [places for places in others if len(places) + len(smallest) <= most]
        if room:
            room[0].extend(smallest)
        else:  # every other group is too full for all of it
            for place in smallest:
                next(places for places in others if len(places) < most).append(place)
        groups = others
    return sorted((sorted(places) for places in groups), key=min)


def _named(question: Question, groups: Sequence[Sequence[int]]) -> LabelGroups:
    taken = set(map(same_name, question.labels))
    names, number = [], 0
    for places in groups:
        if len(places) == 1:
            names.append(question.labels[places[0]])
            continue
        number += 1
        while same_name(f"group {number}") in taken:
            number += 1
        names.append(f"group {number}")
    return LabelGroups(question, tuple(names), tuple(map(tuple, groups)))
