"""Single test rows: a few soft targets beside the students' answers, and the rows where teacher and
students part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.report.formats import shortened
from tutelage.tasks.classification.report.predictions import Predictions

EXAMPLE_CHARACTERS, DISAGREEMENT_CHARACTERS = 400, 500
FEW_LABELS = 4
"""Up to this many labels every one is shown beside a text."""
SHOWN_LABELS = 3
"""How many are shown otherwise; the rest is summed."""


@dataclass(frozen=True)
class Bar:
    """One probability."""

    share: float
    """The probability."""
    top: bool
    """Whether it is the model's answer."""


@dataclass(frozen=True)
class Example:
    """One text with everybody's soft answer."""

    text: str
    """The text, cut if long."""
    source: str
    """Where it came from."""
    why: str
    """Why it was chosen: agreeing, ambiguous, disagreeing."""
    labels: list[str]
    """The labels shown: all in their order, or those that some model finds likely, the teacher's
    first."""
    gold: str | None
    """Its gold label."""
    others: int
    """How many labels are folded into the last column."""
    lines: list[tuple[str, int | None, list[Bar]]]
    """Model, position of the student (None for the teacher), probabilities per label and of the
    rest."""


@dataclass(frozen=True)
class Answer:
    """One student's answer to one row."""

    name: str
    """The student."""
    slot: int
    """Its position."""
    label: str
    """What it answered."""
    confidence: float
    """With which probability."""
    agrees: bool
    """Whether the teacher answered the same."""
    right: bool | None
    """Whether the gold label is the same; None without one."""


@dataclass(frozen=True)
class Disagreement:
    """One row on which at least one student answers otherwise than the teacher."""

    text: str
    """The text, cut if long."""
    source: str
    """Where it came from."""
    gold: str | None
    """Its gold label."""
    teacher: str
    """The teacher's answer."""
    teacher_confidence: float
    """With which probability."""
    teacher_right: bool | None
    """Whether that is the gold label; None without one."""
    answers: list[Answer]
    """Every student's answer."""


def choose_examples(predictions: Predictions, labels: list[str], *, each: int = 3) -> list[Example]:
    """Choose a few rows by rule, so that nobody can pick flattering ones.

    Agreeing: of the rows where all agree, the one of each label on which the teacher is surest,
    going round the labels. Ambiguous: those on which the teacher is least sure (highest entropy).
    Disagreeing: those where some student contradicts a teacher that is sure.

    Args:
        predictions: The test rows.
        labels: Names of the labels.
        each: How many of each kind.

    Returns:
        At most three times `each` examples, no row twice.
    """
    teacher = predictions.teacher
    answers = teacher.argmax(axis=1)
    confidence = teacher.max(axis=1)
    entropy = -(teacher * np.log(np.clip(teacher, 1e-12, None))).sum(axis=1)
    same = _all_agree(predictions)
    chosen: dict[int, str] = {}

    def take(order: NDArray[np.int64], why: str) -> None:
        """Take the first few of these rows that were not taken yet."""
        fresh = [int(row) for row in order if int(row) not in chosen]
        chosen.update(dict.fromkeys(fresh[:each], why))

    surest = np.argsort(-confidence, kind="stable")
    agreeing = [row for row in surest if same[row]]
    seen: dict[int, int] = {}
    ranks = []
    for row in agreeing:
        ranks.append(seen.get(answers[row], 0))
        seen[answers[row]] = ranks[-1] + 1
    take(
        np.array(agreeing, dtype=np.int64)[np.argsort(ranks, kind="stable")]
        if agreeing
        else np.empty(0, np.int64),
        "agreeing",
    )
    disagreeing = np.array([row for row in surest if not same[row]], dtype=np.int64)
    take(disagreeing, "disagreeing")
    take(np.argsort(-entropy, kind="stable"), "ambiguous")
    order = {"agreeing": 0, "ambiguous": 1, "disagreeing": 2}
    return [
        _example(predictions, labels, row, why)
        for row, why in sorted(chosen.items(), key=lambda item: order[item[1]])
    ]


def find_disagreements(
    predictions: Predictions, labels: list[str], *, cap: int
) -> tuple[list[Disagreement], int]:
    """The rows where some student answers otherwise than the teacher, widest gap first.

    Args:
        predictions: The test rows.
        labels: Names of the labels.
        cap: How many rows to give at most.

    Returns:
        The rows with the largest KL(teacher || student) of any student that disagrees, and how many
        such rows there are in all.
    """
    rows = np.flatnonzero(~_all_agree(predictions))
    answers = predictions.teacher.argmax(axis=1)
    logs = np.log(np.clip(predictions.teacher, 1e-12, None))
    gap = np.zeros(len(answers))
    for probs in predictions.students.values():
        divergence = (predictions.teacher * (logs - np.log(np.clip(probs, 1e-12, None)))).sum(
            axis=1
        )
        gap = np.maximum(gap, np.where(probs.argmax(axis=1) != answers, divergence, 0.0))
    ordered = rows[np.argsort(-gap[rows], kind="stable")]
    return [_disagreement(predictions, labels, int(row)) for row in ordered[:cap]], len(rows)


def _all_agree(predictions: Predictions) -> NDArray[np.bool_]:
    """Rows on which every student gives the teacher's answer."""
    answers = predictions.teacher.argmax(axis=1)
    same = np.ones(len(answers), dtype=bool)
    for probs in predictions.students.values():
        same &= probs.argmax(axis=1) == answers
    return same


def _example(predictions: Predictions, labels: list[str], row: int, why: str) -> Example:
    models: Mapping[str, NDArray[np.float64]] = {"teacher": predictions.teacher} | {
        f"students.{name}": probs for name, probs in predictions.students.items()
    }
    gold = int(predictions.gold[row])
    most = np.max([probs[row] for probs in models.values()], axis=0)
    for always in (gold, int(predictions.teacher[row].argmax())):
        if always >= 0:
            most[always] += 1.0
    few = len(labels) <= FEW_LABELS
    limit = len(labels) if few else SHOWN_LABELS
    chosen = np.argsort(-most, kind="stable")[:limit]
    shown = (
        sorted(chosen.tolist())
        if few
        else sorted(chosen.tolist(), key=lambda label: -predictions.teacher[row, label])
    )
    lines = []
    for slot, (name, probs) in enumerate(models.items()):
        answer = int(probs[row].argmax())
        bars = [Bar(float(probs[row, label]), label == answer) for label in shown]
        if len(labels) > limit:
            rest = 1.0 - sum(bar.share for bar in bars)
            bars.append(Bar(max(rest, 0.0), answer not in shown))
        lines.append(
            (
                "Teacher" if slot == 0 else name.removeprefix("students."),
                None if slot == 0 else slot - 1,
                bars,
            )
        )
    return Example(
        text=shortened(predictions.texts[row], EXAMPLE_CHARACTERS),
        source=predictions.sources[row],
        why=why,
        labels=[labels[label] for label in shown],
        gold=labels[gold] if gold >= 0 else None,
        others=len(labels) - limit,
        lines=lines,
    )


def _disagreement(predictions: Predictions, labels: list[str], row: int) -> Disagreement:
    gold = int(predictions.gold[row])
    teacher = int(predictions.teacher[row].argmax())
    answers = []
    for slot, (name, probs) in enumerate(predictions.students.items()):
        label = int(probs[row].argmax())
        answers.append(
            Answer(
                name,
                slot,
                labels[label],
                float(probs[row, label]),
                label == teacher,
                None if gold < 0 else label == gold,
            )
        )
    return Disagreement(
        text=shortened(predictions.texts[row], DISAGREEMENT_CHARACTERS),
        source=predictions.sources[row],
        gold=labels[gold] if gold >= 0 else None,
        teacher=labels[teacher],
        teacher_confidence=float(predictions.teacher[row, teacher]),
        teacher_right=None if gold < 0 else teacher == gold,
        answers=answers,
    )
