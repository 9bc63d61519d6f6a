"""Which n-grams there are in some texts; how texts are read with them is in
`tutelage_runtime.ngrams`.

In: texts. Out: a vocabulary. Needs scikit-learn; reading with a vocabulary does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage_runtime.ngrams import UNKNOWN, NGrams

__all__ = ["UNKNOWN", "NGrams", "find_ngrams"]


def find_ngrams(
    texts: Iterable[str], reading: Mapping[str, Any], *, fewest_texts: int, most: int
) -> NGrams:
    """The vocabulary of some texts.

    Args:
        texts: N texts.
        reading: The options of `NGrams` that say how texts are read.
        fewest_texts: Texts that an n-gram must stand in.
        most: The most n-grams of words, and of characters; the commonest stay.

    Raises:
        DataError: There is no such n-gram.
    """
    empty = NGrams([], [], **reading)
    split = [empty.split(text) for text in texts]
    found = [
        _counted(split, grams, fewest_texts=fewest_texts, most=most)
        for grams in (empty.grams_of_words, empty.grams_of_characters)
    ]
    (words, word_scale), (characters, character_scale) = found
    if not words and not characters:
        raise DataError(
            f"no n-gram stands in {fewest_texts} of the {len(split):,} texts, so there is nothing "
            "to give weights to: lower min_texts, or give more texts"
        )
    scale = np.concatenate([[0.0], word_scale, character_scale])
    return NGrams(words, characters, **reading, scale=scale)


def _counted(
    split: Sequence[list[str]],
    grams: Callable[[list[str]], list[str]],
    *,
    fewest_texts: int,
    most: int,
) -> tuple[list[str], NDArray[np.float64]]:
    """The n-grams of one sort, and their inverse document frequencies."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if fewest_texts > len(split):
        return [], np.zeros(0)
    analyzer: Any = grams
    vectorizer = TfidfVectorizer(analyzer=analyzer, min_df=fewest_texts, max_features=most)
    try:
        vectorizer.fit(split)
    except ValueError:  # nothing stands in so many texts
        return [], np.zeros(0)
    return list(vectorizer.get_feature_names_out()), np.asarray(vectorizer.idf_, dtype=np.float64)
