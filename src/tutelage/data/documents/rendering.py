"""Rows of a data file as texts of which some spans train: plain text, prompts with responses,
conversations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tutelage.data.documents.chat import Message, has_chat_template, render_chat
from tutelage.data.documents.control_tokens import Span
from tutelage.data.documents.messages import messages_problem, with_joined_parts, without_nulls
from tutelage.data.documents.notes import Notes
from tutelage.data.documents.tokenizing import Trainable
from tutelage.data.rows import Problems, Rows, text_usable
from tutelage.errors import DataError

TrainOn = Literal["response", "all"]
"""Whether only what the assistant says trains, or everything."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what: one of plain text, prompt with response, or messages."""

    text: str | None = None
    """Plain text."""
    prompt: str | None = None
    """A prompt; goes together with `response`."""
    response: str | None = None
    """The answer to the prompt."""
    messages: str | None = None
    """A list of {role, content}."""
    last_answer: bool = False
    """Of messages only those that end with the assistant's, of which only that last one is an
    answer; False: each of its messages is."""

    def __post_init__(self) -> None:
        """Refuse anything but one way to read a row."""
        ways = [self.text is not None, self.prompt is not None, self.messages is not None]
        if sum(ways) != 1 or (self.prompt is None) != (self.response is None):
            raise ValueError(
                f"text_field={self.text!r}, prompt_field={self.prompt!r}, "
                f"response_field={self.response!r}, "
                f"messages_field={self.messages!r}; expected text_field, or prompt_field with "
                "response_field, or "
                "messages_field"
            )

    @property
    def names(self) -> list[str]:
        """The columns that are read."""
        return [
            name
            for name in (self.text, self.prompt, self.response, self.messages)
            if name is not None
        ]


@dataclass(frozen=True, slots=True)
class Renderer:
    """Turns rows into texts as one tokenizer wants them."""

    tokenizer: Any
    """The teacher's, with or without a chat template."""
    notes: Notes
    """Takes what a person should know about the rows; says what becomes of control tokens."""
    train_on: TrainOn = "response"
    """What of prompts with responses and of conversations trains."""
    template_options: Mapping[str, Any] = field(default_factory=dict)
    """What else the chat template takes."""

    def rows(self, rows: Rows, columns: Columns, problems: Problems) -> list[tuple[int, Trainable]]:
        """The usable rows with their numbers; what is wrong with the others goes to `problems`."""
        rendered = []
        for number, values in rows.values:
            if columns.text is not None:
                text = self._plain(values.get(columns.text), number, columns.text, problems)
            elif columns.messages is not None:
                text = self._messages(values.get(columns.messages), number, columns, problems)
            else:
                text = self._pair(
                    [values.get(name) for name in columns.names], number, columns.names, problems
                )
            if text is not None:
                rendered.append((number, text))
        return rendered

    def _plain(self, cell: Any, number: int, name: str, problems: Problems) -> Trainable | None:
        if not text_usable(cell, number, name, problems):
            return None
        return Trainable(cell, enclosed=True, literal=self._literal(cell, number))

    def _pair(
        self, cells: Sequence[Any], number: int, names: Sequence[str], problems: Problems
    ) -> Trainable | None:
        # A list, so that both cells are heard.
        usable = [
            text_usable(cell, number, name, problems)
            for cell, name in zip(cells, names, strict=True)
        ]
        if not all(usable):
            return None
        prompt, response = cells
        if has_chat_template(self.tokenizer):
            turns = [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": response},
            ]
            return self._conversation(turns, number, problems)
        spans = None if self.train_on == "all" else ((len(prompt), len(prompt) + len(response)),)
        text = prompt + response
        return Trainable(text, spans, enclosed=True, literal=self._literal(text, number))

    def _literal(self, text: str, number: int) -> tuple[Span, ...]:
        """Where a text spells control tokens that stay text."""
        self.notes.see(text, number)
        return () if self.notes.control_as == "tokens" else self.notes.control.spelled(text)

    def _messages(
        self, cell: Any, number: int, columns: Columns, problems: Problems
    ) -> Trainable | None:
        if wrong := messages_problem(cell):
            problems.add("that hold no conversation", number, f"`{columns.messages}` {wrong}")
            return None
        if columns.last_answer and cell[-1]["role"] != "assistant":
            return None
        messages = with_joined_parts(cell)
        return self._conversation(messages, number, problems, last_answer=columns.last_answer)

    def _conversation(
        self,
        messages: Sequence[Message],
        number: int,
        problems: Problems,
        *,
        last_answer: bool = False,
    ) -> Trainable | None:
        by_turns = self.train_on == "response"
        if by_turns and not any(message["role"] == "assistant" for message in messages):
            message = (
                "no message is of the assistant, so there is nothing to learn; add its answer, or "
                "set data.train_on: all"
            )
            problems.add("without an answer", number, message)
            return None
        try:
            rendered = render_chat(
                self.tokenizer,
                messages,
                options=self.template_options,
                find_turns=by_turns,
                last_turn=last_answer,
                control=None if self.notes.control_as == "tokens" else self.notes.control,
            )
        except DataError as error:
            problems.add("that the chat template cannot render", number, str(error))
            return None
        self.notes.see(messages, number)
        if rendered.header is not None:
            self.notes.headers.append((number, rendered.header))
        return Trainable(rendered.text, rendered.spans, literal=rendered.literal)


def without_nulls_of_parquet(rows: Rows, column: str) -> Rows:
    """The rows with only the keys that each message was given: parquet gives all messages the keys
    of all.
    """
    values = [
        (number, {**cells, column: without_nulls(cells.get(column))})
        for number, cells in rows.values
    ]
    return Rows(rows.columns, values, rows.hint)
