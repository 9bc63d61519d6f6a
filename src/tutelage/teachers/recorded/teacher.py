"""Recorded answers as a teacher: texts in, the distributions that were recorded for them out.

A text is found by its content, whatever its file or row. Who has no answer is left out of the run,
counted and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.data.rows import shown
from tutelage.errors import DataError
from tutelage.teachers.recorded.reading import Recorded
from tutelage.types import SILENT, Example, Progress

NOT_RECORDED = "not recorded"
"""Why a text has no soft target."""
_ROWS_AT_ONCE = 512

Missing = Literal["leave_out", "refuse"]
"""What becomes of texts without an answer."""


class RecordedTeacher:
    """Answers that somebody has; see `teachers.teacher.AnswersAsTheyCome` and `Accounts`.

    Args:
        recorded: The answers.
        fingerprint: Names them and what was made of them.
        missing: What becomes of texts that have none.
    """

    def __init__(self, recorded: Recorded, *, fingerprint: str, missing: Missing) -> None:
        self._recorded = recorded
        self._fingerprint = fingerprint
        self._missing: Missing = missing
        self._places = {name: place for place, name in enumerate(recorded.ids)}
        self._unanswered: dict[bytes, str] = {}
        self._account: dict[str, Any] = {}

    @property
    def fingerprint(self) -> str:
        """Names the answers and what was made of them."""
        return self._fingerprint

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the soft targets."""
        return self._recorded.labels

    @property
    def unanswered(self) -> Mapping[bytes, str]:
        """By content id, texts of the last call without an answer."""
        return self._unanswered

    @property
    def account(self) -> Mapping[str, Any]:
        """Of the last call: texts with and without an answer, and what was understood of the
        file.
        """
        return self._account

    def label(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Soft targets of texts that all have one, float32 [B, C].

        Raises:
            DataError: One has none.
        """
        absent = without_answer(self._recorded, examples)
        if absent:
            raise DataError(missing_message(self._recorded, examples, absent))
        return self._recorded.probs[[self._places[one.example_id] for one in examples]]

    def answers(
        self, examples: Sequence[Example], *, progress: Progress = SILENT
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Places of examples that have an answer, with it, some at a time.

        Raises:
            DataError: None has one, or one has none and that is refused.
        """
        absent = without_answer(self._recorded, examples)
        self._unanswered = {one.example_id: NOT_RECORDED for one in absent}
        texts = {one.example_id for one in examples}
        self._account = {
            "answers": len(texts) - len(self._unanswered),
            "unanswered": {NOT_RECORDED: len(self._unanswered)} if absent else {},
            "recorded": self._recorded.facts(),
        }
        if absent:
            message = missing_message(self._recorded, examples, absent)
            if self._missing == "refuse" or len(absent) == len(examples):
                raise DataError(message)
            progress.say(f"{message}; left out")
        known = [at for at, one in enumerate(examples) if one.example_id in self._places]
        for start in range(0, len(known), _ROWS_AT_ONCE):
            some = known[start : start + _ROWS_AT_ONCE]
            yield some, self.label([examples[at] for at in some])


def without_answer(recorded: Recorded, examples: Sequence[Example]) -> list[Example]:
    """The examples about which nothing is recorded."""
    known = set(recorded.ids)
    return [one for one in examples if one.example_id not in known]


def missing_message(
    recorded: Recorded, examples: Sequence[Example], absent: Sequence[Example]
) -> str:
    """What to say of texts without an answer.

    Args:
        recorded: The answers.
        examples: All texts that were asked about.
        absent: Those without.
    """
    first = absent[0]
    place = f" ({first.source}, row {first.row})" if first.source else ""
    if len(absent) < len(examples):
        made = sum(one.source == "augmented" for one in absent)
        advice = f"; {made:,} of them were made by data.augment, which nobody has answered" * bool(
            made
        )
        return (
            f"{recorded.source} has no answer for {len(absent):,} of {len(examples):,} texts, the "
            f"first of them {shown(first.text)}{place}{advice}"
        )
    theirs = (
        f"it answers {len(recorded.ids):,} others"
        if recorded.texts is None
        else f"its texts are such as {shown(recorded.texts[0])}"
    )
    return (
        f"{recorded.source} has no answer for any of the {len(examples):,} texts of the data, such "
        f"as {shown(first.text)}{place}; {theirs}. Texts must be the same to the letter: name the "
        "right columns (data.text_field, teacher.text_field), or the right file"
    )
