"""A model behind a chat endpoint that writes answers to prompts; every reply is kept.

In: prompts. Out: texts as they come, and for replies that hold none the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.data.rows import is_whole
from tutelage.errors import ModelError
from tutelage.targets.kinds import TextOptions
from tutelage.teachers.api.asker import Asker
from tutelage.teachers.api.protocol import BadAnswer, Request, Usage
from tutelage.teachers.api.protocols.chat import text_of
from tutelage.teachers.api.protocols.replies import first_choice, mapping, said
from tutelage.teachers.api.protocols.wording import with_extra
from tutelage.teachers.api.server import Endpoint
from tutelage.teachers.api.work import Policy
from tutelage.teachers.spec import CHARACTERS_PER_TOKEN
from tutelage.teachers.writing import Ask
from tutelage.types import SILENT, Progress


@dataclass(frozen=True)
class TextChat:
    """Prompts as chats: one message of the user, or a conversation; see `asker.Asking`."""

    model: str
    """The name by which the server knows it."""
    options: TextOptions
    """How long an answer may be, and how it is drawn."""
    seed: int = 0
    """Sent with every request, plus the number of the answer: several answers to one prompt are
    told apart by it, and a server that knows seeds repeats itself."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What every request carries besides; null takes a key out."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that requests depend on besides the prompt."""
        return dict(self.requests(Ask(""))[0].body)

    def requests(self, ask: Ask) -> list[Request]:
        """One call."""
        options = self.options
        before = [] if options.system is None else [{"role": "system", "content": options.system}]
        body = {
            "model": self.model,
            "messages": [*before, *(ask.messages or [{"role": "user", "content": ask.prompt}])],
            "max_tokens": options.max_new_tokens,
            "temperature": options.sampling_temperature,
            "top_p": options.top_p,
            "seed": self.seed % 2**31 + ask.sample,
        }
        return [Request("chat/completions", with_extra(body, self.extra))]

    def read(self, replies: Sequence[Mapping[str, Any]]) -> str:
        """The text of an answer that is whole.

        Raises:
            BadAnswer: It declines, says nothing, or was cut off.
        """
        (body,) = replies
        text, is_cut = text_of(first_choice(mapping(body, "the reply")))
        if is_cut:
            raise BadAnswer("truncated", f"cut off after {said(text[-60:])}")
        if not text.strip():
            raise BadAnswer("empty", "the answer has no text")
        if not is_whole(text):
            raise BadAnswer("unparsable", "the answer holds half of a character")
        return text


class ApiWriter:
    """Writes by asking a server; see `teachers.writing.WritesText`.

    Args:
        chat: How a prompt is asked.
        fingerprint: Of the teacher and what is asked of it.
        endpoint: Where it answers.
        policy: What to do when not all is well.
        journal: A folder where replies are kept.
    """

    def __init__(
        self,
        chat: TextChat,
        *,
        fingerprint: str,
        endpoint: Endpoint,
        policy: Policy,
        journal: Path,
    ) -> None:
        self.fingerprint = fingerprint
        self._options, self._policy = chat.options, policy
        self._asker: Asker[Ask, str] = Asker(
            chat,
            model=chat.model,
            endpoint=endpoint,
            policy=policy,
            journal=journal,
            unit="answers",
            mixed="Answers",
        )

    @property
    def account(self) -> Mapping[str, Any]:
        """What all replies took: requests, tokens, cost, models, latency."""
        return self._asker.took

    def write(
        self, asks: Sequence[Ask], *, progress: Progress = SILENT
    ) -> Iterator[list[tuple[int, str | BadAnswer]]]:
        """Answers as they come; first those whose replies are kept already.

        Raises:
            BudgetSpent: The budget is spent, and says `then: stop`.
            ModelError: The server knows no such key, model or path, changed its model, or gave no
                answer where the recipe says to stop then.
            ServerTrouble: It does not answer.
        """

        def guess(ask: Ask) -> Usage:
            read = (len(ask.prompt) + len(self._options.system or "")) / CHARACTERS_PER_TOKEN
            return Usage(round(read), 0, self._options.max_new_tokens)

        came = self._asker.ask(asks, guess=guess, progress=progress)
        with closing(came):
            for batch in came:
                for place, found in batch:
                    if isinstance(found, BadAnswer) and self._policy.bad_answers == "stop":
                        raise ModelError(
                            f"the teacher's answer to {said(asks[place].prompt)} is "
                            f"{found.reason} ({found}), and bad_answers says stop. Raise "
                            "max_new_tokens if it was cut off, or set bad_answers: leave_out"
                        )
                yield batch
