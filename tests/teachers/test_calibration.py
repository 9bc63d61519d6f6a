from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from tutelage.errors import DataError, ModelError, ShapeMismatch
from tutelage.teachers import Calibration, PromptedTeacher
from tutelage.teachers.prompted.calibration import (
    batch,
    contextual,
    fit_temperature,
    fitted,
    uncalibrated,
)
from tutelage.types import Example

LABELS = ("negative", "neutral", "positive")
LOGITS = arrays(np.float64, (12, 3), elements=st.floats(-8, 8))


def nll(logprobs, gold) -> float:
    return float(-logprobs[np.arange(len(gold)), gold].mean())


@settings(max_examples=40, deadline=None)
@given(LOGITS)
def test_batch_divides_by_the_mean_probability(logits):
    logprobs = log_softmax(logits, axis=1)
    expected = np.exp(logprobs) / np.exp(logprobs).mean(axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(batch(logprobs).apply(logprobs)), expected, atol=1e-9)


def test_contextual_makes_a_content_free_text_uniform():
    logprobs = np.log([[0.7, 0.2, 0.1]])
    np.testing.assert_allclose(np.exp(contextual(logprobs).apply(logprobs)), 1 / 3, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(LOGITS, st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_fitted_is_no_worse_than_nothing_on_its_own_rows(logits, labels):
    logprobs, gold = log_softmax(logits, axis=1), np.array(labels)
    assert nll(fitted(logprobs, gold).apply(logprobs), gold) <= nll(logprobs, gold) + 0.02


def test_fitted_recovers_a_known_distortion():
    rng = np.random.default_rng(0)
    truth = log_softmax(rng.normal(size=(4000, 3)) * 2, axis=1)
    gold = np.array([rng.choice(3, p=np.exp(row)) for row in truth])
    distorted = log_softmax(truth * 3 + np.array([2.0, 0.0, -2.0]), axis=1)
    calibration = fitted(distorted, gold)
    assert calibration.temperature == pytest.approx(3, rel=0.1)
    assert np.abs(np.exp(calibration.apply(distorted)) - np.exp(truth)).mean() < 0.02
    assert fit_temperature(log_softmax(truth * 3, axis=1), gold) == pytest.approx(3, rel=0.1)


def test_fitted_stays_finite_when_a_class_is_missing():
    calibration = fitted(np.log(np.full((5, 3), 1 / 3)), np.array([0, 0, 1, 1, 1]))
    assert np.isfinite(calibration.bias).all()


def test_fit_temperature_without_rows_is_one():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64)) == 1.0


def test_saved_and_loaded_it_is_the_same(tmp_path):
    calibration = Calibration("fitted", (0.1 + 0.2, -0.3, 0.0), 1 / 3, 40)
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration


def test_errors_say_what_to_do():
    with pytest.raises(DataError, match="given no texts; give it a sample"):
        batch(np.zeros((0, 3)))
    with pytest.raises(DataError, match="no labelled rows; label some"):
        fitted(np.zeros((0, 3)), np.zeros(0, np.int64))
    with pytest.raises(ShapeMismatch, match="2 classes given, but this calibration is for 3"):
        uncalibrated(3).apply(np.zeros((1, 2)))


def test_a_teacher_applies_each_kind(language_model, shots, examples):
    plain = PromptedTeacher(language_model, LABELS, shots=shots).label(examples)
    content_free = PromptedTeacher(language_model, LABELS, shots=shots, calibration="contextual")
    assert np.abs(content_free.label(examples) - plain).max() > 1e-3
    waiting = PromptedTeacher(language_model, LABELS, shots=shots, calibration="batch")
    with pytest.raises(
        ModelError, match="calibration: batch has not been estimated; call calibrate"
    ):
        waiting.label(examples)
    before = waiting.fingerprint
    waiting.calibrate([*examples, examples[0], shots[0]])
    assert waiting.calibration is not None
    assert waiting.calibration.rows == len(examples)  # once each, and no shot
    assert waiting.fingerprint != before
    expected = plain / plain.mean(axis=0)
    np.testing.assert_allclose(
        waiting.label(examples), expected / expected.sum(1, keepdims=True), atol=1e-5
    )
    again = PromptedTeacher(language_model, LABELS, shots=shots, calibration=waiting.calibration)
    np.testing.assert_array_equal(again.label(examples), waiting.label(examples))
    gold = [Example(example.text, 1) for example in examples]
    fit = PromptedTeacher(language_model, LABELS, shots=shots, calibration="fitted")
    fit.calibrate([*gold, Example("nobody labelled this")])
    assert fit.label(examples)[:, 1].mean() > plain[:, 1].mean()


def test_the_fingerprint_names_what_targets_depend_on(language_model, shots):
    teacher = PromptedTeacher(language_model, LABELS, shots=shots)
    assert (
        teacher.fingerprint
        == PromptedTeacher(language_model, LABELS, shots=shots, batch_tokens=64).fingerprint
    )
    others = [
        PromptedTeacher(language_model, LABELS, shots=shots[:2]),
        PromptedTeacher(language_model, LABELS, shots=shots, instruction="Judge."),
        PromptedTeacher(language_model, LABELS, shots=shots, max_length=7),
        PromptedTeacher(language_model, LABELS[::-1], shots=shots),
        PromptedTeacher(language_model, LABELS, shots=shots, calibration="contextual"),
    ]
    assert len({teacher.fingerprint, *(other.fingerprint for other in others)}) == 6


@pytest.mark.parametrize("method", ["batch", "fitted"])
def test_a_calibration_reads_a_sample_whatever_the_order(language_model, method):
    rows = [Example(f"the camera number {index}", index % 3) for index in range(40)]
    first = PromptedTeacher(language_model, LABELS, calibration=method)
    assert first.calibrate(rows, most_rows=7).rows == 7
    again = PromptedTeacher(language_model, LABELS, calibration=method)
    again.calibrate([*rows[20:], *rows[:20]], most_rows=7)
    assert again.fingerprint == first.fingerprint
