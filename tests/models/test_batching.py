from __future__ import annotations

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.models.computing import FULL_ENOUGH_TOKENS, MOST_PADDING, length_batches, pad

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 200), max_size=80)


@given(LENGTHS, st.integers(1, 3000))
def test_every_row_comes_once_within_the_budget(lengths, budget):
    batches = list(length_batches(lengths, batch_tokens=budget, device=CPU))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        width = max(lengths[index] for index in batch)
        assert width == lengths[batch[0]]
        assert len(batch) == 1 or width * len(batch) <= budget


@given(LENGTHS)
def test_a_processor_gets_little_padding_and_an_accelerator_few_batches(lengths):
    def padded(batch: list[int]) -> int:
        return max(lengths[index] for index in batch) * len(batch)

    for batch in length_batches(lengths, batch_tokens=4096, device=CPU):
        real = sum(lengths[index] for index in batch)
        width = lengths[batch[0]]
        assert (
            real >= (1 - MOST_PADDING) * padded(batch) or padded(batch) < FULL_ENOUGH_TOKENS + width
        )
    wide = list(length_batches(lengths, batch_tokens=10**6, device=torch.device("meta")))
    assert len(wide) == min(1, len(lengths))


@given(LENGTHS, st.integers(1, 3000))
def test_without_a_device_batches_are_as_full_as_can_be(lengths, budget):
    batches = list(length_batches(lengths, batch_tokens=budget))
    order = [index for batch in batches for index in batch]
    assert [lengths[index] for index in order] == sorted(lengths, reverse=True)
    for batch, following in itertools.pairwise(batches):
        assert len(following) == 0 or lengths[batch[0]] * (len(batch) + 1) > budget


def test_another_bound_is_kept():
    batches = list(
        length_batches(
            [5] * 10, batch_tokens=1000, device=CPU, fits=lambda rows, width: rows * width <= 20
        )
    )
    assert list(map(len, batches)) == [4, 4, 2]


def test_pad_pads_on_the_right_and_counts_an_empty_row_as_one():
    ids, lengths = pad([[1, 2], [], [3]], 9, device=CPU)
    assert ids.tolist() == [[1, 2], [9, 9], [3, 9]]
    assert lengths.tolist() == [2, 1, 1]
