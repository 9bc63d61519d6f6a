"""Padding, masks, labels and soft targets of a batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.examples.collate import EncodedSet, collate
from tutelage.errors import ShapeMismatch

PAD = 9


def encoded(probs: bool = True) -> EncodedSet:
    teacher = np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]], dtype=np.float32) if probs else None
    return EncodedSet([[1, 2, 3], [4], [5, 6]], np.array([0, -100, 1]), teacher)


def test_a_batch_is_padded_to_its_own_longest_row():
    batch = collate(encoded(), [2, 1], pad_id=PAD)
    assert batch["input_ids"].tolist() == [[5, 6], [4, PAD]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["labels"].tolist() == [1, -100]
    torch.testing.assert_close(
        batch["teacher_logprobs"].exp(), torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    )
    assert batch["teacher_logprobs"][1, 1] == -torch.inf
    assert {value.dtype for name, value in batch.items() if name != "teacher_logprobs"} == {
        torch.int64
    }
    assert batch["teacher_logprobs"].dtype == torch.float32


def test_without_soft_targets_there_are_none_in_the_batch():
    assert "teacher_logprobs" not in collate(encoded(probs=False), [0], pad_id=PAD)
    assert "teacher_logprobs" not in collate(encoded().without_teacher(), [0], pad_id=PAD)


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_every_row_comes_back(data):
    rows = data.draw(st.lists(st.lists(st.integers(0, 50), max_size=6), min_size=1, max_size=8))
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=10))
    batch = collate(EncodedSet(rows, np.arange(len(rows))), chosen, pad_id=PAD)
    found = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert found == [rows[row] for row in chosen]
    assert (batch["input_ids"][batch["attention_mask"] == 0] == PAD).all()
    assert batch["input_ids"].shape[1] == max(1, *(len(rows[row]) for row in chosen))
    assert batch["labels"].tolist() == chosen


def test_a_selection_keeps_rows_together():
    chosen = encoded().select(np.array([2, 0]))
    assert [list(ids) for ids in chosen.input_ids] == [[5, 6], [1, 2, 3]]
    assert chosen.labels.tolist() == [1, 0]
    assert chosen.teacher_probs is not None
    assert chosen.teacher_probs[0].tolist() == [0.25, 0.75]
    assert chosen.labelled.tolist() == [0, 1]
    assert len(chosen) == 2


def test_parts_of_different_lengths_are_refused():
    with pytest.raises(ShapeMismatch, match=r"of 1, 2 rows given; expected the same rows"):
        EncodedSet([[1]], np.array([0, 1]))
    with pytest.raises(ShapeMismatch, match=r"of 1, 1, 2 rows"):
        EncodedSet([[1]], np.array([0]), np.ones((2, 2), dtype=np.float32))
