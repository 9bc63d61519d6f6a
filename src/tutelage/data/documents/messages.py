"""Messages of a conversation: what keeps them from being one, and contents that are lists of parts.

In: values as a data file has them. Out: a problem in words, or messages whose contents are texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.data.rows import is_missing, is_whole, shown

Message = Mapping[str, Any]
"""A turn: `role`, `content`, and whatever else the template reads (`tool_calls`, `name`, ...)."""


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
        if isinstance(content, list) and (wrong := _parts_problem(content)) is not None:
            return f"{wrong} in message {number}; expected text, or parts {{type: text, text: ...}}"
        if (content is None or message["role"] == "assistant") and not _says_something(message):
            role = message["role"][:20]
            return f"has nothing in message {number}, of the {role}; delete the row or fill it in"
    if not is_whole(json.dumps(value, ensure_ascii=False, default=repr)):
        return (
            "holds half of a character (a lone surrogate): a text was cut inside it; write it again"
        )
    return None


def _parts_problem(parts: Sequence[Any]) -> str | None:
    """What keeps a list of parts from being text."""
    if not parts:
        return "has no part"
    for number, part in enumerate(parts, start=1):
        if not isinstance(part, Mapping):
            return f"has as part {number} {shown(part)} ({type(part).__name__})"
        if part.get("type") != "text":
            return f"has a part of type {shown(part.get('type'))} (part {number})"
        if not isinstance(part.get("text"), str):
            return f"has {shown(part.get('text'))} as text of part {number}"
    return None


def with_joined_parts(messages: Sequence[Message]) -> list[Message]:
    """Messages whose contents are texts: the parts of each, which `messages_problem` has found to
    be text, follow each other.
    """
    return [
        {**message, "content": "".join(part["text"] for part in message["content"])}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def transcript(messages: Sequence[Message]) -> str:
    """Messages as one text for people: of a single one of the user what it says, otherwise each
    with its role. Different messages make different texts.

    Args:
        messages: With contents as texts, see `with_joined_parts`.

    Example:
        >>> turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
        >>> print(transcript(turns))
        user: Hi
        assistant: Yes?
    """
    said = []
    for message in messages:
        others = {key: value for key, value in message.items() if key not in ("role", "content")}
        told = f" {json.dumps(others, ensure_ascii=False, sort_keys=True)}" if others else ""
        content = message.get("content") or ""
        if len(messages) == 1 and message["role"] == "user" and not others:
            return content
        said.append(f"{message['role']}{told}: {content}".replace("\n", "\n  "))
    return "\n".join(said)


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
    texts = [part["text"] for part in content] if isinstance(content, list) else [content]
    return any(text.strip() for text in texts if text) or any(others.values())
