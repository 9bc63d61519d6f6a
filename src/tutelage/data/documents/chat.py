"""Conversations as text: rendered with a chat template, and where in the text the assistant speaks.

In: messages as chat models take them. Out: one text, and the character spans that the assistant is
to learn. Spans are found by rendering beginnings of the conversation, so a template needs no marks
of its own for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.data.rows import is_missing, is_whole, shown
from tutelage.errors import DataError, ModelError
from tutelage.runs.limits import OutOfLimits, within_limits

RENDER_SECONDS, RENDER_MEMORY_BYTES = 10.0, 2**29
"""What one conversation may take to be rendered; a long one takes some milliseconds."""
REFUSALS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What a template raises, besides its own words, about a conversation that it was not made for."""
Message = Mapping[str, Any]
"""A turn: `role`, `content`, and whatever else the template reads (`tool_calls`, `name`, ...)."""

DATE = "26 Jul 2024"
"""What the Llama templates say is the day unless they are told. The real one would make other
documents of the same rows every day, for which no targets are stored."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A conversation as the teacher reads it."""

    text: str
    """Everything, control tokens included."""

    spans: tuple[tuple[int, int], ...] | None
    """Start and end, in characters, of what the assistant writes in each of its turns, end-of-turn
    token included."""


def has_chat_template(tokenizer: Any) -> bool:
    """Whether the tokenizer brings a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def changes_daily(tokenizer: Any) -> bool:
    """Whether the template writes the date and takes no other in its place."""
    template = str(getattr(tokenizer, "chat_template", None))
    return "strftime_now" in template and "date_string" not in template


def render_chat(
    tokenizer: Any,
    messages: Sequence[Message],
    *,
    options: Mapping[str, Any] | None = None,
    find_turns: bool = True,
) -> Rendering:
    """Render a conversation and find the assistant's turns in it.

    A turn starts where the rendering of everything before it, with the generation prompt, ends; and
    it ends where the rendering up to and with it ends, white space after a last control token
    excluded, for nobody generates that.

    Args:
        tokenizer: Of transformers, with a chat template.
        messages: The turns, in order; at least one.
        options: What else the template takes, such as `tools` or `enable_thinking`.
        find_turns: False: only render, for a conversation of which everything trains.

    Returns:
        The text and the spans, in order, one for each turn of the assistant; None in place of the
        spans where they were not asked for.

    Raises:
        DataError: The template refuses the conversation, or renders a turn in another way once
            others follow it, so that the assistant would be trained on what it never sees. The
            message says what to do.
    """
    options = _options(tokenizer, options or {})
    whole = render(tokenizer, messages, options, prompt=False)
    if not find_turns:
        return Rendering(whole, None)
    spans = []
    for place, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        if place == 0:
            raise DataError(
                "the assistant speaks first; put what it answers before it, as a message of the "
                "user"
            )
        before = render(tokenizer, messages[:place], options, prompt=True)
        last = place == len(messages) - 1
        upto = whole if last else render(tokenizer, messages[: place + 1], options, prompt=False)
        if not (whole.startswith(upto) and upto.startswith(before)):
            raise DataError(
                f"the chat template renders the conversation up to message {place + 1} in another "
                "way once it goes on "
                f"({_difference(upto if upto.startswith(before) else before, whole)}), so a "
                "student would not learn "
                "what it is to write; end the row with its first answer and make a row of every "
                "further one, give a "
                "chat template that keeps earlier turns as they were, or set data.train_on: all"
            )
        spans.append((len(before), _end_of_turn(tokenizer, whole, len(before), len(upto))))
    return Rendering(whole, tuple(spans))


def render_prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Render what comes before an answer just as `render_chat` does, the generation prompt
    included.

    Args:
        tokenizer: Of transformers, with a chat template.
        messages: The turns, in order; at least one.

    Raises:
        DataError: The template refuses the conversation.
    """
    return render(tokenizer, messages, _options(tokenizer, {}), prompt=True)


def messages_problem(value: Any) -> str | None:
    """What keeps a cell from being a conversation, in words that follow the name of the column;
    None: nothing.

    Args:
        value: What stands in the cell: hopefully a list of {role, content}.
    """
    if is_missing(value):
        return "is missing; delete the row or fill it in"
    if not isinstance(value, list):
        return f"is {shown(value)} ({type(value).__name__}); expected a list of {{role, content}}"
    if not value:
        return "is an empty list; delete the row or fill it in"
    for number, message in enumerate(value, start=1):
        if not isinstance(message, dict):
            return f"has as message {number} {shown(message)}; expected {{role, content}}"
        if not isinstance(message.get("role"), str):
            return (
                f"has no `role` in message {number} (its keys are {', '.join(message)}); expected "
                f"{{role, content}}"
            )
        content = message.get("content")
        if content is not None and not isinstance(content, (str, list)):
            return f"has {shown(content)} as content of message {number}; expected text"
        if message["role"] == "assistant" and not _says_something(message):
            return (
                f"has nothing in message {number}, of the assistant; delete the row or fill it in"
            )
    if not is_whole(json.dumps(value, ensure_ascii=False, default=repr)):
        return (
            "holds half of a character (a lone surrogate): a text was cut inside it; write it again"
        )
    return None


def without_nulls(value: Any) -> Any:
    """A value without the keys that hold null: parquet gives every message the keys of all
    others.
    """
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _says_something(message: Message) -> bool:
    others = {key: value for key, value in message.items() if key not in ("role", "content")}
    content = message.get("content")
    return bool(content.strip() if isinstance(content, str) else content) or any(others.values())


def _options(tokenizer: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    return (
        {"date_string": DATE, **options}
        if "strftime_now" in str(tokenizer.chat_template)
        else dict(options)
    )


def render(
    tokenizer: Any, messages: Sequence[Message], options: Mapping[str, Any], *, prompt: bool
) -> str:
    """Render a conversation within bounds of time and memory, for anyone may have written the
    template.

    Args:
        tokenizer: Of transformers, with a chat template.
        messages: The turns, in order; at least one.
        options: What else the template takes.
        prompt: Whether the generation prompt is added.

    Raises:
        DataError: The template refuses the conversation.
        ModelError: The template does not end, or takes too much memory.
    """
    from jinja2.exceptions import TemplateError

    try:
        return within_limits(
            lambda: tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=prompt, **dict(options)
            ),
            seconds=RENDER_SECONDS,
            memory_bytes=RENDER_MEMORY_BYTES,
        )
    except OutOfLimits as error:  # no row's fault, and the next one would take as long
        raise ModelError(
            f"the chat template of {tokenizer.name_or_path} cannot be rendered: {error}. Correct "
            "it in chat_template.jinja or tokenizer_config.json, or take another model"
        ) from error
    except (TemplateError, *REFUSALS) as error:
        said = str(error) or type(error).__name__
        said = said if len(said) <= 300 else f"{said[:297]}..."
        raise DataError(f"the chat template refuses the conversation: {said}") from error


def _end_of_turn(tokenizer: Any, text: str, start: int, end: int) -> int:
    bare = text[start:end].rstrip()
    return start + len(bare) if bare.endswith(tuple(tokenizer.all_special_tokens)) else end


def _difference(one: str, other: str) -> str:
    """Where two texts part, with a little around it."""
    place = next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(other)
    )
    start = max(0, place - 20)
    return f"{shown(one[start : place + 20])} became {shown(other[start : place + 20])}"
