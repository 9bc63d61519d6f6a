"""What is asked of a teacher that writes: answers to prompts, as text.

Whoever writes keeps every answer in a journal the moment it is there, so that a call that was
killed goes on where it was, and no answer is written, or paid, twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tutelage.data.documents.messages import Message
from tutelage.teachers.api.protocol import BadAnswer
from tutelage.teachers.teacher import Teacher
from tutelage.types import Progress


@dataclass(frozen=True, slots=True)
class Ask:
    """One answer that is wanted."""

    prompt: str
    """What a user says; of a conversation its transcript."""
    sample: int = 0
    """Which of several answers to the prompt, from 0."""
    messages: Sequence[Message] = ()
    """The conversation that is to be gone on with; none: the prompt is what a user says."""


class WritesText(Teacher, Protocol):
    """Writes answers to prompts. The fingerprint names the options too: everything that its answers
    depend on.
    """

    def write(
        self, asks: Sequence[Ask], *, progress: Progress
    ) -> Iterator[list[tuple[int, str | BadAnswer]]]:
        """Answers with their places, in the order in which they come: a text, or why there is none.
        What a budget leaves unasked does not come.
        """
        ...

    @property
    def account(self) -> Mapping[str, Any]:
        """Of the last call, for report and provenance: what it took. Plain values."""
        ...
