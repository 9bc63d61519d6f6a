"""Calibration against a definition written row by row, and what must hold for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import metrics


def ece_by_definition(probs, gold, bins: int) -> float:
    """Sort, cut into slices of equal mass, weigh the gap of each. Written for distinct
    confidences."""
    rows = sorted(zip(probs.max(1), probs.argmax(1) == gold, strict=True), key=lambda row: row[0])
    bins = min(bins, len(rows))
    total = 0.0
    for number in range(bins):
        slice_ = rows[number * len(rows) // bins : (number + 1) * len(rows) // bins]
        gap = abs(
            sum(right for _, right in slice_) / len(slice_)
            - sum(said for said, _ in slice_) / len(slice_)
        )
        total += len(slice_) / len(rows) * gap
    return total


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 100), st.integers(1, 20))
def test_ece_is_its_definition(seed, rows, bins):
    generator = np.random.default_rng(seed)
    probs, gold = generator.dirichlet([1, 1, 1], rows), generator.integers(0, 3, rows)
    assert metrics.ece(probs, gold, bins) == pytest.approx(
        ece_by_definition(probs, gold, bins), abs=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 20))
def test_ece_is_the_weighted_gap_of_the_curve(seed, rows, bins):
    generator = np.random.default_rng(seed)
    probs, gold = (
        generator.dirichlet([1, 1, 1], rows).round(1),
        generator.integers(0, 3, rows),
    )  # rounded: many ties
    points = metrics.reliability(probs, gold, bins)
    counts = [point["count"] for point in points]
    assert sum(counts) == rows
    assert max(counts) - min(counts) <= 1
    assert len(points) == min(bins, rows)
    said = [point["confidence"] for point in points]
    assert (np.diff(said) >= -1e-12).all()
    order = generator.permutation(rows)
    assert metrics.ece(probs[order], gold[order], bins) == pytest.approx(
        metrics.ece(probs, gold, bins), abs=1e-12
    )
    gap = (
        sum(point["count"] * abs(point["accuracy"] - point["confidence"]) for point in points)
        / rows
    )
    assert metrics.ece(probs, gold, bins) == pytest.approx(gap, abs=1e-12)


def test_a_model_that_always_says_the_same_is_judged_by_that_number():
    probs = np.tile([0.6, 0.3, 0.1], (100, 1))
    assert metrics.ece(probs, [0] * 60 + [1] * 40) == pytest.approx(0.0, abs=1e-12)
    assert metrics.ece(probs, [0] * 50 + [1] * 50) == pytest.approx(0.1, abs=1e-12)


def test_sure_and_always_wrong_is_one():
    assert metrics.ece(np.tile([1.0, 0.0], (30, 1)), np.ones(30, int)) == 1.0


def test_a_calibrated_model_scores_little_and_the_less_the_more_rows():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet([1, 1, 1], 100_000)
    gold = (generator.random((100_000, 1)) > probs.cumsum(1)).sum(1)
    assert metrics.ece(probs, gold) < 0.01
    assert (
        0.02 < metrics.ece(probs[:500], gold[:500]) < 0.12
    )  # about sqrt(15 / 500) / 3 by chance alone


def test_no_rows_have_no_curve():
    assert metrics.reliability(np.empty((0, 3)), []) == []


def test_bins_must_be():
    for call in (metrics.ece, metrics.reliability):
        with pytest.raises(ValueError, match="bins=0 was given; expected at least 1"):
            call(np.array([[0.5, 0.5]]), [0], 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 80), st.integers(1, 20), st.integers(1, 3))
def test_resampled_ece_is_ece_of_the_rows_drawn(seed, rows, bins, digits):
    """Rounded confidences tie, and rows drawn twice straddle bins."""
    generator = np.random.default_rng(seed)
    confidence = np.round(generator.random(rows), digits)
    is_correct = (generator.random(rows) < confidence).astype(float)
    at = metrics.resampled_ece(confidence, is_correct, bins=bins)
    for drawn in (
        np.arange(rows),
        generator.integers(0, rows, rows),
        generator.integers(0, rows, 1),
    ):
        assert at(drawn) == pytest.approx(
            metrics.ece_of(confidence[drawn], is_correct[drawn], bins=bins), abs=1e-12
        )
    assert np.isnan(metrics.resampled_ece(np.zeros(0), np.zeros(0))(np.zeros(0, np.int64)))
