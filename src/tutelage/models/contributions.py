"""What each word of a text added to a classifier's scores, and texts without some of their words.

In: a text, and numbers of parts of it (tokens, n-grams) with their places. Out: the same numbers by
word. A word is a run of what is no space; of scripts that write no spaces, a character. Needs numpy
alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]
"""Begin and end in a text, in characters."""

_ALONE = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{_ALONE}]|[^\s{_ALONE}]+")


@dataclass(frozen=True, slots=True)
class Contributions:
    """The words of a text, and what each moved the score of each class by."""

    spans: list[Span]
    """Where the W words stand."""
    words: NDArray[np.float64]
    """What each added to the logit of each class, [W, C]; 0 for words that were not read."""
    logits: NDArray[np.float64]
    """Of the text, [C]."""
    baseline: NDArray[np.float64]
    """Logits where every word says nothing, [C]."""
    steps: int | None = None
    """Points of the path that gradients were taken at; None where there is no path."""

    @property
    def residual(self) -> NDArray[np.float64]:
        """What no word accounts for, [C]: 0 where an explanation is complete."""
        return self.logits - self.baseline - self.words.sum(axis=0)

    def pushes(self, label: int) -> NDArray[np.float64]:
        """How far each word moved one class against the mean of all classes, [W]."""
        return self.words[:, label] - self.words.mean(axis=1)


def word_spans(text: str) -> list[Span]:
    """Where the words of a text stand.

    Example:
        >>> word_spans(" Great fun!")
        [(1, 6), (7, 11)]
    """
    return [found.span() for found in WORD.finditer(text)]


def by_word(text: str, places: Sequence[Span], parts: NDArray[np.floating]) -> NDArray[np.float64]:
    """Numbers of parts of a text, summed by the word that each ends in, [W, C].

    Args:
        text: The text.
        places: Where each of P parts stands. One of spaces alone belongs to the word behind it
            (the last word where there is none); one that stands nowhere (an empty span) to none.
        parts: [P, C].
    """
    words = word_spans(text)
    sums = np.zeros((len(words), parts.shape[1]))
    owner = np.full(len(text), len(words) - 1)
    for index, (_, end) in reversed(list(enumerate(words))):
        owner[:end] = index
    for (begin, end), part in zip(places, parts, strict=True):
        if words and end > begin:
            last = begin + (len(text[begin:end].rstrip()) or end - begin)
            sums[owner[last - 1]] += part
    return sums


def without(text: str, words: Sequence[Span], dropped: Collection[int]) -> str:
    """A text without some of its words, and without the space that stood before each of them.

    Example:
        >>> without("not so bad", [(0, 3), (4, 6), (7, 10)], {1})
        'not bad'
    """
    kept, place = [], 0
    for index, (_, end) in enumerate(words):
        if index not in dropped:
            kept.append(text[place:end])
        place = end
    return "".join([*kept, text[place:]]).strip()
