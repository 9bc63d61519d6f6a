"""A model behind an API as a teacher of classes: asked about every text once, its replies kept.

In: examples. Out: soft targets as they come. How they are asked for and kept, `asker` knows; what
replies mean for classes stands here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import ModelError
from tutelage.teachers.api.asker import Asker
from tutelage.teachers.api.protocol import Answer, AskingProtocol, BadAnswer, Usage
from tutelage.teachers.api.server import Endpoint
from tutelage.teachers.api.work import Policy
from tutelage.teachers.spec import CHARACTERS_PER_TOKEN
from tutelage.types import SILENT, Example, Progress

OVER_BUDGET = "over budget"


@dataclass
class Account:
    """What is known of a teacher's answers so far, for report and provenance."""

    answers: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    """Texts without an answer, by reason."""
    shown: list[dict[str, str]] = field(default_factory=list)
    """Some of them: text, reason, what was there."""
    with_mass: int = 0
    mass: float = 0.0
    """Summed over the answers that tell it."""
    unlisted: float = 0.0
    """Summed."""
    unlisted_most: float = 0.0
    votes: int = 0
    """Behind each answer."""

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        self.answers += 1
        if answer.label_mass is not None:
            self.with_mass += 1
            self.mass += answer.label_mass
        self.unlisted += answer.unlisted
        self.unlisted_most = max(self.unlisted_most, answer.unlisted)
        self.votes = max(self.votes, answer.votes)


_SHOWN_BAD = 20


class ApiTeacher:
    """Class probabilities from a server; see `teachers.teacher.AnswersAsTheyCome`."""

    def __init__(
        self,
        protocol: AskingProtocol,
        labels: Sequence[str],
        *,
        model: str,
        fingerprint: str,
        endpoint: Endpoint,
        policy: Policy,
        journal: Path,
    ) -> None:
        """Bring the parts together; nothing is asked yet.

        Args:
            protocol: How a text is asked about.
            labels: Class names in the order of the soft targets.
            model: The name that is asked for.
            fingerprint: Of all that the answers depend on.
            endpoint: Where it answers.
            policy: What to do when not all is well.
            journal: A folder where replies are kept.
        """
        self.labels = tuple(labels)
        self.fingerprint = fingerprint
        self._policy = policy
        self._asker = Asker(
            protocol, model=model, endpoint=endpoint, policy=policy, journal=journal
        )
        self._unanswered: dict[bytes, str] = {}
        self._account: dict[str, Any] = {}

    @property
    def unanswered(self) -> Mapping[bytes, str]:
        """By content id, why texts of the last call have no soft targets."""
        return self._unanswered

    @property
    def account(self) -> Mapping[str, Any]:
        """What the last call found out: requests, tokens and cost of all replies, models, bad
        answers by reason, label mass.
        """
        return self._account

    def label(self, examples: Sequence[Example]) -> np.ndarray:
        """Soft targets, float32 [B, C].

        Raises:
            ModelError: A text has no answer.
        """
        found = np.zeros((len(examples), len(self.labels)), np.float32)
        for places, probs in self.answers(examples, progress=SILENT):
            found[places] = probs
        if self._unanswered:
            reasons = Counter(self._unanswered.values()).most_common()
            said = ", ".join(f"{reason} {number:,}" for reason, number in reasons)
            raise ModelError(f"{len(self._unanswered):,} texts have no answer ({said})")
        return found

    def answers(
        self, examples: Sequence[Example], *, progress: Progress = SILENT
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Soft targets as they come; first of those texts whose replies are kept already.

        Raises:
            BudgetSpent: The budget is spent, and says `then: stop`.
            ModelError: The server knows no such key, model or path, changed its model, or gave a
                bad answer where none is wanted.
            ServerTrouble: It does not answer.
        """
        self._unanswered = {}
        account = Account()
        came = self._asker.ask(
            [example.text for example in examples],
            guess=lambda text: Usage(round(len(text) / CHARACTERS_PER_TOKEN)),
            progress=progress,
        )
        try:
            with closing(came):  # and with it the journal
                for batch in came:
                    yield from self._told(batch, examples, account)
            for place in self._asker.left:
                self._unanswered[examples[place].example_id] = OVER_BUDGET
                account.bad[OVER_BUDGET] += 1
        finally:
            self._account = {**self._asker.took, **self._summary(account)}

    def _told(
        self,
        states: Sequence[tuple[int, Any]],
        examples: Sequence[Example],
        account: Account,
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Good answers as rows of targets; bad ones are counted."""
        good = [(place, state) for place, state in states if isinstance(state, Answer)]
        for place, state in states:
            if isinstance(state, BadAnswer):
                self._count_bad(examples[place], state, account)
        for _, answer in good:
            account.add(answer)
        if good:
            probs = np.stack([answer.probs for _, answer in good]).astype(np.float32)
            yield [place for place, _ in good], probs

    def _count_bad(self, example: Example, bad: BadAnswer, account: Account) -> None:
        if self._policy.bad_answers == "stop":
            where = f"{example.source}, row {example.row}: " if example.source else ""
            raise ModelError(
                f"{where}the teacher's answer is {bad.reason} ({bad}), and bad_answers says stop. "
                "Mend the question, or set bad_answers: leave_out"
            )
        self._unanswered[example.example_id] = bad.reason
        account.bad[bad.reason] += 1
        if len(account.shown) < _SHOWN_BAD:
            account.shown.append(
                {"text": example.text[:200], "reason": bad.reason, "reply": str(bad)[:200]}
            )

    def _summary(self, account: Account) -> dict[str, Any]:
        return {
            "answers": account.answers,
            "unanswered": dict(account.bad.most_common()),
            "unanswered_shown": account.shown,
            "label_mass": account.mass / account.with_mass if account.with_mass else None,
            "unlisted_mean": account.unlisted / max(1, account.answers),
            "unlisted_most": account.unlisted_most,
            "votes": account.votes,
        }
