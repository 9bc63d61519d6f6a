"""vLLM's `POST /classify`: a model with a classification head, served.

In: a text. Out: one request, and the probabilities in its reply, which stand in the order of the
model's own classes (`id2label` in its configuration).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.teachers.api.protocol import Answer, BadAnswer, Question, Request, distribution
from tutelage.teachers.api.protocols.replies import mapping, said, sequence, wrong
from tutelage.teachers.api.protocols.wording import told_settings, with_extra
from tutelage.types import same_name


@dataclass(frozen=True)
class Classify:
    """Asks a served classifier for class probabilities."""

    question: Question
    model: str
    label_names: tuple[str, ...] | None = None
    """The server's classes in its order, in the words of the labels; it may have more than are
    asked about. None: they are the labels, in their order."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What requests carry besides; null takes a key out."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its request about a placeholder, and the order of the classes."""
        names = None if self.label_names is None else list(self.label_names)
        return {**told_settings(self, "classify", self.question), "label_names": names}

    def requests(self, text: str) -> list[Request]:
        """One, below the server's root."""
        body = {"model": self.model, "input": text}
        return [Request("/classify", with_extra(body, self.extra))]

    def read(self, replies: Sequence[Mapping[str, Any]]) -> Answer:
        """The probabilities in the order of the labels."""
        (body,) = replies
        return read_reply(body, self.question.labels, label_names=self.label_names)


def read_reply(
    body: Mapping[str, Any], labels: Sequence[str], *, label_names: Sequence[str] | None = None
) -> Answer:
    """The probabilities in a reply about one text.

    The reply also names the most probable class. Where that name is one of the classes, it must be
    the most probable one here too; where it is a name that nobody said and no `LABEL_3`, the order
    of the classes cannot be checked and must be given.

    Args:
        body: The JSON of a reply.
        labels: Class names in the order of the soft targets.
        label_names: All classes of the server in its order; None: they are the labels.

    Returns:
        The answer. Where the server has more classes, the labels share what is theirs, and
        `label_mass` says how much that was.

    Raises:
        BadAnswer: It has no such probabilities, or its classes are others.
    """
    data = sequence(mapping(body, "the reply").get("data"), "`data`")
    if len(data) != 1:
        raise wrong("the number of answers in `data`", len(data), "1")
    told = mapping(data[0], "the answer in `data`")
    probs = sequence(told.get("probs"), "`probs`")
    names = tuple(labels if label_names is None else label_names)
    if len(probs) != len(names):
        raise wrong(
            "the number of the server's classes",
            len(probs),
            f"{len(names)}; list its classes in its order in `label_names`",
        )
    found = distribution(probs, names)
    _check_order(told.get("label"), names, found, given=label_names is not None)
    place_of = {same_name(name): place for place, name in enumerate(names)}
    chosen = found[[place_of[same_name(label)] for label in labels]]
    mass = float(chosen.sum())
    if mass <= 0.0:
        raise BadAnswer("unparsable", "all probability is on classes that are none of the labels")
    return Answer(probs=chosen / mass, label_mass=min(mass, 1.0))


def _check_order(told: Any, names: Sequence[str], probs: Any, *, given: bool) -> None:
    """Refuse a reply whose own word for the most probable class contradicts the order of names."""
    if not isinstance(told, str) or not told.strip():
        return
    places = {same_name(name).casefold(): place for place, name in enumerate(names)}
    generic = {f"label_{place}": place for place in range(len(names))}
    place = {**generic, **places}.get(same_name(told).casefold())
    if place is None:
        if given:
            return
        raise BadAnswer(
            "wrong_shape",
            f"the server calls a class {said(told)}, which is none of the labels; list its classes "
            "in its order in `label_names`, in the words of the labels",
        )
    if probs[place] < probs.max():
        raise BadAnswer(
            "wrong_shape",
            f"the server says {said(told)}, but at that place of its probabilities stands "
            f"{probs[place]:.4g}, not the largest: its classes have another order; list them in "
            "`label_names`",
        )
