"""Which texts are asked about next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeMismatch
from tutelage.teachers.choosing import choose_rows, margins

WAYS = ("random", "uncertain", "diverse", "mixed")


def made_up(seed: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return (
        generator.normal(size=(rows, 5)),
        generator.dirichlet(np.ones(3), size=rows),
        generator.random(rows) < 0.3,
    )


@pytest.mark.parametrize("choose", WAYS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 70))
def test_what_is_chosen_is_new_distinct_and_as_many_as_there_are(
    choose: str, seed: int, count: int
) -> None:
    features, probs, labelled = made_up(seed)
    for said in (probs, None):
        chosen = choose_rows(features, said, labelled, count=count, choose=choose, seed=seed)
        assert len(chosen) == min(count, int((~labelled).sum())) == len(set(chosen.tolist()))
        assert not labelled[chosen].any()
        again = choose_rows(features, said, labelled, count=count, choose=choose, seed=seed)
        np.testing.assert_array_equal(chosen, again)


def test_uncertain_takes_the_smallest_margins() -> None:
    features, probs, labelled = made_up(0)
    chosen = choose_rows(features, probs, labelled, count=10, choose="uncertain")
    gaps = margins(probs)
    others = np.setdiff1d(np.flatnonzero(~labelled), chosen)
    assert gaps[chosen].max() <= gaps[others].min()


def test_diverse_takes_one_of_each_heap_where_random_does_not() -> None:
    generator = np.random.default_rng(0)
    heap = np.repeat(np.arange(8), [400, 5, 5, 5, 5, 5, 5, 5])
    features = np.eye(8)[heap] * 100 + generator.normal(size=(len(heap), 8))
    known = np.zeros(len(heap), dtype=bool)
    found = choose_rows(features, None, known, count=40, choose="diverse", seed=1)
    assert set(heap[found]) == set(range(8))
    sure = np.tile([0.98, 0.02], (len(heap), 1))
    sure[heap == 3] = [0.5, 0.5]
    sure[heap == 5] = [0.6, 0.4]
    mixed = choose_rows(features, sure, known, count=2, choose="mixed")
    assert set(heap[mixed]) <= {3, 5}


def test_seeds_differ() -> None:
    features, probs, labelled = made_up(0)
    one, other = (
        choose_rows(features, probs, labelled, count=5, choose="random", seed=s) for s in (0, 1)
    )
    assert one.tolist() != other.tolist()


def test_equal_texts_are_filled_up() -> None:
    found = choose_rows(np.zeros((30, 2)), None, np.zeros(30), count=7, choose="diverse")
    assert len(set(found.tolist())) == 7


def test_what_is_not_about_the_same_texts_is_refused() -> None:
    features, probs, labelled = made_up(0)
    with pytest.raises(ShapeMismatch, match=r"expected \[N, D\], \[N, C\] and \[N\]"):
        choose_rows(features, probs[:5], labelled, count=3)
    with pytest.raises(ValueError, match="count is 0; expected at least one"):
        choose_rows(features, probs, labelled, count=0)
