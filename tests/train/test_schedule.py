"""Learning rate and soft weight of every step."""

from __future__ import annotations

from math import cos, pi
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.train.optimizer import decay_progress, learning_rate_scale, soft_weight_at


@given(total=st.integers(1, 300), share=st.floats(0, 1))
def test_a_cosine_rises_to_the_peak_and_falls_towards_zero(total: int, share: float) -> None:
    scales = [learning_rate_scale(step, total, warmup_share=share) for step in range(total)]
    warmup = round(share * total)
    assert all(0 < scale <= 1 for scale in scales)
    assert scales[:warmup] == sorted(scales[:warmup])
    assert scales[warmup:] == sorted(scales[warmup:], reverse=True)
    if warmup:
        assert scales[warmup - 1] == 1
    if total - warmup > 20:
        assert scales[-1] < 0.01


@given(
    st.integers(1, 300),
    st.sampled_from(["cosine", "wsd"]),
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.integers(0, 299),
)
def test_no_step_is_wasted_and_none_exceeds_the_peak(
    total: int, schedule: Literal["cosine", "wsd"], warmup: float, decay: float, step: int
) -> None:
    scale = learning_rate_scale(
        min(step, total - 1), total, warmup_share=warmup, schedule=schedule, decay_share=decay
    )
    assert 0 < scale <= 1


def test_wsd_is_flat_between_warm_up_and_decay() -> None:
    scales = [
        learning_rate_scale(step, 100, warmup_share=0.1, schedule="wsd", decay_share=0.2)
        for step in range(100)
    ]
    assert scales[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert scales[9:80] == [1.0] * 71
    assert scales[80:] == pytest.approx([1 - (step + 0.5) / 20 for step in range(20)])


def test_cosine_falls_from_the_end_of_the_warm_up() -> None:
    scales = [learning_rate_scale(step, 100, warmup_share=0.1) for step in range(100)]
    assert scales[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert scales[10:] == pytest.approx(
        [0.5 * (1 + cos(pi * (step + 0.5) / 90)) for step in range(90)]
    )


def test_the_soft_weight_moves_only_in_the_decay() -> None:
    def weight(step: int) -> float:
        return soft_weight_at(step, 100, soft_weight=0.9, soft_weight_final=0.5, decay_share=0.2)

    assert [weight(step) for step in (0, 50, 79)] == [0.9] * 3
    assert [weight(80 + step) for step in range(20)] == pytest.approx(
        [0.9 - 0.4 * (step + 0.5) / 20 for step in range(20)]
    )
    assert soft_weight_at(99, 100, soft_weight=0.9, soft_weight_final=None, decay_share=0.2) == 0.9


def test_no_decay_share_means_no_decay() -> None:
    assert decay_progress(99, 100, 0.0) == 0.0
