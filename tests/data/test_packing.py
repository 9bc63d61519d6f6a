"""Plans of rows, micro-batches and steps: nothing lost, nothing doubled, nothing too long, little
wasted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.documents.packing import micro_batches, pack

lengths_up_to = st.integers(1, 64).flatmap(
    lambda most: st.tuples(st.just(most), st.lists(st.integers(1, most), max_size=60))
)


@settings(max_examples=100, deadline=None)
@given(case=lengths_up_to, seed=st.integers(0, 2**40))
def test_every_document_once_and_no_row_too_long(case: tuple[int, list[int]], seed: int) -> None:
    most, lengths = case
    rows = pack(lengths, sequence_length=most, seed=seed)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[index] for index in row) <= most for row in rows)
    # First fit leaves at most one row that is not more than half full.
    assert sum(2 * sum(lengths[index] for index in row) <= most for row in rows) <= 1
    assert rows == pack(np.array(lengths, dtype=np.int32), sequence_length=most, seed=seed)


def test_little_is_wasted() -> None:
    draw = np.random.default_rng(0)
    for lengths in (draw.integers(5, 100, 3000), draw.geometric(1 / 120, 2000).clip(2, 512)):
        rows = pack(lengths, sequence_length=512, seed=1)
        assert lengths.sum() / (512 * len(rows)) > 0.98


def test_documents_that_fill_rows_exactly() -> None:
    rows = pack([6, 2, 5, 3, 8, 1, 7], sequence_length=8, seed=3)
    assert sorted(sorted(row) for row in rows) == [[0, 1], [2, 3], [4], [5, 6]]


def test_another_seed_gives_another_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 200)
    one, other = (pack(lengths, sequence_length=64, seed=seed) for seed in (0, 1))
    assert one != other
    assert {frozenset(row) for row in one} != {frozenset(row) for row in other}


def test_rows_are_not_sorted_by_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 65, 500)
    rows = pack(lengths, sequence_length=64, seed=0)
    longest = [int(lengths[row].max()) for row in rows]
    assert abs(np.corrcoef(longest, np.arange(len(rows)))[0, 1]) < 0.2


def test_documents_that_cannot_be_laid_out() -> None:
    with pytest.raises(
        ValueError,
        match=r"documents of 3 to 9 tokens were given for rows of 8; .*split or truncate",
    ):
        pack([3, 9], sequence_length=8, seed=0)
    with pytest.raises(ValueError, match="expected at least 1"):
        pack([0, 4], sequence_length=8, seed=0)
    with pytest.raises(ValueError, match="tokens_per_step=0"):
        micro_batches(
            [1],
            tokens_per_step=0,
            tokens_per_micro_batch=8,
            sequence_length=8,
            pack=True,
            seed=0,
            epoch=0,
        )


@settings(max_examples=100, deadline=None)
@given(
    case=lengths_up_to,
    step=st.integers(1, 300),
    micro=st.integers(1, 150),
    together=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_an_epoch_holds_every_document_once_within_the_budgets(
    case: tuple[int, list[int]], step: int, micro: int, together: bool, epoch: int
) -> None:
    most, lengths = case
    settings = {
        "tokens_per_step": step, "tokens_per_micro_batch": micro, "sequence_length": most,
        "pack": together, "seed": 5,
        "epoch": epoch,
    }  # fmt: skip
    steps = micro_batches(lengths, **settings)
    assert steps == micro_batches(lengths, **settings)
    found = [index for micros in steps for rows in micros for row in rows for index in row]
    assert sorted(found) == list(range(len(lengths)))
    assert all(type(index) is int for index in found)
    for micros in steps:
        assert micros
        indexes = [index for rows in micros for row in rows for index in row]
        assert sum(lengths[index] for index in indexes) <= step or len(indexes) == 1
        for rows in micros:
            inside = [index for row in rows for index in row]
            width = max(sum(lengths[index] for index in row) for row in rows)
            assert width * len(rows) <= micro or len(inside) == 1
            assert width <= most
            assert together or all(len(row) == 1 for row in rows)


def test_steps_are_nearly_full_and_packing_pads_little() -> None:
    lengths = np.random.default_rng(0).integers(5, 300, 3000)
    for together in (True, False):
        steps = micro_batches(
            lengths,
            tokens_per_step=4096,
            tokens_per_micro_batch=1024,
            sequence_length=512,
            pack=together,
            seed=0,
            epoch=0,
        )
        read = [sum(int(lengths[row].sum()) for rows in micros for row in rows) for micros in steps]
        padded = sum(
            len(rows) * max(int(lengths[row].sum()) for row in rows)
            for micros in steps
            for rows in micros
        )
        assert np.mean(read) > 0.85 * 4096
        assert padded < 1.1 * lengths.sum()


def test_epochs_differ_and_do_not_depend_on_each_other() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 100)
    settings = {
        "tokens_per_step": 256,
        "tokens_per_micro_batch": 128,
        "sequence_length": 64,
        "pack": True,
        "seed": 0,
    }
    first, second = (micro_batches(lengths, **settings, epoch=epoch) for epoch in (0, 1))
    assert first != second
    assert second == micro_batches(lengths, **settings, epoch=1)
    assert first != micro_batches(lengths, **{**settings, "seed": 1}, epoch=0)


@pytest.mark.parametrize("together", [True, False])
def test_a_step_never_goes_over_its_budget_by_a_token(together: bool) -> None:
    settings = {
        "tokens_per_micro_batch": 3,
        "sequence_length": 3,
        "pack": together,
        "seed": 0,
        "epoch": 0,
    }
    steps = micro_batches([3] * 10, tokens_per_step=8, **settings)
    assert [len(micros) for micros in steps] == [2] * 5
    steps = micro_batches([3] * 10, tokens_per_step=9, **settings)
    assert sorted(len(micros) for micros in steps) == [1, 3, 3, 3]


@settings(max_examples=60, deadline=None)
@given(case=lengths_up_to, step=st.integers(1, 300), together=st.booleans())
def test_what_a_step_holds_does_not_depend_on_micro_batches(
    case: tuple[int, list[int]], step: int, together: bool
) -> None:
    most, lengths = case

    def held(micro: int) -> list[list[int]]:
        steps = micro_batches(
            lengths, tokens_per_step=step, tokens_per_micro_batch=micro, sequence_length=most,
            pack=together, seed=1,
            epoch=0,
        )  # fmt: skip
        return [
            sorted(index for rows in micros for row in rows for index in row) for micros in steps
        ]

    assert held(1) == held(7) == held(step) == held(10 * step)


def test_smaller_micro_batches_are_more_of_them() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 200)
    settings = {"tokens_per_step": 512, "sequence_length": 64, "pack": True, "seed": 0, "epoch": 0}
    counts = [
        np.mean(
            [
                len(micros)
                for micros in micro_batches(lengths, tokens_per_micro_batch=micro, **settings)
            ]
        )
        for micro in (64, 128, 256, 512)
    ]
    assert counts[0] > counts[1] > counts[2] > counts[3] == 1.0
