"""How sure a number is: bootstrap intervals, paired differences, McNemar's test.

The rows of a test set are a sample; another sample would have given another number. An interval
says how different.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import ShapeMismatch

LEVEL = 0.95
"""The share of intervals that hold the true value, if the test rows are a fair sample."""

RESAMPLED_AT_ONCE = 4_000_000
"""Resampled rows held in memory at a time."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its 95 % interval."""

    value: float
    """The number for all rows."""
    low: float
    """The 2.5th percentile over resamples."""
    high: float
    """The 97.5th percentile over resamples."""

    def as_dict(self) -> dict[str, float]:
        """`{"value", "low", "high"}`, the form of evaluation.json."""
        return {"value": self.value, "low": self.low, "high": self.high}


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], n: int, *, samples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of any statistic of rows.

    The statistic is called once a resample, so it should be quick; for a mean over rows take
    `mean_interval`, which draws the same rows and is much faster.

    Args:
        statistic: Gives the number for row indexes `[n]`, which may repeat.
        n: How many rows there are.
        samples: Resamples drawn, at least 1.
        seed: Of the resampling; 0 is a seed like any other. Under one seed every statistic sees the
            same resamples.

    Returns:
        The statistic of all rows, and the 2.5th and 97.5th percentile over resamples; those where
        it is NaN are left out. All NaN if there are no rows.

    Raises:
        ValueError: `samples` is less than 1.

    Example:
        >>> import numpy as np
        >>> values = np.array([0.0, 1.0, 1.0, 1.0])
        >>> bootstrap(lambda rows: float(np.median(values[rows])), 4).value
        1.0

    Source: Efron 1979 (Annals of Statistics 7); percentile intervals, Efron and Tibshirani 1993,
        chapter 13.
    """
    _refuse_no_samples(samples)
    if n == 0:
        return _UNKNOWN
    generator = np.random.default_rng(seed)
    drawn = np.array(
        [statistic(generator.integers(0, n, n)) for _ in range(samples)], dtype=np.float64
    )
    return _between(float(statistic(np.arange(n))), drawn)


def mean_interval(
    values: ArrayLike,
    *,
    samples: int = 2000,
    seed: int = 0,
    elements_at_once: int = RESAMPLED_AT_ONCE,
) -> Interval:
    """Percentile bootstrap of a mean over rows, all resamples at once.

    Args:
        values: One value a row, `[N]`.
        samples: Resamples drawn, at least 1.
        seed: Of the resampling; under one seed the rows are those that `bootstrap` draws.
        elements_at_once: Resampled rows held in memory at a time; changes no result.

    Returns:
        As `bootstrap`. All NaN if there are no rows or one of them is NaN.

    Raises:
        ShapeMismatch: Not one value a row.
        ValueError: `samples` is less than 1.

    Source: Efron 1979.
    """
    _refuse_no_samples(samples)
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ShapeMismatch(
            f"values of shape {array.shape} were given; expected one value a row, [N]"
        )
    if not array.size or np.isnan(array).any():
        return _UNKNOWN
    means = _resampled_means(array, samples, seed, elements_at_once=elements_at_once)
    return _between(float(array.mean()), means)


def share_interval(hits: ArrayLike, *, samples: int = 2000, seed: int = 0) -> Interval:
    """A share of rows, such as accuracy, with its interval; honest also where every row is a hit,
    or none is.

    Resamples of equal rows are all alike, and an interval without width would claim that no other
    test set could hold a single miss. There the exact binomial interval stands in: with 50 of 50
    right, the truth may be as low as 93 %.

    Args:
        hits: 1 or 0 a row, `[N]`.
        samples: Resamples drawn where rows differ, at least 1.
        seed: Of the resampling.

    Returns:
        As `mean_interval` where rows differ. All NaN if there are no rows or one of them is NaN.

    Raises:
        ShapeMismatch: Not one value a row.
        ValueError: `samples` is less than 1.

    Example:
        >>> share_interval([1.0] * 50).low  # doctest: +ELLIPSIS
        0.928...

    Source: Clopper and Pearson 1934 (Biometrika 26), whose bounds have this closed form at 0 and N
        hits.
    """
    array = np.asarray(hits, dtype=np.float64)
    found = mean_interval(array, samples=samples, seed=seed)
    if found.value not in (0.0, 1.0):
        return found
    slack = 1 - ((1 - LEVEL) / 2) ** (1 / len(array))
    return Interval(found.value, max(0.0, found.value - slack), min(1.0, found.value + slack))


def centred(interval: Interval) -> Interval:
    """The interval moved so that its value is its middle; for statistics that resampling itself
    inflates, such as ECE.

    A resample repeats rows and misses others, so its bins agree less with their confidence than
    those of all rows do: the percentiles alone may lie wholly above the value. Their width still
    says how uncertain it is.
    """
    shift = interval.value - (interval.low + interval.high) / 2
    return Interval(interval.value, interval.low + shift, interval.high + shift)


def paired_bootstrap(
    values_a: ArrayLike, values_b: ArrayLike, *, samples: int = 2000, seed: int = 0
) -> Interval:
    """The mean of a - b over the same rows, with its interval.

    Rows that are hard for both sides cancel, so a difference can be certain though the two
    intervals overlap.

    Args:
        values_a: One value a row, `[N]`, for instance 1 where model a is right.
        values_b: The same of b, for the same rows in the same order.
        samples: Resamples drawn, at least 1.
        seed: Of the resampling.

    Returns:
        As `mean_interval`; positive where a is larger.

    Raises:
        ShapeMismatch: The two are not one value each for the same rows.
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    _refuse_unpaired(a, b)
    return mean_interval(a - b, samples=samples, seed=seed)


def ratio_interval(
    numerators: ArrayLike, denominators: ArrayLike, *, samples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of a ratio of totals, such as nats per token over documents of different
    length.

    Documents are drawn, not tokens: tokens of one document depend on each other. Under one seed the
    rows are those that `bootstrap` and `mean_interval` draw.

    Args:
        numerators: One sum a document, `[N]`, such as its nats.
        denominators: What it is divided by, `[N]`, such as its tokens; at least 0.
        samples: Resamples drawn, at least 1.
        seed: Of the resampling.

    Returns:
        sum(numerators) / sum(denominators) with its interval; resamples without any mass are left
        out. All NaN if there are no rows, nothing to divide by, or a NaN.

    Raises:
        ShapeMismatch: The two are not one value each for the same documents.
        ValueError: `samples` is less than 1.

    Source: Efron and Tibshirani 1993, chapter 13; the ratio estimator over clusters, Cochran 1977,
        section 6.
    """
    _refuse_no_samples(samples)
    above, below = (
        np.asarray(numerators, dtype=np.float64),
        np.asarray(denominators, dtype=np.float64),
    )
    _refuse_unpaired(above, below)
    if not below.sum() > 0 or np.isnan(above).any():
        return _UNKNOWN
    tops, bottoms = _resampled_means(above, samples, seed), _resampled_means(below, samples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.where(bottoms > 0, tops / bottoms, np.nan)
    return _between(float(above.sum() / below.sum()), drawn)


def units_of(places: Sequence[tuple[str, int]]) -> NDArray[np.int64]:
    """Which unit of resampling every piece of text belongs to: pieces of one row depend on each
    other.

    Args:
        places: Source and row of each piece; those that are equal are one unit. Row 0 is no row:
            each stands alone.

    Returns:
        `[N]`, units counted from 0 in order of appearance.

    Example:
        >>> units_of([("a", 1), ("a", 1), ("b", 1), ("", 0), ("", 0)]).tolist()
        [0, 0, 1, 2, 3]
    """
    numbers: dict[tuple[str, int, int], int] = {}
    keys = [(source, row, 0 if row else piece) for piece, (source, row) in enumerate(places)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Two-sided p-value of McNemar's exact test of two models' accuracies on the same rows, in [0,
    1].

    Only rows where exactly one of them is right count. If neither model were better, each such row
    would go either way like a coin; p is how often coins are at least so uneven: min(1, 2 P(X <=
    fewer)) with X binomial(total, 1/2).

    Args:
        correct_a: True (or 1) where model a is right, `[N]`.
        correct_b: The same of b, for the same rows in the same order.

    Returns:
        The p-value; 1 where the models are never right alone, or equally often.

    Raises:
        ShapeMismatch: The two are not one value each for the same rows.

    Source: McNemar 1947 (Psychometrika 12), in the exact binomial form, at any number of rows.
    """
    from scipy.stats import binomtest  # a second to import, which readers of a finished run save

    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    _refuse_unpaired(a, b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    total = only_a + only_b
    return float(binomtest(min(only_a, only_b), total).pvalue) if total else 1.0


_UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


def _resampled_means(
    values: NDArray[np.float64],
    samples: int,
    seed: int,
    *,
    elements_at_once: int = RESAMPLED_AT_ONCE,
) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    n = len(values)
    at_a_time = max(1, elements_at_once // n)
    means = np.empty(samples)
    for start in range(0, samples, at_a_time):
        rows = generator.integers(0, n, (min(at_a_time, samples - start), n))
        means[start : start + len(rows)] = values[rows].mean(axis=1)
    return means


def _between(value: float, drawn: NDArray[np.float64]) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if not known.size:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def _refuse_no_samples(samples: int) -> None:
    if samples < 1:
        raise ValueError(
            f"samples={samples} was given; expected at least 1, and some 2,000 for a steady "
            "interval"
        )


def _refuse_unpaired(a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
    if a.shape != b.shape or a.ndim != 1:
        raise ShapeMismatch(
            f"values of shape {a.shape} and {b.shape} were given; expected one value a row for the "
            "same rows, [N] "
            "and [N]"
        )
