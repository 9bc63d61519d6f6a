"""Which rows make which step, as a pure function of seed and epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.train.steps.classes.rows import epoch_steps, num_steps, parts

LENGTHS = np.random.default_rng(0).integers(1, 60, 500)


def order(**changes):
    wanted = {"rows_per_step": 8, "seed": 0, "epoch": 0, **changes}
    return [rows.tolist() for rows in epoch_steps(LENGTHS, **wanted)]


def test_seed_and_epoch_decide_and_nothing_else():
    first = order()
    np.random.seed(1)  # noqa: NPY002  whatever other code does to the global generator
    assert order() == first
    assert order(epoch=1) != first
    assert order(seed=1) != first
    assert order(draws=500) == first


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 90),
    rows_per_step=st.integers(1, 9),
    extra=st.integers(0, 200),
    epoch=st.integers(0, 3),
)
def test_rows_come_equally_often_in_as_many_steps_as_promised(rows, rows_per_step, extra, epoch):
    steps = epoch_steps(
        LENGTHS[:rows], rows_per_step=rows_per_step, seed=3, epoch=epoch, draws=rows + extra
    )
    counts = np.bincount(np.concatenate(steps), minlength=rows)
    assert counts.sum() == rows + extra
    assert counts.max() - counts.min() <= 1
    assert len(steps) == num_steps(rows + extra, rows_per_step)
    assert sorted(map(len, steps), reverse=True)[:-1] == [rows_per_step] * (len(steps) - 1)


def test_rows_of_similar_length_are_together_but_steps_are_mixed():
    steps = epoch_steps(LENGTHS, rows_per_step=8, seed=0, epoch=0)
    padded = sum(int(LENGTHS[rows].max()) * len(rows) for rows in steps)
    assert padded < 1.15 * LENGTHS.sum()
    longest = [int(LENGTHS[rows].max()) for rows in steps]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.5


def test_no_row_is_refused():
    with pytest.raises(ValueError, match="no row given to draw steps from"):
        epoch_steps(LENGTHS[:0], rows_per_step=8, seed=0, epoch=0)


@given(rows=st.integers(1, 40), batch_size=st.integers(1, 9), processes=st.integers(1, 5))
def test_parts_cover_a_step_once_over_all_processes(rows, batch_size, processes):
    mine = [
        parts(rows, batch_size=batch_size, process=p, processes=processes) for p in range(processes)
    ]
    assert len({len(cuts) for cuts in mine}) == 1
    assert sorted(np.concatenate([place for cuts in mine for place in cuts]).tolist()) == list(
        range(rows)
    )
    assert all(
        sum(len(cuts[number]) for cuts in mine) <= batch_size for number in range(len(mine[0]))
    )
