"""Which words of a text moved a student's answer: each is left out once (occlusion).

In: a text and a student. Out: its answer, and for each word how much less probable the answer is
without it. All texts that this takes go through the student together.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tutelage_runtime.serving.limits import Limits, require_text
from tutelage_runtime.serving.protocols.shapes import best, maybe_string, required, string
from tutelage_runtime.serving.students import Roster
from tutelage_runtime.student import Answers

MOST_WORDS = 128
"""That are left out in turn; of longer texts the first ones."""
MOST_CHARACTERS = 4_000
"""Of a text that is explained, since it is read once for every word."""
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def read(body: Mapping[str, Any], limits: Limits) -> tuple[str, str | None]:
    """The text of a body, and the student that it names.

    Raises:
        Refusal: 422 for another shape, and for a text that is too long.
    """
    text = string(required(body, "text"), ("text",))
    narrow = replace(limits, text_characters=min(limits.text_characters, MOST_CHARACTERS))
    return require_text(text, narrow, ("text",)), maybe_string(body.get("student"), ("student",))


async def explain(text: str, name: str | None, roster: Roster) -> dict[str, Any]:
    """The answer of a student, and what each word did to it.

    Returns:
        `{student, label, labels, probs, words: [{start, end, change}], cut}`; `start` and `end`
        count characters, `change` is the probability of the answer minus that without the word.
    """
    served = roster.named(name)
    found = await occlusions(text, served.batcher.answer)
    labels = served.asked.labels
    probs = found.probs[0].tolist()
    place = best(probs)
    spans = word_spans(text)
    changes = (found.probs[0, place] - found.probs[1:, place]).tolist()
    return {
        "student": served.asked.model,
        "label": labels[place],
        "labels": list(labels),
        "probs": probs,
        "words": [
            {"start": start, "end": end, "change": change}
            for (start, end), change in zip(spans[:MOST_WORDS], changes, strict=True)
        ],
        "cut": len(spans) > MOST_WORDS,
    }


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where words stand."""
    return [found.span() for found in _WORD.finditer(text)]


async def occlusions(text: str, answer: Callable[[Sequence[str]], Awaitable[Answers]]) -> Answers:
    """Answers to the text, and to it without each of its first words."""
    spans = word_spans(text)[:MOST_WORDS]
    return await answer([text, *(text[:start] + text[end:] for start, end in spans)])
