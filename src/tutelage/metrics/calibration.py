"""Whether a model that says 70 % is right seven times in ten."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.metrics.quality import correct

BINS = 15
"""How many bins `ece` and `reliability` cut the rows into."""

Values = NDArray[np.float64]


def ece(probs: ArrayLike, gold: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error of the most probable class, in [0, 1].

    Rows are sorted by confidence (the largest probability) and cut into `bins` bins of equal mass,
    whose sizes differ by at most one; the error is the mean over bins, weighted by size, of
    |accuracy - mean confidence|. Rows of equal confidence share their accuracy, so the order of
    rows never matters, and a model that always says the same number is judged by that number alone.
    On few rows the error is biased upward: a perfectly calibrated model scores about sqrt(bins / N)
    / 3.

    Args:
        probs: Probabilities `[N, C]`.
        gold: Label indexes `[N]`.
        bins: At least 1; with fewer rows than bins, each row is a bin.

    Returns:
        0 where confidence and accuracy agree in every bin; NaN if there are no rows.

    Raises:
        ShapeMismatch: The two do not fit each other.
        ValueError: `bins` is less than 1.

    Source: Naeini, Cooper, Hauskrecht 2015 (AAAI); equal-mass bins as in Nixon et al. 2019
        (arXiv:1904.01685), section 3. The sharing among ties is ours.
    """
    return ece_of(_confidence(probs), correct(probs, gold), bins=bins)


def ece_of(confidence: Values, is_correct: Values, *, bins: int = BINS) -> float:
    """As `ece`, from the confidence and the correctness (0 or 1) of each row, both `[N]`; for
    resampling.
    """
    if not confidence.size:
        return float("nan")
    in_order, shared, starts = _binned(confidence, is_correct, bins)
    return float(np.abs(np.add.reduceat(shared - in_order, starts)).sum() / len(in_order))


def resampled_ece(
    confidence: Values, is_correct: Values, *, bins: int = BINS
) -> Callable[[NDArray[np.integer]], float]:
    """`ece_of` as a function of row indexes, for `bootstrap`: rows are sorted once, not in every
    resample.

    Args:
        confidence: Of each row, `[N]`.
        is_correct: 0 or 1 of each row, `[N]`.
        bins: At least 1.

    Returns:
        Takes row indexes, which may repeat, and gives what `ece_of` gives for those rows, up to
        rounding.

    Raises:
        ValueError: `bins` is less than 1.
    """
    if bins < 1:
        raise ValueError(f"bins={bins} was given; expected at least 1")
    order = np.argsort(confidence)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    said, right = confidence[order], is_correct[order].astype(np.float64)
    ties = np.flatnonzero(np.concatenate([np.ones(min(1, len(said)), bool), said[1:] != said[:-1]]))
    tie_of = np.repeat(np.arange(len(ties)), np.diff(np.append(ties, len(said))))

    def ece_at(rows: NDArray[np.integer]) -> float:
        if not len(rows):
            return float("nan")
        times = np.bincount(place[rows], minlength=len(said))
        drawn = np.maximum(
            np.add.reduceat(times, ties), 1
        )  # ties that no resample drew count nothing
        shared = np.add.reduceat(right * times, ties) / drawn
        gaps = np.repeat(shared[tie_of] - said, times)
        cut = min(bins, len(gaps))
        starts = np.arange(cut, dtype=np.int64) * len(gaps) // cut
        return float(np.abs(np.add.reduceat(gaps, starts)).sum() / len(gaps))

    return ece_at


def reliability(
    probs: ArrayLike, gold: ArrayLike, bins: int = BINS
) -> list[dict[str, float | int]]:
    """The points of a calibration curve: one for each bin of `ece`, in order of confidence.

    Args:
        probs: Probabilities `[N, C]`.
        gold: Label indexes `[N]`.
        bins: At least 1; with fewer rows than bins, each row is a bin.

    Returns:
        `confidence` (mean), `accuracy` (share right) and `count` of each bin; empty if there are no
        rows.

    Raises:
        ShapeMismatch: The two do not fit each other.
        ValueError: `bins` is less than 1.
    """
    return reliability_of(_confidence(probs), correct(probs, gold), bins=bins)


def reliability_of(
    confidence: Values, is_correct: Values, *, bins: int = BINS
) -> list[dict[str, float | int]]:
    """As `reliability`, from the confidence and the correctness (0 or 1) of each row, both
    `[N]`.
    """
    if not confidence.size:
        return []
    in_order, shared, starts = _binned(confidence, is_correct, bins)
    return [
        {"confidence": float(said.mean()), "accuracy": float(was.mean()), "count": len(said)}
        for said, was in zip(
            np.split(in_order, starts[1:]), np.split(shared, starts[1:]), strict=True
        )
    ]


def equal_mass_bins(confidence: Values, *, bins: int = BINS) -> NDArray[np.int64]:
    """The bin of each row, `[N]` in 0 .. bins - 1, when rows sorted by confidence are cut into bins
    of equal mass.
    """
    order = np.argsort(confidence, kind="stable")
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.arange(len(order)) * bins // max(1, len(order))
    return found


def _confidence(probs: ArrayLike) -> Values:
    array = np.asarray(probs, dtype=np.float64)
    # What is no [N, C] is refused by `correct`, with a better message than numpy's.
    return array.max(axis=1) if array.ndim == 2 and array.shape[1] else np.empty(0)


def _binned(
    confidence: Values, is_correct: Values, bins: int
) -> tuple[Values, Values, NDArray[np.int64]]:
    """Rows sorted by confidence, the accuracy each shares with its ties, and where each bin
    starts.
    """
    if bins < 1:
        raise ValueError(f"bins={bins} was given; expected at least 1")
    order = np.argsort(confidence)
    in_order, right = confidence[order], is_correct[order].astype(np.float64)
    new = np.concatenate([[True], in_order[1:] != in_order[:-1]])
    ties = np.flatnonzero(new)
    shared = (np.add.reduceat(right, ties) / np.diff(np.append(ties, len(right))))[
        np.cumsum(new) - 1
    ]
    bins = min(bins, len(order))
    return in_order, shared, np.arange(bins, dtype=np.int64) * len(order) // bins
