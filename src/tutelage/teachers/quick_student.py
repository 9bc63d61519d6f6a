"""A student that is fitted in a second, to see which texts are worth a teacher's answer, and
whether more answers still help.

In: texts, and soft targets of some of them. Out: rough probabilities for all. It is ridge
regression of the soft targets on TF-IDF of n-grams, which asks nothing but scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIMENSIONS = 50
"""Numbers of a text in which near texts are alike."""
MOST_NGRAMS = 100_000
"""Of the texts, the commonest."""
_RIDGE = 0.3
_LEAST = 1e-3
"""The least probability that it gives."""


class QuickStudent:
    """Texts as it reads them; see `fit`.

    Args:
        pool: N texts that may be labelled.
        judged: M others by which it is judged.
    """

    def __init__(self, pool: Sequence[str], judged: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        # N-grams of words, a sign of its own being one, so that every text has some.
        vectorizer = TfidfVectorizer(
            token_pattern=r"\w+|[^\w\s]",
            ngram_range=(1, 2),
            sublinear_tf=True,
            max_features=MOST_NGRAMS,
        )
        self._pool: Any = vectorizer.fit_transform(pool)
        self._judged: Any = vectorizer.transform(judged) if judged else None

    def vectors(self, *, seed: int = 0) -> NDArray[np.float64]:
        """The texts of the pool as `choose_rows` wants them, [N, D], D at most `DIMENSIONS`."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.preprocessing import normalize

        dimensions = min(DIMENSIONS, min(self._pool.shape) - 1)
        if dimensions < 1:
            return self._pool.toarray()
        found = TruncatedSVD(dimensions, random_state=seed % 2**32).fit_transform(self._pool)
        return np.asarray(normalize(found))

    def fit(
        self, places: ArrayLike, targets: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """What it says after it has learned from some texts.

        Args:
            places: K places in the pool, at least one.
            targets: Their soft targets, [K, C].

        Returns:
            Probabilities for the pool [N, C], and for the texts that judge [M, C]; None where there
            are none.
        """
        from sklearn.linear_model import Ridge

        known = self._pool[np.asarray(places, dtype=np.int64)]
        fitted = Ridge(alpha=_RIDGE, solver="lsqr", tol=1e-3).fit(known, np.asarray(targets))

        def answer(features: Any) -> NDArray[np.float64]:
            probs = np.clip(fitted.predict(features), _LEAST, None)
            return probs / probs.sum(axis=1, keepdims=True)

        return answer(self._pool), None if self._judged is None else answer(self._judged)
