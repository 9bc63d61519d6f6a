"""Logs of calls of an API as answers: what was asked and what came back, one call a row.

In: rows with a request and a reply (`request` and `response`, `input` and `output`), or lines of a
batch's output beside the file of its requests. Out: for each call that was answered a number for
each label. Replies are read by the readers of `teachers.api.protocols`, so a log says what the
call said.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.data.formats import read_rows
from tutelage.data.limits import ReadingLimits
from tutelage.data.rows import Problems, is_missing, shown, text_usable
from tutelage.teachers.api.protocol import Answer, BadAnswer
from tutelage.teachers.recorded.cells import Numbers, TextRow
from tutelage.teachers.recorded.layout import Layout

_WHERE_TEXT_IS = ("input", "state", "messages", "prompt")
"""Keys of a request that hold what was asked about, of every protocol."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What a log says."""

    numbers: Numbers
    """Distributions, or votes."""
    are_votes: bool
    """Whether no reply tells probabilities, so that each is counted."""
    notes: list[str]


def read_calls(
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    layout: Layout,
    labels: Sequence[str] | None,
    problems: Problems,
    *,
    text_field: str,
    template: str | None,
    requests: Path | None,
    smoothing: float,
    limits: ReadingLimits,
) -> Calls | None:
    """The answers in a log.

    Args:
        rows: Number and cells of each.
        layout: Which columns hold the question and the reply.
        labels: In the order that is wanted; None: the options of the first choice.
        problems: Takes what is wrong.
        text_field: A column that holds the text itself, where there is one.
        template: What stands around the text in a message; None: nothing.
        requests: Of a batch the file of its requests.
        smoothing: Of votes that stand beside probabilities.
        limits: How large the file of requests may be.

    Returns:
        The calls; None where nobody can know what was asked or which labels there are.
    """
    assert layout.answer is not None
    asked = _asked(layout, requests, problems, limits)
    if asked is None and not any(text_field in cells for _, cells in rows):
        problems.add_file(
            "the replies of a batch say only the custom_id of what was asked; name the file of its "
            "requests: requests"
        )
        return None
    replies: list[tuple[TextRow, Mapping[str, Any]]] = []
    unanswered: Counter[str] = Counter()
    for number, cells in rows:
        question = cells.get(layout.question or "")
        if asked is not None and layout.question == "custom_id":
            if not isinstance(question, Hashable) or question not in asked:
                message = f"no request has the custom_id {shown(question)}"
                problems.add("without a request", number, message)
                continue
            question = asked[question]
        text = cells.get(text_field) or _text_in(question, template)
        if not text_usable(text, number, "the text of the request", problems):
            continue
        reply = _reply(cells.get(layout.answer))
        if reply is None:
            unanswered["rejected"] += 1
        else:
            replies.append((TextRow(number, text, {}), reply))
    names = tuple(labels) if labels is not None else _options(reply for _, reply in replies)
    if len(names) < 2:
        problems.add_file("no reply lists its options, so the labels are not known: give them")
        return None
    kept, values, votes = [], [], []
    for row, reply in replies:
        try:
            answer = read_answer(reply, names)
        except BadAnswer as error:
            if error.reason == "wrong_shape":
                problems.add("whose reply is not understood", row.number, str(error))
            else:
                unanswered[error.reason] += 1
            continue
        kept.append(row)
        values.append(answer.probs)
        votes.append(answer.votes)
    numbers = Numbers(
        names,
        kept,
        _together(np.array(values).reshape(len(kept), len(names)), np.array(votes), smoothing),
        unanswered.total(),
    )
    notes = [f"replies that are no answer: {_listed(unanswered)}"] if unanswered else []
    if any(votes):
        counted = sum(map(bool, votes))
        notes.append(f"{counted:,} replies tell no probabilities, so their answers are votes")
    return Calls(numbers, bool(votes) and all(votes), notes)


def read_answer(reply: Mapping[str, Any], labels: Sequence[str]) -> Answer:
    """The answer in the body of a reply, by the shape of it; votes are not smoothed.

    Raises:
        BadAnswer: There is none.
    """
    from tutelage.teachers.api.protocols import chat, classify, decisions, responses, systemone

    if isinstance(reply.get("answers"), Mapping):
        return systemone.read_reply(reply, labels)
    if "answers" in reply:
        return decisions.read_reply(reply, labels)
    if "choices" in reply:
        return chat.read_reply(reply, labels, smoothing=0.0)
    if "output" in reply:
        return chat.read_reply(responses.as_chat(reply), labels, smoothing=0.0)
    if "data" in reply:
        return classify.read_reply(reply, labels)
    raise BadAnswer(
        "wrong_shape",
        f"the reply is {shown(dict(reply))}; expected `answers` (a decision), `choices` (a chat), "
        "`output` (a response) or `data` (a classification)",
    )


def _together(
    values: NDArray[np.float64], votes: NDArray[np.int64], smoothing: float
) -> NDArray[np.float64]:
    """Votes where all are votes, otherwise distributions all, [N, C]."""
    if len(votes) and votes.all():
        return values * votes[:, None]
    mine = np.flatnonzero(votes)
    counts = values[mine] * votes[mine, None] + smoothing
    values[mine] = counts / counts.sum(axis=1, keepdims=True)
    return values


def _asked(
    layout: Layout, requests: Path | None, problems: Problems, limits: ReadingLimits
) -> dict[Any, Any] | None:
    """The requests of a batch by their number; empty where rows hold their own; None: not known."""
    if layout.question != "custom_id":
        return {}
    if requests is None:
        return None
    found = Problems(requests.name)
    rows = read_rows(requests, found, fields=("custom_id", "body"), limits=limits)
    for problem in found.listed():
        problems.add_file(str(problem))
    known = ((cells.get("custom_id"), cells.get("body")) for _, cells in rows.values)
    return {number: body for number, body in known if isinstance(number, Hashable)}


def _reply(cell: Any) -> Mapping[str, Any] | None:
    """The body of a reply; None: there is none, or the server would not answer."""
    cell = _parsed(cell)
    if isinstance(cell, list) and cell:
        return {"output": cell}  # of a response only its items
    if isinstance(cell, str) and cell.strip():
        return {"choices": [{"message": {"content": cell}, "finish_reason": "stop"}]}
    if not isinstance(cell, Mapping):
        return None
    body = _parsed(cell["body"]) if "body" in cell else cell
    status = cell.get("status_code", 200)
    usable = isinstance(body, Mapping) and not body.get("error") and not cell.get("error")
    return body if usable and status == 200 else None


def _text_in(question: Any, template: str | None) -> Any:
    """What was asked about: of a conversation its last message of the user."""
    question = _parsed(question)
    if isinstance(question, Mapping) and isinstance(question.get("body"), Mapping):
        question = question["body"]
    if isinstance(question, Mapping):
        question = next((question[key] for key in _WHERE_TEXT_IS if key in question), None)
    if isinstance(question, list) and len(question) == 1 and isinstance(question[0], str):
        question = question[0]
    if isinstance(question, list):
        said = [one for one in question if isinstance(one, Mapping) and one.get("role") == "user"]
        question = said[-1].get("content") if said else None
    if isinstance(question, list):
        parts = [one.get("text") for one in question if isinstance(one, Mapping)]
        question = "".join(part for part in parts if isinstance(part, str))
    return _inside(question, template) if isinstance(question, str) else question


def _inside(message: str, template: str | None) -> str | None:
    """What stands in the place of {text}; None: the message was not made from the template."""
    if template is None:
        return message
    before, _, after = template.partition("{text}")
    start = message.find(before)
    end = len(message) - len(after)
    if start < 0 or not message.endswith(after) or start + len(before) > end:
        return None
    return message[start + len(before) : end]


def _options(replies: Any) -> tuple[str, ...]:
    """The options of the first choice."""
    for reply in replies:
        answers = reply.get("answers")
        answers = list(answers.values()) if isinstance(answers, Mapping) else answers
        for one in answers if isinstance(answers, list) else ():
            told = one.get("probabilities") if isinstance(one, Mapping) else None
            if isinstance(told, list):
                told = [entry.get("value") for entry in told if isinstance(entry, Mapping)]
            if not isinstance(told, (list, Mapping)):
                continue
            names = tuple(name for name in told if isinstance(name, str))
            if len(names) > 1:
                return names
    return ()


def _parsed(cell: Any) -> Any:
    """What a cell of text spells, if that is JSON."""
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("{", "["):
        return None if is_missing(cell) else cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
