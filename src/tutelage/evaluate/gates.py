"""What decides beside the threshold: how sure an answer is, and whether a text is new.

Both are fitted to training and validation rows, never to the rows that certify, so that a
certificate may take them as given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tutelage_runtime.certificate import Score, evidence
from tutelage_runtime.novelty import Novelty, unit_length

NEIGHBOURS = 10
MOST_REFERENCES = 1000
"""Training rows that a novelty gate keeps: 2 MB at 512 features, and half a million products for a
text."""
FALSE_ALARMS = 0.01
"""Share of validation rows that a novelty gate calls new."""
FOLDS, REPEATS = 5, 4
"""Of the cross-validation that says whether a fitted score is better than the probability."""
PENALTY = 0.3
"""C of the logistic regression, on standardised evidence."""
FEWEST_OF_A_KIND = 10
"""Agreements, and disagreements, from which a score is fitted."""


def fit_score(probs: NDArray[np.floating], disagreed: NDArray[np.bool_], *, share: float) -> Score:
    """How sure a student's answers are, from validation rows: a logistic model of agreement where,
    by cross-validation on them, it lets more rows be answered than the probability does.

    Args:
        probs: [m, C] of validation rows.
        disagreed: [m], whether the student disagrees on each.
        share: The share of disagreements over all rows at which the two are compared.

    Returns:
        The better of the two; the probability where there are too few disagreements to fit.
    """
    plain = Score()
    if min(disagreed.sum(), (~disagreed).sum()) < FEWEST_OF_A_KIND:
        return plain
    known = evidence(probs)
    random = np.random.default_rng(0)
    gained = []
    for _ in range(REPEATS):
        folds = random.permutation(len(probs)) % FOLDS
        fitted = np.empty(len(probs))
        for fold in range(FOLDS):
            held = folds == fold
            if not disagreed[~held].any():
                return plain
            fitted[held] = _logistic(known[~held], disagreed[~held]).of(probs[held])
        gained.append(
            answered_at(fitted, disagreed, share=share)
            - answered_at(plain.of(probs), disagreed, share=share)
        )
    return _logistic(known, disagreed) if np.mean(gained) > 0 else plain


def answered_at(
    scores: NDArray[np.float64], disagreed: NDArray[np.bool_], *, share: float
) -> float:
    """The largest share of rows, the surest first, that can be answered while at most `share` of
    all rows are disagreed on; estimated, not certified.
    """
    order = np.argsort(-scores, kind="stable")
    wrong = np.cumsum(disagreed[order])
    return float((wrong <= share * len(scores)).mean())


def _logistic(known: NDArray[np.float64], disagreed: NDArray[np.bool_]) -> Score:
    """A logistic model of agreement, its weights those of evidence that is not standardised."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-9)
    model = LogisticRegression(C=PENALTY, max_iter=1000).fit((known - mean) / spread, ~disagreed)
    weights = model.coef_[0] / spread
    return Score((*map(float, weights), float(model.intercept_[0] - weights @ mean)))


def fit_novelty(
    training: NDArray[np.floating],
    answers: NDArray[np.integer],
    validation: NDArray[np.floating],
    *,
    seed: int = 0,
) -> Novelty:
    """A gate for texts unlike the training rows, that calls one validation row in a hundred new.

    Of many training rows some are kept, an equal share of each class first, so that rare classes
    are known.

    Args:
        training: [n, D] features of training rows.
        answers: [n], the class that the student gives each.
        validation: [m, D] features of validation rows, which the student was not trained on:
            training rows lie closer to each other than any new text does.
        seed: Of the choice.
    """
    kept = _spread_over(answers, np.random.default_rng(seed))
    reference = unit_length(training[kept])
    neighbours = min(NEIGHBOURS, len(reference))
    distances = Novelty(reference, neighbours, 0.0).distances(validation)
    threshold = float(np.quantile(distances, 1 - FALSE_ALARMS, method="higher"))
    return Novelty(reference, neighbours, threshold)


def _spread_over(
    answers: NDArray[np.integer], random: np.random.Generator
) -> NDArray[np.integer] | Sequence[int]:
    """Rows to keep, at most `MOST_REFERENCES`, by their place."""
    rows = random.permutation(len(answers))
    if len(rows) <= MOST_REFERENCES:
        return np.sort(rows)
    # The how-manieth of its class a row is; those that come early in every class are kept.
    order = np.argsort(answers[rows], kind="stable")
    sizes = np.unique(answers[rows][order], return_counts=True)[1]
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.concatenate([np.arange(size) for size in sizes])
    return np.sort(rows[np.argsort(rank, kind="stable")[:MOST_REFERENCES]])
