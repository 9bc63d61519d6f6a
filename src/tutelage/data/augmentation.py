"""More texts for the teacher to label, made from the texts there are."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from hashlib import blake2b

_TRIES = 4
"""Draws for one copy before it is given up; short texts have few variants."""


def augment(
    texts: Sequence[str],
    *,
    copies: int,
    word_mask: float = 0.1,
    ngram: float = 0.25,
    ngram_min: int = 1,
    ngram_max: int = 5,
    mask_token: str = "[MASK]",
    seed: int = 0,
) -> list[str]:
    """Make new texts by masking words and by cutting out n-grams.

    The new texts need not read well: the teacher labels them, so they only have to show where its
    probabilities change when a word is gone or a phrase stands alone.

    Args:
        texts: The texts to start from; words are what space separates.
        copies: How many new texts to try to make from each text.
        word_mask: The probability that a word becomes `mask_token`, 0 to 1.
        ngram: The probability that the (masked) text is cut down to one run of its words, 0 to 1.
        ngram_min: The fewest words of such a run.
        ngram_max: The most words of such a run.
        mask_token: What a masked word becomes.
        seed: Chooses words and runs. What comes from a text depends on the seed and that text, not
            on its neighbours, unless a neighbour gave the same new text first.

    Returns:
        At most `copies` new texts for each text, in the order of the texts. None of them is one of
        `texts` (also when spaces are set aside), none is there twice, and each has at least one
        word that is not masked.

    Raises:
        ValueError: A number is out of its range.

    Source: Tang et al. 2019 (arXiv:1903.12136), on data augmentation for distillation. Their
        replacement of words by others of the same part of speech is left out, since it needs a
        tagger.
    """
    if (
        copies < 1
        or not 1 <= ngram_min <= ngram_max
        or not 0 <= word_mask <= 1
        or not 0 <= ngram <= 1
    ):
        raise ValueError(
            f"copies={copies}, word_mask={word_mask}, ngram={ngram}, ngram_min={ngram_min}, "
            f"ngram_max={ngram_max}; "
            f"expected copies >= 1, 1 <= ngram_min <= ngram_max, and probabilities from 0 to 1"
        )
    seen = {" ".join(text.split()) for text in texts}
    made: list[str] = []
    for text in dict.fromkeys(texts):
        draws = _draws(
            text.split(), _random(text, seed), word_mask, ngram, (ngram_min, ngram_max), mask_token
        )
        wanted = copies
        for _ in range(copies * _TRIES):
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


def _draws(
    words: list[str],
    draw: random.Random,
    word_mask: float,
    ngram: float,
    ngram_range: tuple[int, int],
    mask_token: str,
) -> Iterator[str]:
    """New texts without end; an empty one where all words of a draw were masked."""
    while True:
        new = [mask_token if draw.random() < word_mask else word for word in words]
        if draw.random() < ngram:
            length = min(draw.randint(*ngram_range), len(new))
            start = draw.randint(0, len(new) - length)
            new = new[start : start + length]
        yield " ".join(new) if any(word != mask_token for word in new) else ""
