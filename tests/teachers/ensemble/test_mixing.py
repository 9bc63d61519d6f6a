"""Distributions of several members made into one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import ShapeMismatch
from tutelage.metrics import nll
from tutelage.teachers.ensemble.mixing import (
    FLOOR,
    fit_weights,
    jensen_shannon,
    mix,
    normalised,
)

WAYS = ("mixture", "log_mean")


def drawn(seed: int, *, members: int = 3, rows: int = 40, classes: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), size=(members, rows))


def test_a_mixture_is_the_mean_and_a_log_mean_is_the_geometric_mean() -> None:
    probs = np.array([[[0.9, 0.1]], [[0.5, 0.5]]])
    np.testing.assert_allclose(mix(probs, [3, 1]), [[0.8, 0.2]], atol=1e-7)
    odds = (0.9**0.75 * 0.5**0.25) / (0.1**0.75 * 0.5**0.25)
    expected = odds / (1 + odds)
    np.testing.assert_allclose(
        mix(probs, [3, 1], combine="log_mean"), [[expected, 1 - expected]], atol=1e-6
    )


def test_one_sure_mistake_does_not_forbid_a_class() -> None:
    probs = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])
    mixed = mix(probs, [1, 1, 1], combine="log_mean")
    assert mixed[0, 1] == pytest.approx(1 / (1 + FLOOR ** (1 / 3)), abs=1e-3)
    assert np.isfinite(mixed).all()


@pytest.mark.parametrize("combine", WAYS)
@given(seed=st.integers(0, 10_000))
def test_rows_stay_distributions_and_equal_members_change_nothing(seed: int, combine: str) -> None:
    probs = drawn(seed, rows=5)
    mixed = mix(probs, [0.2, 0.5, 0.3], combine=combine)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    same = np.stack([probs[0]] * 3)
    np.testing.assert_allclose(mix(same, [0.2, 0.5, 0.3], combine=combine), probs[0], atol=1e-5)


@pytest.mark.parametrize("combine", WAYS)
def test_fitted_weights_are_the_best_on_a_grid(combine: str) -> None:
    generator = np.random.default_rng(0)
    gold = generator.integers(0, 4, 300)
    eye = np.eye(4)[gold]
    good = 0.6 * eye + 0.4 * drawn(1, members=1, rows=300)[0]
    fair = 0.3 * eye + 0.7 * drawn(2, members=1, rows=300)[0]
    probs = np.stack([fair, drawn(3, members=1, rows=300)[0], good])
    weights = fit_weights(probs, gold, combine=combine)
    assert weights.sum() == pytest.approx(1)
    found = nll(mix(probs, weights, combine=combine), gold)
    grid = [
        nll(mix(probs, [a, b, 20 - a - b], combine=combine), gold)
        for a in range(21)
        for b in range(21 - a)
    ]
    assert found <= min(grid) + 1e-6
    assert weights[2] > weights[0] > weights[1]


def test_members_that_say_the_same_weigh_the_same() -> None:
    same = np.stack([drawn(0, members=1)[0]] * 2)
    np.testing.assert_allclose(fit_weights(same, np.zeros(40, dtype=int)), [0.5, 0.5])


def test_apart_is_nothing_where_all_agree_and_the_logarithm_of_the_members_at_most() -> None:
    same = np.stack([drawn(0, members=1)[0]] * 3)
    np.testing.assert_allclose(jensen_shannon(same), 0, atol=1e-9)
    sure = np.eye(3)[:, None, :]
    np.testing.assert_allclose(jensen_shannon(sure), [np.log(3)])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1.0}, "weights are given for a; expected one for each of a, b"),
        ({"a": 0.0, "b": 0.0}, "at least 0, not all of them 0"),
        ({"a": -1.0, "b": 2.0}, "at least 0"),
        ({"a": float("nan"), "b": 2.0}, "at least 0"),
    ],
)
def test_weights_that_are_none_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalised(weights, ["a", "b"])


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="one weight a member"):
        mix(drawn(0), [1, 1])
    with pytest.raises(ShapeMismatch, match="at least one row"):
        fit_weights(drawn(0), [])
