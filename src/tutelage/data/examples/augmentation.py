"""More texts for the teacher to label, made from the texts there are."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated

from annotated_types import Ge, Le, MinLen

from tutelage.config.ranges import check_options

_TRIES = 4
"""Draws for one copy before it is given up; short texts have few variants."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """More texts for the teacher to label, made from the training texts by masking words and taking
    n-grams.
    """

    copies: Annotated[int, Ge(1), Le(1_000)]
    """How many new texts to try to make from each training text."""

    word_mask: Annotated[float, Ge(0), Le(1)] = 0.1
    """The probability that a word is replaced by `mask_token`."""

    ngram: Annotated[float, Ge(0), Le(1)] = 0.25
    """The probability that a new text is cut down to one n-gram of its words."""

    ngram_min: Annotated[int, Ge(1)] = 1
    """The fewest words of such an n-gram."""

    ngram_max: Annotated[int, Ge(1)] = 5
    """The most words of such an n-gram."""

    mask_token: Annotated[str, MinLen(1)] = "[MASK]"
    """What a masked word becomes."""

    def __post_init__(self) -> None:
        check_options(self)

    def check_together(self) -> None:
        """Refuse n-grams of no length, and options that make no new text."""
        if self.ngram_min > self.ngram_max:
            raise ValueError(
                f"ngram_min ({self.ngram_min}) is above ngram_max ({self.ngram_max}); exchange them"
            )
        if self.word_mask == 0 and self.ngram == 0:
            raise ValueError(
                "word_mask and ngram are both 0, so no new text can be made; raise one or drop "
                "`augment`"
            )


def augment(texts: Sequence[str], how: Augmentation, *, seed: int = 0) -> list[str]:
    """Make new texts by masking words and by cutting out n-grams.

    The new texts need not read well: the teacher labels them, so they only have to show where its
    probabilities change when a word is gone or a phrase stands alone.

    Args:
        texts: The texts to start from; words are what space separates.
        how: How many, and how far from them.
        seed: Chooses words and runs. What comes from a text depends on the seed and that text, not
            on its neighbours, unless a neighbour gave the same new text first.

    Returns:
        At most `how.copies` new texts for each text, in the order of the texts. None of them is
        one of `texts` (also when spaces are set aside), none is there twice, and each has at least
        one word that is not masked.

    Source: Tang et al. 2019 (arXiv:1903.12136), on data augmentation for distillation. Their
        replacement of words by others of the same part of speech is left out, since it needs a
        tagger.
    """
    seen = {" ".join(text.split()) for text in texts}
    made: list[str] = []
    for text in dict.fromkeys(texts):
        draws = _draws(text.split(), _random(text, seed), how)
        wanted = how.copies
        for _ in range(how.copies * _TRIES):
            new = next(draws)
            if new and new not in seen:
                seen.add(new)
                made.append(new)
                wanted -= 1
            if not wanted:
                break
    return made


def _random(text: str, seed: int) -> random.Random:
    digest = blake2b(text.encode("utf-8"), digest_size=16, key=f"augment {seed}".encode()).digest()
    return random.Random(int.from_bytes(digest))


def _draws(words: list[str], draw: random.Random, how: Augmentation) -> Iterator[str]:
    """New texts without end; an empty one where all words of a draw were masked."""
    while True:
        new = [how.mask_token if draw.random() < how.word_mask else word for word in words]
        if draw.random() < how.ngram:
            length = min(draw.randint(how.ngram_min, how.ngram_max), len(new))
            start = draw.randint(0, len(new) - length)
            new = new[start : start + length]
        yield " ".join(new) if any(word != how.mask_token for word in new) else ""
