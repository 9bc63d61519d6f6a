"""Ids become ranks, ranks become buckets and bits, and all of it comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import TargetsCorrupt
from tutelage.targets.ranks import (
    RankTable,
    join_ranks,
    most_used,
    pack_bits,
    read_bits,
    split_ranks,
)

IDS = st.lists(st.integers(0, 40), max_size=300).map(lambda ids: np.array(ids, np.int32))


@given(ids=IDS, vocabulary=st.integers(41, 60))
def test_every_id_has_one_rank(ids, vocabulary):
    table = RankTable.counting(ids)
    everything = np.arange(vocabulary, dtype=np.int32)
    ranks = table.ranks(everything)
    assert sorted(ranks) == list(range(vocabulary))
    assert np.array_equal(table.ids(ranks), everything)
    again = RankTable.from_steps(table.steps())
    assert np.array_equal(again.frequent, table.frequent)
    assert np.array_equal(again.ranks(everything), ranks)


@given(ids=IDS)
def test_frequent_ids_come_first(ids):
    table = RankTable.counting(ids)
    uses = np.bincount(ids, minlength=41)
    key = [(-int(np.log2(uses[token])) if uses[token] >= 4 else 0, token) for token in range(41)]
    expected = sorted(range(41), key=lambda token: key[token])
    assert table.ids(np.arange(41)).tolist() == expected
    assert np.array_equal(RankTable.counting(ids[::-1]).frequent, table.frequent)


@given(several=st.lists(IDS, min_size=1, max_size=4), vocabulary=st.integers(41, 60))
def test_several_orders_are_as_each_alone(several, vocabulary):
    alone = [RankTable(most_used(ids, fewest=2)) for ids in several]
    sizes = np.array([len(table.frequent) for table in alone])
    together = RankTable(np.concatenate([table.frequent for table in alone]), sizes)
    everything = np.tile(np.arange(vocabulary, dtype=np.int32), len(several))
    orders = np.repeat(np.arange(len(several)), vocabulary)
    ranks = together.ranks(everything, orders)
    assert np.array_equal(
        ranks, np.concatenate([table.ranks(everything[:vocabulary]) for table in alone])
    )
    assert np.array_equal(together.ids(ranks, orders), everything)
    again = RankTable.from_steps(together.steps(), sizes)
    assert np.array_equal(again.ranks(everything, orders), ranks)


def test_several_orders_of_the_largest_vocabulary():
    chance, vocabulary = np.random.default_rng(0), 2**20 - 16
    frequent = [chance.permutation(vocabulary)[:1000].astype(np.int32) for _ in range(5)]
    table = RankTable(np.concatenate(frequent), np.full(5, 1000))
    ids, orders = chance.integers(0, vocabulary, 20_000), chance.integers(0, 5, 20_000)
    ids[:2], ids[2:102] = (0, vocabulary - 1), frequent[3][:100]
    orders[2:102] = 3
    ranks = table.ranks(ids, orders)
    assert ranks[2:102].tolist() == list(range(100))
    assert 0 <= ranks.min() <= ranks.max() < vocabulary
    assert np.array_equal(table.ids(ranks, orders), ids)


def test_an_id_comes_once_in_an_order():
    twice = np.array([7, 9, 7], np.int32)
    assert RankTable(twice, np.array([2, 1])).frequent.tolist() == [7, 9, 7]
    with pytest.raises(TargetsCorrupt, match="has an id twice in one order of ids"):
        RankTable(twice)


def test_buckets_cover_every_rank():
    ranks = np.concatenate([np.arange(5000), 2 ** np.arange(13, 20) - 16, [2**20 - 17]])
    buckets, remainders = split_ranks(ranks)
    assert buckets.dtype == np.uint8
    assert np.array_equal(join_ranks(buckets, remainders), ranks)
    assert buckets[:17].tolist() == list(range(17))
    assert (np.diff(buckets[:5000].astype(int)) >= 0).all()
    assert buckets[-1] == 255
    assert (remainders < 1 << (buckets.astype(int) >> 4)).all()


@given(
    documents=st.lists(st.lists(st.integers(0, 2**20 - 17), max_size=20), max_size=5),
    chosen=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_bits_come_back_document_by_document(documents, chosen):
    ranks = np.array([rank for document in documents for rank in document], np.int64)
    buckets, remainders = split_ranks(ranks)
    entries = np.array([len(document) for document in documents], np.int64)
    content, sizes = pack_bits(remainders, buckets, entries=entries)
    assert len(content) == sizes.sum()
    assert sizes.tolist() == [
        -(-int((split_ranks(np.array(document, np.int64))[0] >> 4).sum()) // 8)
        for document in documents
    ]
    assert np.array_equal(read_bits(content, buckets, entries=entries, sizes=sizes), remainders)
    # Any of the documents can be read without the others.
    kept = [row for row in range(len(documents)) if chosen[row]]
    ends, byte_ends = np.cumsum(entries), np.cumsum(sizes)
    places = [np.arange(ends[row] - entries[row], ends[row]) for row in kept]
    place = np.concatenate([np.zeros(0, np.int64), *places])
    some = [content[byte_ends[row] - sizes[row] : byte_ends[row]] for row in kept]
    read = read_bits(
        np.concatenate([np.zeros(0, np.uint8), *some]),
        buckets[place],
        entries=entries[kept],
        sizes=sizes[kept],
    )
    assert np.array_equal(read, remainders[place])


def test_missing_bits_are_noticed():
    buckets, remainders = split_ranks(np.array([1000, 2000, 3000]))
    content, sizes = pack_bits(remainders, buckets, entries=np.array([3]))
    with pytest.raises(TargetsCorrupt, match="has fewer or more bits than its buckets ask for"):
        read_bits(content[:-1], buckets, entries=np.array([3]), sizes=sizes - 1)
