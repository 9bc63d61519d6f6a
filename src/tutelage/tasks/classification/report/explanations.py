"""What answers hang on, as the evaluation found it: the words that speak for each class in students
that are sums, and the words that teacher and student looked at where they part.

In: evaluation.json, whose `explanations` are absent in runs of earlier versions. Out: what the
templates place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tutelage.report.formats import change, shortened
from tutelage.report.measures import Evaluation
from tutelage.tasks.classification.report.examples import DISAGREEMENT_CHARACTERS
from tutelage.tasks.classification.report.predictions import Predictions

LONGEST_WORD = 30
"""Characters of a word that is named."""
NAMED = 4
"""Words named for an answer, and against it."""
LEAST_NAMED = 0.005
"""Logits of a word that is named."""
LEAST_SHARE = 0.08
"""Of the strongest word's push, below which a word is left unmarked."""


@dataclass(frozen=True)
class Strongest:
    """The words that speak most for each class in one student."""

    name: str
    """The student."""
    slot: int
    """Its position."""
    classes: list[tuple[str, list[tuple[str, str]]]]
    """Label; words with their push."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a text."""

    text: str
    """It."""
    push: str
    """In logits of the answer against the mean of all; nothing between words."""
    speaks_for: bool
    """Whether that is for the answer."""
    share: float
    """Its size, as a share of the strongest word's; 0 where it is not marked."""


@dataclass(frozen=True)
class View:
    """One model's answer to a text, and what it hung on."""

    name: str
    """The model."""
    slot: int | None
    """Position of the student; None: the teacher."""
    label: str
    """The answer."""
    pieces: list[Piece]
    """The text, cut if long; none where the model was not explained."""
    spoke_for: list[tuple[str, str]]
    """The words that spoke most for the answer."""
    against: list[tuple[str, str]]
    """The words that spoke most against it."""


@dataclass(frozen=True)
class LookedAt:
    """A row on which teacher and student part."""

    source: str
    """Where it came from."""
    gold: str | None
    """Its gold label."""
    views: list[View]
    """The teacher's, which may not have been explained, and the student's."""


def strongest_words(evaluation: Evaluation) -> list[Strongest]:
    """Of every student that is a sum."""
    slots = {name: slot for slot, name in enumerate(evaluation["students"])}
    found = evaluation.get("explanations", {}).get("strongest", {})
    return [
        Strongest(name, slots[name], [(label, _named(words)) for label, words in classes.items()])
        for name, classes in found.items()
    ]


def what_was_looked_at(evaluation: Evaluation, predictions: Predictions) -> list[LookedAt]:
    """The rows that were explained, widest gap first."""
    found = evaluation.get("explanations", {}).get("disagreements")
    if found is None:
        return []
    name, labels = found["student"], evaluation["labels"]
    slot = list(evaluation["students"]).index(name)
    shown = []
    for record in found["rows"]:
        row = record["row"]
        text, gold = predictions.texts[row], int(predictions.gold[row])
        said = {"label": labels[int(predictions.teacher[row].argmax())], "words": []}
        views = [_view("Teacher", None, text, record.get("teacher", said))]
        views.append(_view(name, slot, text, record["student"]))
        shown.append(LookedAt(predictions.sources[row], labels[gold] if gold >= 0 else None, views))
    return shown


def _view(name: str, slot: int | None, text: str, record: Mapping[str, Any]) -> View:
    words = [(text[begin:end], push) for begin, end, push in record["words"]]
    strongest = max((abs(push) for _, push in words), default=0.0) or 1.0
    pieces, place = [], 0
    for begin, end, push in record["words"]:
        share = abs(push) / strongest
        shown = share if share >= LEAST_SHARE else 0.0
        pieces.append(Piece(text[place:begin], "", speaks_for=False, share=0.0))
        pieces.append(Piece(text[begin:end], change(push, 2), speaks_for=push > 0, share=shown))
        place = end
    ordered = sorted(words, key=lambda one: -one[1])
    return View(
        name,
        slot,
        record["label"],
        _cut(pieces),
        _named([one for one in ordered[:NAMED] if one[1] >= LEAST_NAMED]),
        _named([one for one in reversed(ordered[-NAMED:]) if one[1] <= -LEAST_NAMED]),
    )


def _named(words: Sequence[tuple[str, float]]) -> list[tuple[str, str]]:
    return [(shortened(word, LONGEST_WORD), change(push, 2)) for word, push in words]


def _cut(pieces: list[Piece]) -> list[Piece]:
    """The pieces of a text as far as a page has room for them."""
    kept, room = [], DISAGREEMENT_CHARACTERS
    for piece in pieces:
        if len(piece.text) > room:
            return [*kept, replace(piece, text=f"{piece.text[:room]}…")]
        kept.append(piece)
        room -= len(piece.text)
    return kept
