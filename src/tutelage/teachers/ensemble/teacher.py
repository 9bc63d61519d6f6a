"""Several teachers as one: asked one after the other, their answers mixed.

In: members and weights. Out: soft targets, and what each member said.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.runs import fingerprint
from tutelage.teachers.ensemble.mixing import Combine, mix
from tutelage.teachers.keeping import KeptTeacher
from tutelage.types import SILENT, Example, Progress

_ROWS_AT_ONCE = 4096
_WHO = ("description", "protocol", "base_url", "terms")
"""What is told of a member beside its account."""


class EnsembleTeacher:
    """What its members say together; see `AnswersAsTheyCome` and `Accounts`.

    The weights of one member are in memory at a time, and each member's answers stay in its own
    store. A text that one of them does not answer has no soft target: what the others say would be
    another teacher's answer.

    Args:
        members: In the order of the weights.
        weights: One a member, summing to 1.
        combine: How distributions become one.
    """

    def __init__(
        self, members: Sequence[KeptTeacher], weights: Sequence[float], *, combine: Combine
    ):
        self._members = list(members)
        self._weights = np.asarray(weights, dtype=np.float64)
        self._combine: Combine = combine
        self._unanswered: dict[bytes, str] = {}
        self._answered = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the soft targets."""
        return self._members[0].assignment.labels

    @property
    def fingerprint(self) -> str:
        """Names the members, what they weigh and how they are combined."""
        return fingerprint(
            "ensemble",
            self._combine,
            {
                member.name: (member.facts["teacher_fingerprint"], float(weight))
                for member, weight in zip(self._members, self._weights, strict=True)
            },
        )

    @property
    def combine(self) -> Combine:
        """How distributions become one."""
        return self._combine

    @property
    def weights(self) -> dict[str, float]:
        """What each member weighs, by name."""
        return {
            member.name: float(weight)
            for member, weight in zip(self._members, self._weights, strict=True)
        }

    @property
    def descriptions(self) -> dict[str, str]:
        """Each member in a few words, by name."""
        return {
            member.name: ", ".join(
                str(member.facts[key]) for key in ("description", "model") if member.facts.get(key)
            )
            for member in self._members
        }

    @property
    def unanswered(self) -> Mapping[bytes, str]:
        """By content id, in a word each, why examples of the last call have no soft targets."""
        return self._unanswered

    @property
    def account(self) -> Mapping[str, Any]:
        """Of the last call: texts with and without an answer of all members, and the account of
        each member that has one; empty where there is nothing to tell.
        """
        members = {
            member.name: {key: member.facts[key] for key in _WHO if member.facts.get(key)} | told
            for member in self._members
            if (told := member.account)
        }
        if not members and not self._unanswered:
            return {}
        return {
            "answers": self._answered,
            "unanswered": dict(Counter(self._unanswered.values()).most_common()),
            "members": members,
        }

    def ask(self, examples: Sequence[Example], *, progress: Progress = SILENT) -> None:
        """Have every member's answers to texts in its store, one member after the other."""
        for member in self._members:
            member.ask(examples, progress=progress)
            gc.collect()  # its weights, before those of the next

    def answers(
        self, examples: Sequence[Example], *, progress: Progress = SILENT
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Places of examples with their soft targets, float32 [N, C], once all members answered."""
        self._unanswered, self._answered = {}, 0
        self.ask(examples, progress=progress)
        for start in range(0, len(examples), _ROWS_AT_ONCE):
            ids = [one.example_id for one in examples[start : start + _ROWS_AT_ONCE]]
            found = [member.probs(ids) for member in self._members]
            whole = np.all([answered for _, answered in found], axis=0)
            for row in np.flatnonzero(~whole):
                silent = [
                    member.name
                    for member, (_, answered) in zip(self._members, found, strict=True)
                    if not answered[row]
                ]
                self._unanswered[ids[row]] = f"no answer from {', '.join(silent)}"
            self._answered += int(whole.sum())
            if whole.any():
                probs = np.stack([of_member[whole] for of_member, _ in found])
                yield (
                    (start + np.flatnonzero(whole)).tolist(),
                    mix(probs, self._weights, combine=self._combine),
                )

    def label(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Soft targets, float32 [B, C], each row summing to 1.

        Raises:
            DataError: A member gives no answer to one of the texts.
        """
        out = np.zeros((len(examples), len(self.labels)), dtype=np.float32)
        for places, probs in self.answers(examples):
            out[places] = probs
        if self._unanswered:
            why = next(iter(self._unanswered.values()))
            raise DataError(
                f"{len(self._unanswered):,} of {len(examples):,} texts have {why}, so there is no "
                "mixture: leave them out, or that member"
            )
        return out

    def members_probs(self, ids: Sequence[bytes]) -> dict[str, NDArray[np.float32]]:
        """What each member said about texts that were asked about, by name, [B, C].

        Raises:
            DataError: One of them was not answered, or never asked about.
        """
        told = {}
        for member in self._members:
            told[member.name], answered = member.probs(ids)
            if not answered.all():
                raise DataError(
                    f"{member.targets} has no answers to {int((~answered).sum()):,} of "
                    f"{len(ids):,} texts: ask about them first (tutelage label)"
                )
        return told
