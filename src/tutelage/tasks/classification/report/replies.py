"""How the answers of a teacher came about, as the page tells it: of a server, of a file, of each
member of an ensemble; and which texts it was asked about.

In: provenance.json, whose `answers` only runs have with such teachers, or with a section `label`.
Out: what the template places: pairs of a name and a value, some of the replies that were no answer,
and the rounds in which texts were chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tutelage.report import formats
from tutelage.teachers.choosing import NOT_CHOSEN

_WORDS = {
    "refused": "declined by the model",
    "empty": "empty",
    "unparsable": "not understood",
    "truncated": "cut off",
    "wrong_shape": "no distribution over the labels",
    "rejected": "request rejected by the server",
    "over budget": "not asked: the budget was spent",
    "not recorded": "no answer was recorded",
    NOT_CHOSEN: "not asked about: others were chosen",
}
"""Why a text has no soft targets."""
_TERMS = {
    "allowed": "allow training on answers, as the recipe says",
    "unknown": "not known to allow training on answers, as the recipe says",
    "own server": "a server of one's own",
}


_CHOSEN_BY = {
    "random": "at random",
    "uncertain": "where a quick student hesitated most",
    "diverse": "so that they are unlike each other",
    "mixed": "unlike each other, and where a quick student hesitated",
}


@dataclass(frozen=True)
class Chosen:
    """Which texts the teacher was asked about."""

    sentence: str
    """How many of how many, by which rule."""
    ended: str
    """That it stopped before the limit, and why; empty where it did not."""
    rounds: list[tuple[str, str, str, str]]
    """Of each round: texts so far; agreement, its interval, and distance; empty where they are not
    known."""


@dataclass(frozen=True)
class Replies:
    """What is said of them."""

    name: str = ""
    """The member that gave them; empty for the teacher itself."""
    facts: list[tuple[str, str]] = field(default_factory=list)
    """Name and value."""
    notes: list[str] = field(default_factory=list)
    """Sentences that qualify the soft targets."""
    left_out: list[tuple[str, int]] = field(default_factory=list)
    """Why texts were left out, and how many."""
    shown: list[dict[str, str]] = field(default_factory=list)
    """Some of them: text, reason, reply."""
    members: list[Replies] = field(default_factory=list)
    """What is said of each member that tells."""
    chosen: Chosen | None = None
    """Which texts were asked about; None: all."""


def replies_of(provenance: Mapping[str, Any]) -> Replies | None:
    """What the page says of replies; None where the teacher gave none."""
    told = provenance.get("answers")
    if not isinstance(told, Mapping):
        return None
    return _said(told, provenance.get("teacher") or {})


def _said(told: Mapping[str, Any], teacher: Mapping[str, Any], *, name: str = "") -> Replies:
    reasons = {_WORDS.get(why, str(why)): n for why, n in (told.get("unanswered") or {}).items()}
    return Replies(
        name=name,
        facts=[(name, value) for name, value in _facts(told, teacher) if value],
        notes=_notes(told),
        left_out=list(reasons.items()),
        shown=[
            {key: str(one.get(key, "")) for key in ("text", "reply")}
            | {"reason": _WORDS.get(one.get("reason", ""), str(one.get("reason", "")))}
            for one in told.get("unanswered_shown") or []
        ],
        members=[
            _said(one, one, name=member) for member, one in (told.get("members") or {}).items()
        ],
        chosen=_chosen(told["chosen"]) if told.get("chosen") else None,
    )


def _chosen(told: Mapping[str, Any]) -> Chosen:
    asked, texts, rounds = told["asked"], told["texts"], told["rounds"]
    number = len(rounds)
    rule = _CHOSEN_BY.get(told["choose"], str(told["choose"]))
    ended = ""
    if told["stopped_early"]:
        most = formats.percent(rounds[-1]["left_at_most"])
        left = min(told["limit"], texts) - asked
        ended = (
            f"Labelling stopped early: by the upper end of the last round’s interval, "
            f"{formats.plural(left, 'text')} more would have brought the quick student at most "
            f"{most} nearer to the teacher."
        )
    return Chosen(
        sentence=(
            f"The teacher was asked about {formats.count(asked)} of "
            f"{formats.plural(texts, 'text')} to learn from, chosen {rule}, in "
            f"{formats.plural(number, 'round')}, and about all texts that judge."
        ),
        ended=ended,
        rounds=[_round(one) for one in rounds],
    )


def _round(told: Mapping[str, Any]) -> tuple[str, str, str, str]:
    agreed, distance = told["agreement"], told["distance"]
    return (
        formats.count(told["asked"]),
        "" if agreed is None else formats.percent(agreed["value"]),
        "" if agreed is None else formats.bracket(agreed, scale=100),
        "" if distance is None else formats.decimal(distance),
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
    recorded = told.get("recorded") or {}
    return [
        # Of the teacher itself the page says it elsewhere.
        ("Teacher", str(told.get("description") or "")),
        ("Texts with an answer", formats.count(told.get("answers") or 0) if recorded else ""),
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
