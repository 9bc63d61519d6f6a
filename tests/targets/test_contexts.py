"""Contexts: every id comes back, a part of several contexts takes fewer bytes, and small parts have
none."""

from __future__ import annotations

import re
import tracemalloc
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.targets.test_sparse_refusals import replace_column
from tests.targets.token_targets import assert_same, documents, lookup, name, write

from tutelage.errors import TargetsCorrupt
from tutelage.targets import SparseTargets, TargetStore, inspect, verify
from tutelage.targets.contexts import CONTEXTS, Contexts, Entries

TAIL = 8
VOCABULARY = 2_000


MANY: dict[str, Any] = {"contexts": ((1, 3),), "fewest_uses": 2}
"""Contexts where a part would be too small for them."""


@pytest.fixture
def written_with(monkeypatch):
    """Has stores written with other contexts than parts of their size have."""
    learn = Contexts.learn
    return lambda **options: monkeypatch.setattr(Contexts, "learn", partial(learn, **options))


def entries(chance: np.random.Generator, positions: int, vocabulary: int = 30) -> Entries:
    heads, tails = chance.integers(0, 4, positions), chance.integers(0, 5, positions)
    return Entries(heads, tails, chance.integers(0, vocabulary, int(heads.sum() + tails.sum())))


@settings(max_examples=50, deadline=None)
@example(seed=36, positions=1, frequent=0)  # one head and nothing else
@given(seed=st.integers(0, 2**32), positions=st.integers(1, 40), frequent=st.integers(0, 30))
def test_ranks_come_back(seed, positions, frequent):
    given_entries = entries(np.random.default_rng(seed), positions)
    learnt = Contexts.learn(given_entries, frequent=frequent, **MANY)
    if learnt is None:
        assert not given_entries.later.any()
        return
    assert len(learnt.of_first) == frequent + 1
    assert len(learnt.table.sizes) == 4
    coded = Entries(given_entries.heads, given_entries.tails, learnt.encode(given_entries))
    assert np.array_equal(learnt.decode(coded), given_entries.ranks)


def test_entries_know_their_place():
    found = Entries(np.array([2, 0, 1]), np.array([1, 2, 0]), np.array([7, 8, 9, 1, 2, 3]))
    assert found.owners.tolist() == [0, 0, 2, 0, 1, 1]
    assert found.later.tolist() == [False, True, False, True, True, True]
    assert found.sizes.tolist() == [3, 2, 1]
    assert found.groups(100).tolist() == [8, 0, 10]
    assert found.groups(10).tolist() == [8, 0, 0]


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_a_store_with_contexts_holds_the_same(tmp_path, kind, written_with):
    written_with(**MANY)
    values = documents(kind, [30, 0, 12, 1, 25], seed=4)
    path = write(tmp_path / "with", kind, values)
    assert pq.read_table(path / "part-00000.parquet")["contexts"].to_pylist()[0]
    assert verify(path) == []
    found = lookup(path, 5)
    written_with(contexts=())
    plain = write(tmp_path / "without", kind, values)
    assert pq.read_table(plain / "part-00000.parquet")["contexts"].to_pylist() == [[]] * 5
    assert_same(found, lookup(plain, 5))
    store = TargetStore.open(path)
    for row in range(5):  # a document alone is read as it is among the others
        assert_same(store.lookup([name(row)]), found[row : row + 1])


def language_of_two_kinds(chance: np.random.Generator, positions: int) -> SparseTargets:
    """After an even id come ids of the lower half, after an odd one those of the upper half; half
    know no head."""
    heads = (np.arange(positions) % 2).astype(np.uint16)
    ids = []
    for head in heads.tolist():
        first = [int(chance.integers(0, 20))] * head
        half = VOCABULARY // 2
        tail = 20 + np.unique((half * chance.random(3 * TAIL) ** 3).astype(int))
        tail = chance.permutation(tail)[:TAIL] + (half if first and first[0] % 2 else 0)
        ids += [*first, *tail.tolist()]
    counts = heads + TAIL
    probs = [[0.5] * head + [(1 - 0.5 * head) / TAIL] * TAIL for head in heads.tolist()]
    return SparseTargets(
        counts.astype(np.uint16), heads, np.array(ids, np.int32),
        np.log(np.concatenate(probs)).astype(np.float32),
        np.full(positions, 3.0, np.float32),
    )  # fmt: skip


def test_contexts_take_bytes_away(tmp_path, written_with):
    """Half of the positions tell by their first id which half of the ids comes: nearly a bit for
    each of those."""
    chance = np.random.default_rng(0)
    values = [language_of_two_kinds(chance, 300) for _ in range(60)]
    size = {}
    for number in (0, 2):
        written_with(contexts=((1, number),))
        path = write(tmp_path / str(number), "sampled", values, vocabulary_size=2 * VOCABULARY)
        size[number] = (path / "part-00000.parquet").stat().st_size
        assert sum(len(value) for value in lookup(path, 60)) == 18_000
    bit_each = 18_000 / 2 * TAIL / 8
    assert size[0] - size[2] > 0.6 * bit_each


@pytest.mark.parametrize("number", [number for _, number in CONTEXTS])
def test_larger_parts_have_more_contexts(number):
    least = {number: least for least, number in CONTEXTS}[number]
    chance = np.random.default_rng(0)
    heads, tails = np.ones(least // 8, np.int64), np.full(least // 8, 8)
    ranks = (1_000 * chance.random(len(heads) * 9) ** 3).astype(np.int64)
    learnt = Contexts.learn(Entries(heads, tails, ranks), frequent=500)
    assert learnt is not None
    assert len(learnt.table.sizes) == number + 1
    if number == min(number for _, number in CONTEXTS):
        assert Contexts.learn(Entries(heads[1:], tails[1:], ranks[9:]), frequent=500) is None
    assert all(one > other for (one, _), (other, _) in pairwise(CONTEXTS))


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        (
            "contexts",
            lambda rows: [[3, *rows[0][1:]], *rows[1:]],
            "has contexts without an order of ids",
        ),
        (
            "contexts",
            lambda rows: [[], *rows[1:]],
            "has other numbers of contexts than rank_steps says",
        ),
        (
            "contexts",
            lambda rows: [rows[0][:-1], *rows[1:]],
            "has other numbers of contexts than rank_steps says",
        ),
        (
            "context_sizes",
            lambda rows: [[*rows[0], 1], *rows[1:]],
            "other numbers of context_steps than context_sizes",
        ),
        (
            "context_steps",
            lambda rows: [[1_000, *rows[0][1:]], *rows[1:]],
            "ids that a vocabulary of 400 does not have",
        ),
    ],
)
def test_contexts_that_contradict_themselves_are_found(
    tmp_path, written_with, column, change, message
):
    written_with(**MANY)
    path = write(tmp_path / "targets", "sampled", documents("sampled", [30, 3], seed=1))
    replace_column(path, column, change)
    (found,) = verify(path)
    assert re.search(f"part-00000.parquet.*{message}", found)
    with pytest.raises(TargetsCorrupt, match=rf"part-00000.parquet .*{message}"):
        inspect(path)


def test_a_large_vocabulary_takes_little_memory():
    chance, vocabulary = np.random.default_rng(0), 2**20 - 16
    heads, tails = np.ones(50_000, np.int64), np.full(50_000, 10)
    ranks = chance.integers(0, vocabulary, 550_000)
    given_entries = Entries(heads, tails, ranks)
    tracemalloc.start()
    learnt = Contexts.learn(given_entries, frequent=vocabulary // 2, contexts=((1, 32),))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert learnt is not None
    assert peak < 250 * 2**20  # tables of all ids alone would be 500
    coded = Entries(heads, tails, learnt.encode(given_entries))
    assert np.array_equal(learnt.decode(coded), ranks)
