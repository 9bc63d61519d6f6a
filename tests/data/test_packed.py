"""The one shift between tokens and targets. That packed documents do not see each other: see
train."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.documents.packing import collate_packed
from tutelage.types import Document


def document(*tokens: int, trained: str | None = None) -> Document:
    """Token ids, and for each `x` where it trains; by default all but the first."""
    marks = trained or "." + "x" * (len(tokens) - 1)
    return Document(np.array(tokens, np.int32), np.array([mark == "x" for mark in marks]))


def test_a_batch_written_out_by_hand() -> None:
    documents = [document(10, 11, 12), document(20, 21, 22, 23, trained="..xx"), document(30, 31)]
    batch = collate_packed(documents, [[0, 2], [1]], pad_id=9)
    assert batch.input_ids.tolist() == [[10, 11, 12, 30, 31], [20, 21, 22, 23, 9]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]
    assert batch.segments.tolist() == [[1, 1, 1, 2, 2], [1, 1, 1, 1, 0]]
    # Token 11 is predicted by the state of 10, which is place 0; 31 by that of 30, place 3; 22 by
    # 21, place 5 + 1.
    assert batch.positions.tolist() == [0, 1, 3, 6, 7]
    assert batch.labels.tolist() == [11, 12, 31, 22, 23]
    assert batch.documents == [0, 2, 1]
    assert [batch.input_ids.dtype, batch.segments.dtype, batch.positions.dtype] == [
        torch.int64,
        torch.int32,
        torch.int64,
    ]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_labels_are_the_next_tokens_of_the_same_document(sizes: list[list[int]], seed: int) -> None:
    draw = np.random.default_rng(seed)
    documents, rows = [], []
    for row in sizes:
        rows.append(list(range(len(documents), len(documents) + len(row))))
        for size in row:
            trained = draw.random(size) < 0.6
            trained[0] = False
            documents.append(Document(draw.integers(1, 50, size).astype(np.int32), trained))
    order = draw.permutation(len(rows))
    batch = collate_packed(documents, [rows[place] for place in order], pad_id=0)
    flat, segments = batch.input_ids.flatten(), batch.segments.flatten()
    assert torch.equal(flat[batch.positions + 1], batch.labels)
    assert torch.equal(segments[batch.positions], segments[batch.positions + 1])
    assert len(batch.labels) == sum(one.positions for one in documents)
    expected = [documents[index].token_ids[documents[index].trained] for index in batch.documents]
    assert batch.labels.tolist() == np.concatenate(expected).tolist()
    assert int((segments > 0).sum()) == sum(len(one.token_ids) for one in documents)


def test_nothing_to_train_gives_empty_tensors() -> None:
    batch = collate_packed([document(1)], [[0]], pad_id=0)
    assert (batch.positions.shape, batch.labels.shape, batch.documents) == ((0,), (0,), [0])


def test_a_first_token_that_trains_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the first token of document 1 is to be trained"):
        collate_packed([document(1, 2), document(3, 4, trained="xx")], [[0, 1]], pad_id=0)


def test_a_batch_moves_as_a_whole() -> None:
    batch = collate_packed([document(1, 2)], [[0]], pad_id=0).to("meta")
    tensors = [batch.input_ids, batch.position_ids, batch.segments, batch.positions, batch.labels]
    assert all(tensor.is_meta for tensor in tensors)
