"""How answers of a teacher behind an API came about, as the page tells it.

In: provenance.json, whose `answers` only runs with such teachers have. Out: what the template
places: pairs of a name and a value, and some of the replies that were no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tutelage.report import formats

_WORDS = {
    "refused": "declined by the model",
    "empty": "empty",
    "unparsable": "not understood",
    "truncated": "cut off",
    "wrong_shape": "no distribution over the labels",
    "rejected": "request rejected by the server",
    "over budget": "not asked: the budget was spent",
    "not recorded": "no answer was recorded",
}
"""Why a text has no soft targets."""
_TERMS = {
    "allowed": "allow training on answers, as the recipe says",
    "unknown": "not known to allow training on answers, as the recipe says",
    "own server": "a server of one's own",
}


@dataclass(frozen=True)
class Replies:
    """What is said of them."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    """Name and value."""
    notes: list[str] = field(default_factory=list)
    """Sentences that qualify the soft targets."""
    left_out: list[tuple[str, int]] = field(default_factory=list)
    """Why texts were left out, and how many."""
    shown: list[dict[str, str]] = field(default_factory=list)
    """Some of them: text, reason, reply."""


def replies_of(provenance: Mapping[str, Any]) -> Replies | None:
    """What the page says of replies; None where the teacher gave none."""
    told = provenance.get("answers")
    if not isinstance(told, Mapping):
        return None
    teacher = provenance.get("teacher") or {}
    reasons = {_WORDS.get(why, str(why)): n for why, n in (told.get("unanswered") or {}).items()}
    return Replies(
        facts=[(name, value) for name, value in _facts(told, teacher) if value],
        notes=_notes(told),
        left_out=list(reasons.items()),
        shown=[
            {key: str(one.get(key, "")) for key in ("text", "reply")}
            | {"reason": _WORDS.get(one.get("reason", ""), str(one.get("reason", "")))}
            for one in told.get("unanswered_shown") or []
        ],
    )


def _facts(told: Mapping[str, Any], teacher: Mapping[str, Any]) -> list[tuple[str, str]]:
    models = told.get("models") or {}
    requests, cost = told.get("requests") or 0, told.get("cost")
    latency = told.get("latency_ms") or {}
    tokens = ", ".join(
        f"{formats.count(told.get(f'{key}_tokens') or 0)} {word}"
        for key, word in (("input", "read"), ("cached", "of them cached"), ("output", "written"))
        if told.get(f"{key}_tokens")
    )
    terms = str(teacher.get("terms") or "")
    return [
        ("Protocol", str(teacher.get("protocol") or "")),
        ("Address", str(teacher.get("base_url") or "")),
        ("Answered as", ", ".join(models) if len(models) < 2 else _counted(models)),
        ("Terms", _TERMS.get(terms, terms)),
        ("Requests", formats.count(requests) if requests else ""),
        ("Tokens", tokens),
        ("Cost", "" if cost is None else f"{cost:,.2f} $, {_per_thousand(cost, told)}"),
        (
            "Time of a reply",
            f"{formats.milliseconds(latency['p50'])} median, "
            f"{formats.milliseconds(latency['p95'])} for 95 of 100, "
            f"with up to {told.get('concurrency', 1)} under way"
            if latency
            else "",
        ),
    ]


def _per_thousand(cost: float, told: Mapping[str, Any]) -> str:
    answers = max(1, told.get("answers") or 0)
    return f"{1000 * cost / answers:,.2f} $ for 1,000 answers"


def _counted(models: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({formats.count(number)})" for name, number in models.items())


def _notes(told: Mapping[str, Any]) -> list[str]:
    notes = []
    if len(told.get("models") or {}) > 1:
        notes.append("The server changed its model under way, and the recipe accepts both.")
    if votes := told.get("votes"):
        notes.append(
            f"The soft targets are votes: {votes} answers were drawn for each text and counted, "
            "with smoothing. They are coarser than a model’s own probabilities."
        )
    if (mass := told.get("label_mass")) is not None:
        notes.append(
            f"On average {formats.percent(mass)} of the model’s probability fell on labels; the "
            "soft targets are its shares among them."
        )
    if (most := told.get("unlisted_most") or 0.0) > 0:
        notes.append(
            "The server lists its likeliest tokens only. Labels that it did not list can have at "
            f"most {formats.percent(told.get('unlisted_mean') or 0.0)} of the probability together "
            f"on average, {formats.percent(most)} at worst; half of that bound was assumed."
        )
    return notes
