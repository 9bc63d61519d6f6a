"""A ratio of totals over documents, and the bins of equal mass behind its calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage import metrics
from tutelage.errors import ShapeMismatch


def test_the_value_is_a_ratio_of_totals_and_no_mean_of_ratios() -> None:
    found = metrics.ratio_interval([1.0, 9.0], [1.0, 3.0])
    assert found.value == pytest.approx(10 / 4)
    assert found.low == pytest.approx(1.0)
    assert found.high == pytest.approx(3.0)


def test_it_draws_the_resamples_that_bootstrap_draws() -> None:
    generator = np.random.default_rng(3)
    above, below = generator.random(40), generator.random(40) + 0.5
    slow = metrics.bootstrap(
        lambda rows: above[rows].sum() / below[rows].sum(), 40, samples=300, seed=5
    )
    quick = metrics.ratio_interval(above, below, samples=300, seed=5)
    assert quick.as_dict() == pytest.approx(slow.as_dict())


def test_documents_are_drawn_so_dependent_tokens_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    of_document = generator.normal(3.0, 1.0, 50)
    tokens = np.repeat(of_document, 200)
    by_document = metrics.ratio_interval(of_document * 200, np.full(50, 200.0))
    by_token = metrics.mean_interval(tokens[:5000])
    assert by_document.high - by_document.low > 5 * (by_token.high - by_token.low)


def test_nothing_to_divide_by_is_unknown() -> None:
    assert np.isnan(metrics.ratio_interval([0.0, 0.0], [0.0, 0.0]).value)
    assert np.isnan(metrics.ratio_interval([np.nan, 1.0], [1.0, 1.0]).value)


def test_unpaired_documents_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="the same rows"):
        metrics.ratio_interval([1.0, 2.0], [1.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 15))
def test_bins_of_equal_mass_differ_by_one_row_at_most(confidence: list[float], bins: int) -> None:
    values = np.array(confidence)
    found = metrics.equal_mass_bins(values, bins=bins)
    counts = np.bincount(found, minlength=bins)
    assert counts.sum() == len(values)
    assert counts.max() - counts.min() <= 1
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
