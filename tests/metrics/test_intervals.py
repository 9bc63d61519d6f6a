"""Intervals: right by theory, repeatable, fast."""

from __future__ import annotations

import time
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import metrics
from tutelage.errors import ShapeMismatch


def test_the_interval_of_a_share_is_the_binomial_one():
    right = np.array([1.0] * 700 + [0.0] * 300)
    found = metrics.mean_interval(right)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - half, abs=0.004)
    assert found.high == pytest.approx(0.7 + half, abs=0.004)


def test_about_95_of_100_intervals_hold_the_truth():
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        found = metrics.mean_interval(generator.random(100) < 0.6, samples=300, seed=trial)
        held += found.low <= 0.6 <= found.high
    assert 180 <= held <= 199


def test_a_mean_draws_the_rows_that_any_statistic_draws():
    values = np.random.default_rng(0).random(37)
    slow = metrics.bootstrap(lambda rows: float(values[rows].mean()), 37, samples=500, seed=3)
    fast = metrics.mean_interval(values, samples=500, seed=3)
    assert (fast.value, fast.low, fast.high) == pytest.approx(
        (slow.value, slow.low, slow.high), abs=1e-12
    )


def test_a_share_without_exceptions_is_not_certain():
    """With N of N right, p**N reaches 2.5 % at the lower end: the exact interval; a bootstrap would
    have no width."""
    for rows in (1, 50, 740):
        all_right, all_wrong = (
            metrics.share_interval(np.ones(rows)),
            metrics.share_interval(np.zeros(rows)),
        )
        assert (all_right.value, all_right.high) == (1.0, 1.0)
        assert all_right.low**rows == pytest.approx(0.025)
        assert (all_wrong.value, all_wrong.low) == (0.0, 0.0)
        assert all_wrong.high == pytest.approx(1 - all_right.low)
    mixed = np.random.default_rng(0).random(50) < 0.9
    assert metrics.share_interval(mixed, seed=3) == metrics.mean_interval(mixed, seed=3)
    assert np.isnan(metrics.share_interval([]).low)


def test_a_centred_interval_keeps_its_width():
    assert metrics.centred(metrics.Interval(0.1, 0.2, 0.4)) == metrics.Interval(
        0.1, pytest.approx(0.0), pytest.approx(0.2)
    )


def test_chunks_change_nothing():
    values = np.random.default_rng(0).random(50)
    whole = metrics.mean_interval(values, samples=100)
    assert metrics.mean_interval(values, samples=100, elements_at_once=350) == whole


def test_one_seed_one_answer_and_zero_is_a_seed():
    values = np.random.default_rng(0).random(50)
    assert metrics.mean_interval(values, seed=0) == metrics.mean_interval(values)
    assert metrics.mean_interval(values, seed=0) != metrics.mean_interval(values, seed=1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_an_interval_lies_among_its_values(values):
    found = metrics.mean_interval(values, samples=50)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


def test_rows_that_are_hard_for_both_cancel():
    generator = np.random.default_rng(0)
    a = generator.random(500)
    b = a - 0.01
    found = metrics.paired_bootstrap(a, b)
    assert (found.low, found.value, found.high) == pytest.approx((0.01, 0.01, 0.01))
    back = metrics.paired_bootstrap(b, a)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_resamples_without_an_answer_are_left_out():
    found = metrics.bootstrap(lambda rows: 1.0 if 0 in rows else float("nan"), 3, samples=100)
    assert found == metrics.Interval(1.0, 1.0, 1.0)


def test_what_is_not_known_is_not_a_number():
    for found in (
        metrics.mean_interval([]),
        metrics.mean_interval([1.0, float("nan")]),
        metrics.bootstrap(lambda rows: 1.0, 0),
    ):
        assert np.isnan([found.value, found.low, found.high]).all()


def test_the_form_of_evaluation_json():
    assert metrics.Interval(0.5, 0.4, 0.6).as_dict() == {"value": 0.5, "low": 0.4, "high": 0.6}


@pytest.mark.parametrize("call", [metrics.paired_bootstrap, metrics.mcnemar])
def test_only_the_same_rows_can_be_paired(call):
    with pytest.raises(
        ShapeMismatch,
        match=r"shape \(2,\) and \(3,\) were given; expected one value a row for the same rows",
    ):
        call([1, 0], [1, 0, 1])
    with pytest.raises(ShapeMismatch, match=r"shape \(1, 2\) and \(1, 2\)"):
        call([[1, 0]], [[1, 0]])


def test_wrong_calls_are_refused():
    with pytest.raises(ShapeMismatch, match=r"shape \(1, 2\) were given; expected one value a row"):
        metrics.mean_interval([[1, 0]])
    for call in (
        lambda: metrics.mean_interval([1], samples=0),
        lambda: metrics.bootstrap(lambda rows: 1.0, 1, samples=0),
    ):
        with pytest.raises(ValueError, match="samples=0 was given; expected at least 1"):
            call()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5), st.integers(0, 5))
def test_mcnemar_is_the_binomial_sum(only_a, only_b, both, neither):
    a = np.array([1] * only_a + [0] * only_b + [1] * both + [0] * neither)
    b = np.array([0] * only_a + [1] * only_b + [1] * both + [0] * neither)
    total = only_a + only_b
    expected = min(1.0, 2 * sum(comb(total, k) for k in range(min(only_a, only_b) + 1)) / 2**total)
    assert metrics.mcnemar(a, b) == pytest.approx(expected, rel=1e-9)
    assert metrics.mcnemar(b, a) == metrics.mcnemar(a, b)


def test_mcnemar_stays_exact_where_powers_overflow():
    a = np.arange(100_000) < 50_300
    p = metrics.mcnemar(a, ~a)
    z = (300 - 0.5) / (np.sqrt(100_000) / 2)
    assert p == pytest.approx(2 * 0.5 * float(np.exp(-(z**2) / 2)) * 0.4, rel=0.5)  # the right size
    assert metrics.mcnemar([], []) == 1.0


def test_two_thousand_resamples_of_a_thousand_rows_are_quick():
    generator = np.random.default_rng(0)
    probs, gold = generator.dirichlet([1, 1, 1], 1000), generator.integers(0, 3, 1000)
    right, answers, confidence = metrics.correct(probs, gold), probs.argmax(1), probs.max(1)

    def seconds(call) -> float:
        started = time.process_time()  # not wall time: the machine may be busy with other things
        call()
        return time.process_time() - started

    assert seconds(lambda: metrics.mean_interval(right)) < 0.5
    assert (
        seconds(
            lambda: metrics.bootstrap(
                lambda rows: metrics.macro_f1_of(answers[rows], gold[rows], num_classes=3), 1000
            )
        )
        < 2
    )
    assert (
        seconds(
            lambda: metrics.bootstrap(
                lambda rows: metrics.ece_of(confidence[rows], right[rows]), 1000
            )
        )
        < 2
    )
