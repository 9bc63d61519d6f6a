"""How the linear student is fitted: to the optimum that others find, to every objective, and with
the strength that validation rows choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.students.linear_rows import LABELS, encoded, soft_targets, texts_of

from tutelage.losses import Objective
from tutelage.losses.table import DIVERGENCES
from tutelage.students import Linear
from tutelage.students.classifier.linear.fitting import SoftRows, features, fit, fit_path

SOFT = Objective(soft_weight=1.0)


@pytest.fixture(scope="module")
def ngrams() -> Any:
    return Linear(labels=LABELS, characters=0).build(texts_of(150, seed=0))[1]


def rows_of(ngrams: Any, count: int, *, seed: int, objective: Objective = SOFT) -> SoftRows:
    rows = encoded(ngrams, texts_of(count, seed=seed))
    return SoftRows(features(ngrams, rows.input_ids), rows, objective)


def start(rows: SoftRows) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((rows.matrix.shape[1], 3)), np.zeros(3)


def test_soft_targets_are_fitted_as_if_every_row_came_once_with_each_label(ngrams: Any) -> None:
    """scikit-learn knows hard labels alone: a soft row is one with each label, weighed by it."""
    texts, strength = texts_of(150, seed=0), 1e-3
    rows = rows_of(ngrams, 150, seed=0)
    weights, bias, _ = fit(rows, *start(rows), penalty="l2", strength=strength)
    repeated = np.repeat(np.arange(150), 3)
    probs = soft_targets(texts)
    theirs = LogisticRegression(C=1 / (strength * 150), tol=1e-8, max_iter=5000)
    theirs.fit(rows.matrix[repeated], np.tile([0, 1, 2], 150), sample_weight=probs.ravel())
    ours = rows.matrix @ weights + bias
    expected = rows.matrix @ theirs.coef_.T + theirs.intercept_
    centred = [each - each.mean(axis=1, keepdims=True) for each in (ours, expected)]
    np.testing.assert_allclose(*centred, atol=5e-3)


def test_labels_alone_are_fitted_where_there_is_no_teacher(ngrams: Any) -> None:
    rows = encoded(ngrams, texts_of(150, seed=0), labelled=1.0).without_teacher()
    matrix, strength = features(ngrams, rows.input_ids), 1e-3
    hard = SoftRows(matrix, rows, SOFT)
    weights, bias, _ = fit(hard, *start(hard), penalty="l2", strength=strength)
    theirs = LogisticRegression(C=1 / (strength * 150), tol=1e-8, max_iter=5000)
    theirs.fit(matrix, rows.labels)
    odds = torch.from_numpy(matrix @ weights + bias).softmax(-1).numpy()
    np.testing.assert_allclose(odds, theirs.predict_proba(matrix), atol=2e-3)


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_every_divergence_brings_the_student_nearer(
    ngrams: Any, divergence: Any, penalty: Any
) -> None:
    objective = Objective(divergence=divergence, loss_temperature=2.0, soft_weight=0.9)
    rows = rows_of(ngrams, 100, seed=0, objective=objective)
    first, _, _ = rows.cost(*start(rows))
    weights, bias, iterations = fit(rows, *start(rows), penalty=penalty, strength=1e-4)
    assert rows.cost(weights, bias)[0] < 0.6 * first
    assert iterations > 3


def test_the_gradient_is_that_of_the_cost(ngrams: Any) -> None:
    objective = Objective(divergence="jensen_shannon", loss_temperature=1.5, soft_weight=0.7)
    rows = rows_of(ngrams, 20, seed=5, objective=objective)
    draw = np.random.default_rng(0)
    weights, bias = draw.normal(size=(rows.matrix.shape[1], 3)), draw.normal(size=3)
    towards, aside = draw.normal(size=weights.shape), draw.normal(size=3)
    _, by_weights, by_bias = rows.cost(weights, bias)
    step = 1e-6
    ends = [
        rows.cost(weights + sign * step * towards, bias + sign * step * aside)[0]
        for sign in (1, -1)
    ]
    slope = (by_weights * towards).sum() + (by_bias * aside).sum()
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-4)


def test_l1_leaves_ngrams_without_a_weight_and_l2_none(ngrams: Any) -> None:
    rows = rows_of(ngrams, 100, seed=0)
    some, _, _ = fit(rows, *start(rows), penalty="l1", strength=1e-2)
    every, _, _ = fit(rows, *start(rows), penalty="l2", strength=1e-2)
    used = [int(np.any(weights, axis=1).sum()) for weights in (some, every)]
    assert 0 < used[0] < used[1] / 2


def test_ngrams_without_a_weight_are_not_saved_and_change_nothing() -> None:
    student = Linear(labels=LABELS, penalty="l1", strength=1e-2)
    texts = texts_of(100, seed=0)
    model, ngrams = student.build(texts)
    rows = encoded(ngrams, texts)
    fitted = student.fit(model, rows, rows, objective=SOFT, record=lambda _: None).model
    assert 1 < len(fitted.ngrams) < len(ngrams) / 2
    loss = SoftRows(features(ngrams, rows.input_ids), rows, SOFT)
    weights, bias, _ = fit(
        loss, np.zeros((len(ngrams), 3)), np.zeros(3), penalty="l1", strength=1e-2
    )
    expected = loss.matrix @ weights + bias
    np.testing.assert_allclose(fitted.logits(texts), expected, atol=1e-5)


def test_validation_rows_choose_the_strength(ngrams: Any) -> None:
    """Train on noise: any fit of it is worse on other rows than none, so the strongest wins."""
    texts = texts_of(60, seed=0)
    noise = encoded(ngrams, texts, labelled=1.0)
    shuffled = np.random.default_rng(0).permutation(60)
    train = SoftRows(features(ngrams, [noise.input_ids[row] for row in shuffled]), noise, SOFT)
    held_out = rows_of(ngrams, 60, seed=1)
    records: list[dict[str, Any]] = []
    best, iterations = fit_path(
        train, held_out, num_classes=3, penalty="l2", strengths=(1e-5, 1e-1, 1e-3, 1e-7),
        record=records.append,
    )  # fmt: skip
    assert [record["strength"] for record in records] == [1e-1, 1e-3]  # then it gives up
    assert best.strength == 1e-1
    assert best.validation_loss == min(record["validation_loss"] for record in records)
    steps = [record["step"] for record in records]
    assert steps == sorted(steps)
    assert iterations == steps[-1] > best.iterations


def test_the_same_rows_give_the_same_weights_bit_for_bit() -> None:
    student, made = Linear(labels=LABELS), []
    for _ in range(2):
        model, ngrams = student.build(texts_of(80, seed=0))
        rows = encoded(ngrams, texts_of(80, seed=0)), encoded(ngrams, texts_of(30, seed=1))
        records: list[dict[str, Any]] = []
        done = student.fit(model, *rows, objective=Objective(), record=records.append)
        made.append((done.model.weights.tobytes(), records, done.best_step))
    assert made[0] == made[1]
