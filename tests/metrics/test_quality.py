"""Metrics against independent definitions, and what must hold for any probabilities."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from tutelage import metrics
from tutelage.errors import ShapeMismatch

GENERATOR = np.random.default_rng(0)
PROBS = GENERATOR.dirichlet([1, 1, 1, 1], 200)
OTHER = GENERATOR.dirichlet([1, 1, 1, 1], 200)
GOLD = GENERATOR.integers(0, 4, 200)

cases = st.builds(
    lambda seed, rows, classes, sharpness: (
        np.random.default_rng(seed).dirichlet([sharpness] * classes, rows),
        np.random.default_rng(seed + 1).dirichlet([sharpness] * classes, rows),
        np.random.default_rng(seed + 2).integers(0, classes, rows),
        np.random.default_rng(seed + 3).permutation(rows),
    ),
    st.integers(0, 10_000),
    st.integers(1, 40),
    st.integers(2, 5),
    st.sampled_from([0.01, 0.3, 1.0, 10.0]),
)


def test_accuracy_is_scikit_learns():
    assert metrics.accuracy(PROBS, GOLD) == pytest.approx(
        sklearn_metrics.accuracy_score(GOLD, PROBS.argmax(1)), abs=1e-12
    )


def test_macro_f1_is_scikit_learns():
    expected = sklearn_metrics.f1_score(GOLD, PROBS.argmax(1), average="macro")
    assert metrics.macro_f1(PROBS, GOLD) == pytest.approx(expected, abs=1e-12)


def test_macro_f1_leaves_out_a_class_that_never_occurs():
    probs, gold = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]]), np.array([0, 1])
    assert metrics.macro_f1(probs, gold) == 1.0
    assert metrics.macro_f1(probs, np.array([0, 2])) == pytest.approx(
        1 / 3
    )  # class 1 answered in vain, class 2 missed


def test_nll_is_scikit_learns():
    expected = sklearn_metrics.log_loss(GOLD, PROBS, labels=range(4))
    assert metrics.nll(PROBS, GOLD) == pytest.approx(expected, abs=1e-12)


def test_brier_is_the_sum_of_squares_over_classes():
    one_hot = np.array([[float(label == gold) for label in range(4)] for gold in GOLD])
    expected = (
        sum(
            sum((p - y) ** 2 for p, y in zip(row, hot, strict=True))
            for row, hot in zip(PROBS, one_hot, strict=True)
        )
        / 200
    )
    assert metrics.brier(PROBS, GOLD) == pytest.approx(expected, abs=1e-12)
    binary = PROBS[:, :2] / PROBS[:, :2].sum(1, keepdims=True)
    halved = sklearn_metrics.brier_score_loss(GOLD % 2, binary[:, 1])
    assert metrics.brier(binary, GOLD % 2) == pytest.approx(2 * halved, abs=1e-12)


def test_confusion_is_scikit_learns():
    assert np.array_equal(
        metrics.confusion(PROBS, GOLD),
        sklearn_metrics.confusion_matrix(GOLD, PROBS.argmax(1), labels=range(4)),
    )


def test_kl_is_the_sum_over_classes():
    expected = np.mean(
        [
            sum(p * log(p / q) for p, q in zip(*rows, strict=True))
            for rows in zip(PROBS, OTHER, strict=True)
        ]
    )
    assert metrics.kl(PROBS, OTHER) == pytest.approx(expected, abs=1e-12)


def test_agreement_counts_equal_answers():
    expected = sum(a == b for a, b in zip(PROBS.argmax(1), OTHER.argmax(1), strict=True)) / 200
    assert metrics.agreement(PROBS, OTHER) == pytest.approx(expected, abs=1e-12)


def test_sure_and_wrong_is_finite():
    sure, gold = np.array([[1.0, 0.0]]), np.array([1])
    assert metrics.nll(sure, gold) == pytest.approx(27.631, abs=1e-3)
    assert metrics.kl(sure[:, ::-1], sure) == pytest.approx(27.631, abs=1e-3)
    assert metrics.brier(sure, gold) == 2.0
    assert metrics.kl(sure, np.array([[0.5, 0.5]])) == pytest.approx(log(2), abs=1e-12)


def test_ties_go_to_the_class_that_comes_first():
    even = np.full((2, 3), 1 / 3)
    assert metrics.accuracy(even, [0, 2]) == 0.5


def test_majority_class():
    assert metrics.majority_class([2, 1, 2, 0]) == 2
    assert metrics.majority_class([1, 0, 0, 1]) == 0
    with pytest.raises(ValueError, match="no labels were given"):
        metrics.majority_class([])
    with pytest.raises(ValueError, match=r"the label -1 was given; .* leave unlabelled rows out"):
        metrics.majority_class([0, -1])


@settings(max_examples=60, deadline=None)
@given(cases)
def test_bounds_and_zero_at_equality(case):
    p, q, gold, _ = case
    highest = {
        metrics.accuracy: 1,
        metrics.macro_f1: 1,
        metrics.nll: 28,
        metrics.brier: 2,
        metrics.ece: 1,
    }
    for metric, high in highest.items():
        assert 0 <= metric(p, gold) <= high + 1e-12
    # Pinsker's inequality: never below twice the square of the total variation distance.
    variation = np.abs(p - q).sum(axis=1) / 2
    assert metrics.kl(p, q) >= 2 * (variation**2).mean() - 1e-12
    assert metrics.kl(p, p) == 0
    assert metrics.agreement(p, p) == 1
    assert metrics.agreement(p, q) == metrics.agreement(q, p)
    assert metrics.confusion(p, gold).sum() == len(gold)
    perfect = np.eye(p.shape[1])[gold]
    assert (
        metrics.accuracy(perfect, gold),
        metrics.macro_f1(perfect, gold),
        metrics.brier(perfect, gold),
    ) == (1, 1, 0)
    assert metrics.nll(perfect, gold) == metrics.ece(perfect, gold) == 0


@settings(max_examples=60, deadline=None)
@given(cases)
def test_the_order_of_rows_never_matters(case):
    p, q, gold, order = case
    for metric in (metrics.accuracy, metrics.macro_f1, metrics.nll, metrics.brier, metrics.ece):
        assert metric(p[order], gold[order]) == pytest.approx(metric(p, gold), abs=1e-12)
    assert metrics.kl(p[order], q[order]) == pytest.approx(metrics.kl(p, q), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(cases)
def test_a_metric_is_the_mean_of_its_rows(case):
    p, q, gold, _ = case
    for whole, rows in (
        (metrics.accuracy, metrics.correct),
        (metrics.nll, metrics.nlls),
        (metrics.brier, metrics.briers),
    ):
        assert whole(p, gold) == pytest.approx(rows(p, gold).mean(), abs=1e-12)
        assert rows(p, gold).shape == gold.shape
    for whole, rows in ((metrics.agreement, metrics.agreements), (metrics.kl, metrics.kls)):
        assert whole(p, q) == pytest.approx(rows(p, q).mean(), abs=1e-12)


@pytest.mark.parametrize(
    "metric", [metrics.accuracy, metrics.macro_f1, metrics.nll, metrics.brier, metrics.ece]
)
def test_no_rows_are_not_a_number(metric):
    assert np.isnan(metric(np.empty((0, 3)), np.empty(0, int)))


@pytest.mark.parametrize("metric", [metrics.agreement, metrics.kl])
def test_no_pairs_are_not_a_number(metric):
    assert np.isnan(metric(np.empty((0, 3)), np.empty((0, 3))))


@pytest.mark.parametrize(
    "metric",
    [
        metrics.accuracy,
        metrics.macro_f1,
        metrics.confusion,
        metrics.nll,
        metrics.brier,
        metrics.ece,
        metrics.reliability,
    ],
)
def test_what_does_not_fit_is_refused(metric):
    with pytest.raises(
        ShapeMismatch,
        match=r"shape \(200, 4\) and gold labels of shape \(3,\) were given; expected \[N, C\] and "
        r"\[N\]",
    ):
        metric(PROBS, GOLD[:3])
    with pytest.raises(ShapeMismatch, match=r"probabilities of shape \(200,\)"):
        metric(PROBS[:, 0], GOLD)
    with pytest.raises(
        ShapeMismatch,
        match=r"gold labels from -1 to 1 were given for 4 classes; .* leave unlabelled rows out",
    ):
        metric(PROBS[:2], [-1, 1])
    with pytest.raises(
        ShapeMismatch,
        match="gold labels from 0 to 4 were given for 4 classes; expected indexes from 0 to 3",
    ):
        metric(PROBS[:2], [0, 4])


@pytest.mark.parametrize("metric", [metrics.agreement, metrics.kl])
def test_two_models_of_other_labels_are_refused(metric):
    with pytest.raises(
        ShapeMismatch,
        match=r"teacher probabilities of shape \(200, 4\) and student .* \(200, 3\) .* the same "
        r"labels",
    ):
        metric(PROBS, PROBS[:, :3])
