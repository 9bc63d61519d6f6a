"""Conversations as text: rendered with a chat template, and where in the text the assistant speaks.

In: messages as chat models take them. Out: one text, and the character spans that the assistant is
to learn. Spans are found by rendering beginnings of the conversation, so a template needs no marks
of its own for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from tutelage.data.documents.control_tokens import ControlTokens, Span
from tutelage.data.documents.messages import Message
from tutelage.data.rows import shown
from tutelage.errors import DataError, ModelError
from tutelage.runs.limits import OutOfLimits, within_limits

Rendered = TypeVar("Rendered")
RENDER_SECONDS, RENDER_MEMORY_BYTES = 10.0, 2**29
"""What one conversation may take to be rendered; a long one takes some milliseconds."""
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

    literal: tuple[Span, ...] = ()
    """Where messages spell control tokens that are to stay text."""

    header: str | None = None
    """What the template writes before an answer where it writes nothing at all for a generation
    prompt, so that it trains like the answer; None: nothing, or it is not known."""


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
    last_turn: bool = False,
    control: ControlTokens | None = None,
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
        last_turn: Look for the last message's turn only; nothing is asked of how others are
            rendered.
        control: The tokenizer's control tokens, which stay text where messages spell them; None:
            they are read as the tokens.

    Returns:
        The text and the spans, in order, one for each turn of the assistant; None in place of the
        spans where they were not asked for.

    Raises:
        DataError: The template refuses the conversation, or renders a turn in another way once
            others follow it, so that the assistant would be trained on what it never sees. The
            message says what to do.
    """
    known = _options(tokenizer, options or {})
    turns = range(len(messages) - 1 if last_turn else 0, len(messages) if find_turns else 0)
    return _bounded(
        tokenizer, lambda: _chat(tokenizer, messages, known, turns=turns, control=control)
    )


def _chat(
    tokenizer: Any,
    messages: Sequence[Message],
    options: Mapping[str, Any],
    *,
    turns: range,
    control: ControlTokens | None,
) -> Rendering:
    messages = _as_the_template_takes(tokenizer, _without_none(tokenizer, messages, options))
    if control is not None and control.are_in(messages) and control.can_cover(messages):
        covered = control.covered(messages)
        found = _rendered(tokenizer, covered, options, turns=turns)
        text, literal = control.uncovered(found.text)
        if text == _render(tokenizer, messages, options, prompt=False):
            return replace(found, text=text, literal=literal)
        # The template itself looks for them.
    return _rendered(tokenizer, messages, options, turns=turns)


def _rendered(
    tokenizer: Any, messages: Sequence[Message], options: Mapping[str, Any], *, turns: range
) -> Rendering:
    """The spans of those turns of the assistant that are among some places."""
    whole = _render(tokenizer, messages, options, prompt=False)
    if not turns:
        return Rendering(whole, None)
    spans: list[Span] = []
    header = None
    for place, message in enumerate(messages):
        if message.get("role") != "assistant" or place not in turns:
            continue
        if place == 0:
            raise DataError(
                "the assistant speaks first; put what it answers before it, as a message of the "
                "user"
            )
        before = _render(tokenizer, messages[:place], options, prompt=True)
        last = place == len(messages) - 1
        upto = whole if last else _render(tokenizer, messages[: place + 1], options, prompt=False)
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
        if name := _call_left_out(message, upto[len(before) :]):
            raise DataError(
                f"the chat template leaves out the call of {shown(name)} in message {place + 1}; "
                "choose a teacher whose template knows tools, or write the call as content"
            )
        if not spans and before == _render(tokenizer, messages[:place], options, prompt=False):
            header = _header(upto[len(before) :], message.get("content"))
        spans.append((len(before), _end_of_turn(tokenizer, whole, len(before), len(upto))))
    return Rendering(whole, tuple(spans), header=header)


def _call_left_out(message: Message, turn: str) -> str | None:
    """The name of a function that a message calls and its rendering does not; None: there is
    none.
    """
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str) and name not in turn:
            return name
    return None


def _header(turn: str, content: Any) -> str | None:
    """What stands before the content in a turn, if anything that can be seen does."""
    if isinstance(content, list):
        content = content[0]["text"]
    said = content.strip() if isinstance(content, str) else ""
    header = turn.partition(said)[0] if said and said in turn else ""
    return header if header.strip() else None


def render_prompt(
    tokenizer: Any, messages: Sequence[Message], *, control: ControlTokens | None = None
) -> Rendering:
    """Render what comes before an answer just as `render_chat` does, the generation prompt
    included.

    Args:
        tokenizer: Of transformers, with a chat template.
        messages: The turns, in order; at least one.
        control: The tokenizer's control tokens, which stay text where messages spell them; None:
            they are read as the tokens.

    Raises:
        DataError: The template refuses the conversation.
    """
    return _bounded(tokenizer, lambda: _prompt(tokenizer, messages, control))


def _prompt(
    tokenizer: Any, messages: Sequence[Message], control: ControlTokens | None
) -> Rendering:
    options = _options(tokenizer, {})
    messages = _as_the_template_takes(tokenizer, _without_none(tokenizer, messages, options))
    plain = _render(tokenizer, messages, options, prompt=True)
    if control is None or not (control.are_in(messages) and control.can_cover(messages)):
        return Rendering(plain, None)
    covered = _render(tokenizer, control.covered(messages), options, prompt=True)
    text, literal = control.uncovered(covered)
    return Rendering(plain, None, literal if text == plain else ())


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
    return _bounded(tokenizer, lambda: _render(tokenizer, messages, options, prompt=prompt))


def _render(
    tokenizer: Any, messages: Sequence[Message], options: Mapping[str, Any], *, prompt: bool
) -> str:
    try:
        return tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=prompt, **dict(options)
        )
    except MemoryError:
        raise
    except Exception as error:  # a template is a program: it may end in any way
        said = str(error) or type(error).__name__
        said = said if len(said) <= 300 else f"{said[:297]}..."
        raise DataError(f"the chat template refuses the conversation: {said}") from error


def _bounded(tokenizer: Any, work: Callable[[], Rendered]) -> Rendered:
    """What is rendered of one conversation, if it takes no more than one may.

    Raises:
        ModelError: It takes more.
    """
    try:
        return within_limits(work, seconds=RENDER_SECONDS, memory_bytes=RENDER_MEMORY_BYTES)
    except OutOfLimits as error:  # no row's fault, and the next one would take as long
        raise ModelError(
            f"the chat template of {tokenizer.name_or_path} cannot be rendered: {error}. Correct "
            "it in chat_template.jinja or tokenizer_config.json, or take another model"
        ) from error


_TAKES_PARTS: WeakKeyDictionary[Any, tuple[str, bool]] = WeakKeyDictionary()


def _as_the_template_takes(tokenizer: Any, messages: Sequence[Message]) -> Sequence[Message]:
    """Messages with contents as texts, or as lists of one part where the template knows only
    those.
    """
    template = str(tokenizer.chat_template)
    known = _TAKES_PARTS.get(tokenizer)
    if known is None or known[0] != template:
        known = _TAKES_PARTS[tokenizer] = (template, _takes_only_parts(tokenizer))
    if not known[1]:
        return messages
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message.get("content"), str)
        else message
        for message in messages
    ]


def _without_none(
    tokenizer: Any, messages: Sequence[Message], options: Mapping[str, Any]
) -> Sequence[Message]:
    """Messages as they are, but contents that are not there as empty texts where the template
    would write `None` for them.
    """
    if all(message.get("content") is not None for message in messages):
        return messages
    filled = [
        {**message, "content": ""} if message.get("content") is None else message
        for message in messages
    ]
    written, expected = (
        _render(tokenizer, turns, options, prompt=False).count("None")
        for turns in (messages, filled)
    )
    return messages if written <= expected else filled


def _takes_only_parts(tokenizer: Any) -> bool:
    """Whether a template loses a content that is text, and finds the text in a list of parts."""
    probe, options = "qzxv", _options(tokenizer, {})

    def renders(content: Any) -> str:
        try:
            turns = [{"role": "user", "content": content}]
            return _render(tokenizer, turns, options, prompt=False)
        except DataError:
            return ""

    if probe in renders(probe):
        return False
    rendered = renders([{"type": "text", "text": probe}])
    return probe in rendered and not re.search(r"[{\"\']type[\"\']", rendered)


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
