"""What is said of the teacher before any student is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tutelage import metrics
from tutelage.tasks.classification.evaluating import held_out_quality
from tutelage.types import Example

ROWS = 300


def quality_of(probs: np.ndarray, gold: np.ndarray) -> dict[str, Any]:
    """The quality of a teacher that gives these answers on validation rows."""
    answers = {Example(f"text {row}").example_id: probs[row] for row in range(len(probs))}
    data = SimpleNamespace(
        train=[Example("train", 0)],
        validation=[Example(f"text {row}", int(label)) for row, label in enumerate(gold)],
    )
    settings = SimpleNamespace(
        evaluate=SimpleNamespace(bootstrap_samples=200), train=SimpleNamespace(seed=0)
    )
    store = SimpleNamespace(
        lookup=lambda ids: np.stack([answers[name] for name in ids]).astype(np.float32)
    )
    return held_out_quality(cast("Any", settings), cast("Any", data), cast("Any", store))


def test_every_interval_holds_its_value() -> None:
    """The teacher is calibrated, so its ECE is small and resampling alone would put the whole
    interval above it."""
    confidence = np.linspace(0.5, 0.95, ROWS)
    probs = np.stack([confidence, (1 - confidence) * 0.6, (1 - confidence) * 0.4], axis=1)
    gold = (np.arange(ROWS) * 0.618034 % 1 > confidence).astype(
        int
    )  # spread evenly, so that every bin is calibrated
    found = quality_of(probs, gold)
    rows = probs.astype(np.float32)
    raw = metrics.bootstrap(lambda drawn: metrics.ece(rows[drawn], gold[drawn]), ROWS, samples=200)
    assert raw.low > raw.value
    for name, metric in (
        ("accuracy", metrics.accuracy),
        ("nll", metrics.nll),
        ("ece", metrics.ece),
    ):
        assert found[name]["value"] == pytest.approx(metric(rows, gold))
        assert 0 <= found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert found["ece"]["high"] - found["ece"]["value"] == pytest.approx((raw.high - raw.low) / 2)


def test_a_teacher_without_a_miss_is_not_certain() -> None:
    gold = np.arange(30) % 3
    found = quality_of(0.05 + 0.85 * np.eye(3)[gold], gold)
    assert found["accuracy"]["value"] == 1.0
    assert found["accuracy"]["low"] == pytest.approx(0.025 ** (1 / 30))


def test_a_teacher_that_is_worse_than_the_commonest_class_is_called_so() -> None:
    gold = np.zeros(60, dtype=int)
    assert (
        "is worse than always answering"
        in quality_of(np.tile([0.1, 0.8, 0.1], (60, 1)), gold)["sentence"]
    )
    assert (
        "is not clearly better than always"
        in quality_of(np.tile([0.8, 0.1, 0.1], (60, 1)), gold)["sentence"]
    )
