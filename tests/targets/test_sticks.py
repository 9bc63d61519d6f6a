"""Shares are rounded without bias, and positions sum to 1 whatever the rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.targets import sticks

MASSES = st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=20)


def encoded(masses: list[float], grid: sticks.Grid, chance: np.random.Generator):
    """One position whose last mass is the tail."""
    probs = np.sort(np.array(masses[:-1]))[::-1] / sum(masses)
    heads, tail = np.array([len(probs)]), np.array([masses[-1] / sum(masses)])
    rests = sticks.rests_after(probs, heads, tails=tail)
    return probs, tail, heads, grid.encode(probs, rests, uniforms=chance.random(len(probs)))


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
@given(masses=MASSES, seed=st.integers(0, 2**16))
def test_what_is_decoded_sums_to_one_and_is_near(kind, masses, seed):
    grid = sticks.GRIDS[kind]
    probs, tail, heads, codes = encoded(masses, grid, np.random.default_rng(seed))
    logprobs, left = sticks.decode(codes, heads, grid=grid)
    assert np.exp(logprobs).sum() + np.exp(left[0]) == pytest.approx(1, abs=1e-12)
    assert np.exp(left[0]) > 0
    spread = np.expm1(1 / grid.steps) * (1 + np.arange(len(probs)))
    assert (
        np.abs(np.exp(logprobs) - probs) <= spread * probs + 2e-7 * (1 + np.arange(len(probs)))
    ).all()
    assert np.exp(left[0]) == pytest.approx(sticks.rest_mass(codes, heads, grid=grid)[0], rel=1e-6)
    assert np.exp(left[0]) == pytest.approx(
        tail[0], rel=np.expm1(1 / grid.steps) * len(masses), abs=3e-6
    )


def test_rounding_goes_to_a_neighbour_with_the_right_chance():
    grid, probs = sticks.GRIDS["sampled"], np.linspace(0.001, 0.999, 997)
    uniforms = (np.arange(2000) + 0.5) / 2000
    codes = np.stack(
        [grid.encode(probs, 1 - probs, uniforms=np.full(997, uniform)) for uniform in uniforms]
    )
    assert (codes.max(axis=0).astype(int) - codes.min(axis=0) <= 1).all()
    assert grid.shares[codes].mean(axis=0) == pytest.approx(probs, abs=1e-5)


def test_ends_of_the_grid():
    grid = sticks.GRIDS["sampled"]
    codes = grid.encode(
        np.array([1.0, 1e-12, 0.5]), np.array([0.0, 1.0, 0.5]), uniforms=np.full(3, 0.5)
    )
    assert codes.tolist() == [255, 0, 128]
    assert codes.dtype == np.uint8
    assert (
        sticks.GRIDS["top_k"].encode(np.array([1.0]), np.array([0.0]), uniforms=np.zeros(1))
        == 1023 + 1024
    )


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_the_tables_are_the_documented_ones(kind):
    grid = sticks.GRIDS[kind]
    steps = {"sampled": 8, "top_k": 64}[kind]
    logits = np.arange(32 * steps) / steps - 16
    assert grid.shares == pytest.approx(1 / (1 + np.exp(-logits)), rel=1e-12)
    assert np.exp(grid.log_shares) == pytest.approx(grid.shares, rel=1e-12)
    assert np.exp(grid.log_rests) == pytest.approx(1 - grid.shares, rel=1e-6)


def test_a_number_of_tail_entries_is_the_same_on_every_machine():
    """It comes from products of the table in float32; an error of a few units in the last place of
    exp changes none."""
    for grid in sticks.GRIDS.values():
        logits = np.arange(len(grid.shares)) / grid.steps + sticks.LOWEST_LOGIT
        exact = 1 / (1 + np.exp(logits))
        for error in (-1e-14, 1e-14):
            assert np.array_equal(
                (exact * (1 + error)).astype(np.float32).astype(np.float64), grid.rests
            )


def test_a_position_without_tail_ends_with_what_is_left():
    grid, heads = sticks.GRIDS["sampled"], np.array([2, 1, 0])
    codes = np.array([128, 200, 3], np.uint8)
    logprobs, _ = sticks.decode(codes, heads, grid=grid, tails=np.array([0, 0, 4]))
    assert np.exp(logprobs) == pytest.approx([0.5, 0.5, 1])


def test_uniforms_name_their_document():
    one = sticks.rounding_uniforms(0, b"a" * 16, 1000)
    assert np.array_equal(one[:10], sticks.rounding_uniforms(0, b"a" * 16, 10))
    assert not np.array_equal(one, sticks.rounding_uniforms(1, b"a" * 16, 1000))
    assert not np.array_equal(one, sticks.rounding_uniforms(0, b"b" * 16, 1000))
    assert 0 <= one.min() < 0.01 < 0.99 < one.max() < 1
    # These very numbers have rounded what lies in stores.
    assert one[:3].tolist() == [0.4488668301591576, 0.4151379025117923, 0.9639125633808457]
