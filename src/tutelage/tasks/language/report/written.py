"""What a teacher wrote that students learned as text: how many answers, why others were left out,
some of both. Facts of evaluation.json in, words out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tutelage.report import formats
from tutelage.report.measures import Evaluation

ANSWER_CHARACTERS = 1200
_PARTS = {"train": "learned", "validation": "choosing the best moment", "test": "judging"}


@dataclass(frozen=True)
class Shown:
    """One answer."""

    prompt: str
    """What was asked."""
    answer: str
    """What the teacher wrote; empty where it is no answer."""
    left_out: str
    """Why nothing is learned from it; empty where it is kept."""


@dataclass(frozen=True)
class Written:
    """All that the page says of answers."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    """Name and value."""
    left_out: list[tuple[str, int]] = field(default_factory=list)
    """Why answers were left out, and how many."""
    shown: list[Shown] = field(default_factory=list)
    """Some that are learned."""
    shown_left_out: list[Shown] = field(default_factory=list)
    """Some that are not."""


def written_of(evaluation: Evaluation) -> Written | None:
    """What is said of answers; None where the teacher wrote none."""
    told = evaluation.get("targets") or {}
    if told.get("kind") != "text":
        return None
    parts, options = told.get("parts") or {}, told.get("options") or {}
    facts = [
        (
            f"Answers for {_PARTS.get(part, part)}",
            f"{formats.count(own['kept'])} of {formats.count(own['asked'])} to "
            f"{formats.plural(own['prompts'], f'{part} prompt')}",
        )
        for part, own in sorted(parts.items(), key=lambda item: list(_PARTS).index(item[0]))
    ]
    setting = ", ".join(
        f"{name} {' '.join(value) if isinstance(value, (list, tuple)) else value}"
        for name, value in options.items()
    )
    facts += [("Setting", setting)] if setting else []
    return Written(
        facts=facts,
        left_out=list(left_out(parts).items()),
        shown=[_shown(one) for one in told.get("shown") or []],
        shown_left_out=[_shown(one) for one in told.get("shown_left_out") or []],
    )


def left_out(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Why answers of all parts were left out, and how many, the most frequent reason first."""
    total: dict[str, int] = {}
    for own in parts.values():
        for why, number in (own.get("left_out") or {}).items():
            total[why] = total.get(why, 0) + number
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def written_sentence(evaluation: Evaluation) -> str:
    """How many answers are learned and how many were left out; empty where there are none."""
    written, told = written_of(evaluation), evaluation.get("targets") or {}
    if written is None:
        return ""
    train = told["parts"]["train"]
    said = (
        f"Students learned {formats.plural(train['kept'], 'answer')} that the teacher wrote to "
        f"{formats.plural(train['prompts'], 'prompt')}, as text"
    )
    why = ", ".join(f"{formats.count(number)} {why}" for why, number in written.left_out)
    return f"{said}; left out of all that were asked for: {why}." if why else f"{said}."


def _shown(one: Mapping[str, Any]) -> Shown:
    return Shown(
        prompt=formats.shortened(str(one.get("prompt", "")), ANSWER_CHARACTERS),
        answer=formats.shortened(str(one.get("answer", "")), ANSWER_CHARACTERS),
        left_out=str(one.get("left_out") or ""),
    )
