"""What several teachers say, made into one distribution: how, with which weights, and where they
part.

In: class probabilities of K members on the same B rows, [K, B, C]. Out: one distribution a row;
weights that fit gold labels; how far the members are apart. Plain numpy, no files, no models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import ShapeMismatch

Combine = Literal["mixture", "log_mean"]
"""How distributions become one."""

FLOOR = 1e-6
"""The least probability whose logarithm is averaged: one member that is sure of a mistake cannot
forbid a class for all."""

_SMALLEST = 1e-12
_STEPS = 5_000
_GAP = 1e-7
"""Nats that fitted weights may be above the best there are."""


def mix(probs: ArrayLike, weights: ArrayLike, *, combine: Combine = "mixture") -> NDArray:
    """One distribution a row of what several members say.

    Args:
        probs: Class probabilities [K, B, C].
        weights: One a member [K], none negative; they are normalised.
        combine: `mixture`: the weighted mean of the probabilities, which keeps what any member
            finds possible. `log_mean`: the weighted mean of their logarithms, floored at `FLOOR`
            and renormalised, which is surer where members agree.

    Returns:
        Float32 [B, C], each row summing to 1.

    Raises:
        ShapeMismatch: Not one weight a member.
        ValueError: A weight is negative or no number, or all are 0.

    Source: linear and logarithmic opinion pools, Genest and Zidek 1986.
    """
    values, shares = _checked(probs, weights)
    mixed = np.einsum("k,kbc->bc", shares, _terms(values, combine))
    if combine == "log_mean":
        mixed = np.exp(mixed - mixed.max(axis=1, keepdims=True))
    return (mixed / mixed.sum(axis=1, keepdims=True)).astype(np.float32)


def normalised(weights: Mapping[str, float] | None, names: Sequence[str]) -> NDArray[np.float64]:
    """Weights in the order of the members, summing to 1; None: all alike.

    Raises:
        ValueError: They are not about exactly these members, one is negative, or all are 0.
    """
    if weights is None:
        return np.full(len(names), 1.0 / len(names))
    if set(weights) != set(names):
        raise ValueError(
            f"weights are given for {', '.join(weights) or 'nobody'}; expected one for each of "
            f"{', '.join(names)}"
        )
    return _shares(np.array([weights[name] for name in names], dtype=np.float64))


def fit_weights(
    probs: ArrayLike, gold: ArrayLike, *, combine: Combine = "mixture"
) -> NDArray[np.float64]:
    """The weights under which the members together give gold labels the most probability.

    Minimises the mean negative log-likelihood over the simplex, which is convex for both ways to
    combine, by exponentiated gradient steps; the duality gap says when the best is reached to
    within 1e-7 nats.

    Args:
        probs: Class probabilities [K, B, C] on rows that no member was fitted on.
        gold: Label indexes [B].
        combine: As for `mix`.

    Returns:
        Weights [K], none negative, summing to 1; all alike where members say the same.

    Raises:
        ShapeMismatch: Not one label a row, or no row at all.

    Source: Kivinen and Warmuth 1997 (exponentiated gradient); the gap is that of Frank and Wolfe.
    """
    values, labels = np.asarray(probs, dtype=np.float64), np.asarray(gold, dtype=np.int64)
    if values.ndim != 3 or labels.shape != values.shape[1:2] or not labels.size:
        raise ShapeMismatch(
            f"probabilities of shape {values.shape} and labels of shape {labels.shape} were given; "
            "expected [K, B, C] and [B] with at least one row"
        )
    terms = _terms(values, combine)
    chosen = terms[:, np.arange(len(labels)), labels]
    weights = np.full(len(values), 1.0 / len(values))
    loss, slope = _loss(terms, chosen, weights, combine)
    rate = 1.0
    for _ in range(_STEPS):
        if weights @ slope - slope.min() < _GAP:
            break
        while True:
            scores = np.log(np.maximum(weights, 1e-300)) - rate * slope
            moved = np.exp(scores - scores.max())
            moved /= moved.sum()
            new_loss, new_slope = _loss(terms, chosen, moved, combine)
            if new_loss <= loss or rate < 1e-9:
                break
            rate /= 2
        if new_loss > loss:
            break
        weights, loss, slope, rate = moved, new_loss, new_slope, rate * 1.5
    return weights


def jensen_shannon(probs: ArrayLike, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """How far members are apart on each row: the entropy of their mixture less the mean of their
    entropies, in nats.

    Args:
        probs: Class probabilities [K, B, C].
        weights: One a member [K]; None: all alike.

    Returns:
        [B], from 0, where all say the same, to at most ln K.

    Source: Lin 1991, the generalised Jensen-Shannon divergence.
    """
    values = np.asarray(probs, dtype=np.float64)
    values, shares = _checked(values, np.ones(len(values)) if weights is None else weights)
    together = np.einsum("k,kbc->bc", shares, values)
    return np.maximum(_entropy(together) - np.einsum("k,kb->b", shares, _entropy(values)), 0.0)


def _entropy(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    return -(probs * np.log(np.maximum(probs, _SMALLEST))).sum(axis=-1)


def _terms(probs: NDArray[np.float64], combine: Combine) -> NDArray[np.float64]:
    """What is averaged."""
    return probs if combine == "mixture" else np.log(np.maximum(probs, FLOOR))


def _loss(
    terms: NDArray[np.float64],
    chosen: NDArray[np.float64],
    weights: NDArray[np.float64],
    combine: Combine,
) -> tuple[float, NDArray[np.float64]]:
    """Mean negative log-likelihood, and its slope in each weight."""
    ours = weights @ chosen
    if combine == "mixture":
        ours = np.maximum(ours, _SMALLEST)
        return float(-np.log(ours).mean()), -(chosen / ours).mean(axis=1)
    scores = np.einsum("k,kbc->bc", weights, terms)
    scores -= (top := scores.max(axis=1, keepdims=True))
    total = np.exp(scores).sum(axis=1)
    expected = np.einsum("bc,kbc->kb", np.exp(scores) / total[:, None], terms)
    loss = (np.log(total) + top[:, 0] - ours).mean()
    return float(loss), (expected - chosen).mean(axis=1)


def _shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise ValueError(
            f"the weights are {weights.tolist()}; expected numbers of at least 0, not all of them 0"
        )
    return weights / weights.sum()


def _checked(
    probs: ArrayLike, weights: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, shares = np.asarray(probs, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if values.ndim != 3 or shares.shape != values.shape[:1]:
        raise ShapeMismatch(
            f"probabilities of shape {values.shape} and weights of shape {shares.shape} were "
            "given; expected [K, B, C] and one weight a member, [K]"
        )
    return values, _shares(shares)
