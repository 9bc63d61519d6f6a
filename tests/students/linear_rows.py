"""Made-up reviews for linear students: texts, labels, and what a teacher says of them."""

from __future__ import annotations

import numpy as np

from tutelage.data.examples.collate import EncodedSet
from tutelage.students.classifier.linear.ngrams import NGrams

LABELS = ("bad", "fair", "good")
GOOD, BAD, FILLER = ("great", "lovely"), ("awful", "broken"), ("the", "a", "phone", "it", "was")


def texts_of(count: int, *, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    words = [*GOOD, *BAD, *FILLER, *FILLER]
    return [" ".join(draw.choice(words, size=draw.integers(3, 9))) for _ in range(count)]


def soft_targets(texts: list[str]) -> np.ndarray:
    """A teacher that counts words, and is never quite sure."""
    score = np.array(
        [sum(word in GOOD for word in text.split()) - sum(word in BAD for word in text.split())
         for text in texts]
    )  # fmt: skip
    logits = np.stack([-1.0 * score, np.full(len(texts), 0.5), 1.0 * score], axis=1)
    odds = np.exp(logits)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def encoded(ngrams: NGrams, texts: list[str], *, labelled: float = 0.5) -> EncodedSet:
    """The rows of some texts; of a part of them the label is known."""
    probs = soft_targets(texts)
    labels = probs.argmax(axis=1)
    labels[int(len(texts) * labelled) :] = -100
    return EncodedSet(ngrams(texts)["input_ids"], labels.astype(np.int64), probs)
