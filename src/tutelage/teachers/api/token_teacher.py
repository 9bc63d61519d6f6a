"""A language model behind a server as a teacher of tokens: asked about every document once, its
replies kept.

In: documents. Out: `top_k` targets as they come. How they are asked for and kept, `asker` knows;
what a reply means, `protocols.tokens`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import ModelError
from tutelage.targets import SparseTargets
from tutelage.teachers.api.asker import Asker
from tutelage.teachers.api.protocol import BadAnswer, Usage
from tutelage.teachers.api.protocols.tokens import Listed, TokenCompletions
from tutelage.teachers.api.server import Endpoint
from tutelage.teachers.api.teacher import OVER_BUDGET
from tutelage.teachers.api.work import Policy
from tutelage.types import SILENT, Document, Progress

_AT_ONCE = 32
"""Documents whose replies are in memory together; one may have a million log-probabilities."""
_SHOWN_BAD = 20


class ApiTokenTeacher:
    """The likeliest tokens from a server; see `teachers.teacher.TokenAnswers`.

    Args:
        asking: How a document is asked about.
        fingerprint: Of the teacher.
        tokenizer_fingerprint: Of the tokenizer that made the documents, which is the teacher's.
        endpoint: Where it answers.
        policy: What to do when not all is well.
        journal: A folder where replies are kept.
    """

    def __init__(
        self,
        asking: TokenCompletions,
        *,
        fingerprint: str,
        tokenizer_fingerprint: str,
        endpoint: Endpoint,
        policy: Policy,
        journal: Path,
    ) -> None:
        self.fingerprint, self.tokenizer_fingerprint = fingerprint, tokenizer_fingerprint
        self.vocabulary = asking.vocabulary
        self._policy = policy
        self._asker: Asker[NDArray[np.int32], Listed] = Asker(
            asking,
            model=asking.model,
            endpoint=endpoint,
            policy=policy,
            journal=journal,
            unit="documents",
            items_at_once=_AT_ONCE,
        )
        self._bad: list[tuple[Document, BadAnswer]] = []
        self._left: list[Document] = []

    @property
    def unanswered(self) -> Mapping[bytes, str]:
        """By content id, why documents of the last call have no targets."""
        bad = {document.example_id: why.reason for document, why in self._bad}
        return {**bad, **{document.example_id: OVER_BUDGET for document in self._left}}

    @property
    def account(self) -> Mapping[str, Any]:
        """What all replies took, and what was no answer: see `teachers.teacher.Accounts`."""
        return {
            **self._asker.took,
            "unanswered": dict(Counter(self.unanswered.values()).most_common()),
            "unanswered_shown": [
                {
                    "text": f"{document.source} row {document.row}",
                    "reason": why.reason,
                    "reply": str(why)[:200],
                }
                for document, why in self._bad[:_SHOWN_BAD]
            ],
        }

    def answers(
        self, documents: Sequence[Document], *, progress: Progress = SILENT
    ) -> Iterator[tuple[list[int], list[SparseTargets]]]:
        """Targets as they come; first of those documents whose replies are kept already.

        Raises:
            BudgetSpent: The budget is spent, and says `then: stop`.
            ModelError: The server knows no such key, model or path, has another tokenizer, changed
                its model, or gave a bad answer where none is wanted.
            ServerTrouble: It does not answer.
        """
        self._bad, self._left = [], []
        came = self._asker.ask(
            [document.token_ids for document in documents],
            guess=lambda ids: Usage(len(ids), 0, 1),
            progress=progress,
        )
        with closing(came):  # and with it the journal
            for batch in came:
                places, found = [], []
                for place, state in batch:
                    made = targets_of(state, documents[place])
                    if isinstance(made, BadAnswer):
                        self._count(documents[place], made)
                    else:
                        places.append(place)
                        found.append(made)
                yield places, found
        self._left = [documents[place] for place in self._asker.left]

    def _count(self, document: Document, bad: BadAnswer) -> None:
        if self._policy.bad_answers == "stop":
            raise ModelError(
                f"{document.source or 'a document'} row {document.row}: the teacher's answer is "
                f"{bad.reason} ({bad}), and bad_answers says stop. Set bad_answers: leave_out to "
                "go on without"
            )
        self._bad.append((document, bad))


def targets_of(listed: Listed | BadAnswer, document: Document) -> SparseTargets | BadAnswer:
    """Targets of a document's trained tokens, P of them.

    What the likeliest tokens lack to 1 is the mass of all others, as where a model here is asked.
    The entropy, which only reports speak of, is that of the k + 1 buckets, so it is at most the
    distribution's own.

    Args:
        listed: What the server says of its places, or why it says nothing.
        document: Of T tokens.
    """
    if isinstance(listed, BadAnswer):
        return listed
    if not np.array_equal(listed.tokens, document.token_ids[1:]):
        return BadAnswer(
            "wrong_shape",
            f"log-probabilities of {len(listed.tokens) + 1} tokens that are not the "
            f"{len(document.token_ids)} that were sent",
        )
    places = document.trained[1:].nonzero()[0]
    ids_PK, logprobs_PK = listed.ids[places], listed.logprobs[places]
    probs_PK = np.exp(logprobs_PK.astype(np.float64))
    rest_P = np.maximum(1.0 - probs_PK.sum(axis=1), 0.0)
    entropies = -(probs_PK * logprobs_PK).sum(axis=1) - rest_P * np.log(np.maximum(rest_P, 1e-30))
    counts = np.full(len(places), listed.ids.shape[1], np.uint16)
    return SparseTargets(
        counts,
        counts.copy(),
        ids_PK.astype(np.int32).ravel(),
        logprobs_PK.astype(np.float32).ravel(),
        entropies.astype(np.float32),
    )
