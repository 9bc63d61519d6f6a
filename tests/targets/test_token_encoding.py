"""How token targets are encoded: without bias, for any vocabulary, small on disk and quick to
read."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.targets.token_targets import (
    assert_same,
    documents,
    language_documents,
    lookup,
    name,
    positions_of,
    write,
)

from tutelage.targets import SparseTargets, TargetStore, inspect


def one_position(ids, logprobs, *, heads: int, entropy: float = 1.0) -> SparseTargets:
    return SparseTargets(
        np.array([len(ids)], np.uint16), np.array([heads], np.uint16), np.array(ids, np.int32),
        np.array(logprobs, np.float32), np.array([entropy], np.float32),
    )  # fmt: skip


def test_a_position_of_one_entry_is_exact(tmp_path):
    values = [
        one_position([399], [0.0], heads=1, entropy=0.0),
        one_position([7], [0.0], heads=0, entropy=0.0),
    ]
    for value, found in zip(
        values, lookup(write(tmp_path / "targets", "sampled", values), 2), strict=True
    ):
        assert_same([found], [value])


@pytest.mark.parametrize(
    ("kind", "heads"), [("sampled", 0), ("sampled", 300), ("sampled", 256), ("top_k", 300)]
)
def test_more_than_255_entries(tmp_path, kind, heads):
    chance = np.random.default_rng(0)
    value = one_position(
        chance.permutation(400)[:300], np.full(300, -np.log(300)), heads=heads, entropy=5.7
    )
    (found,) = lookup(write(tmp_path / "targets", kind, [value]), 1)
    assert found.counts.tolist() == [300]
    assert found.heads.tolist() == [heads]
    assert sorted(found.ids) == sorted(value.ids)
    if kind == "sampled":
        assert np.exp(found.logprobs.astype(np.float64)).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("vocabulary", [2, 300, 49_152, 151_936, 2**20 - 16])
def test_vocabularies_of_any_size(tmp_path, vocabulary):
    ids = sorted({0, 1, vocabulary // 2, vocabulary - 2, vocabulary - 1})
    value = one_position(ids[::-1], np.full(len(ids), -np.log(len(ids))), heads=1, entropy=0.5)
    path = write(tmp_path / "targets", "sampled", [value] * 5, vocabulary_size=vocabulary)
    for found in lookup(path, 5):
        assert found.ids[0] == ids[-1]
        assert found.ids[1:].tolist() == ids[:-1]


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_rounding_is_unbiased(tmp_path, kind):
    """Of 40,000 equal positions, means of what is decoded are what was given, for heads, tails and
    entropies."""
    probs, count = np.array([0.55, 0.2, 0.13, 0.0007]), 40_000
    rest = 1 - probs.sum()
    entries = probs if kind == "top_k" else np.array([*probs, rest / 3, rest / 3, rest / 3])
    value = SparseTargets(
        np.full(count, len(entries), np.uint16),
        np.full(count, len(probs), np.uint16),
        np.tile(np.arange(len(entries), dtype=np.int32), count),
        np.tile(np.log(entries).astype(np.float32), count),
        np.full(count, 3.21, np.float32),
    )
    (found,) = lookup(write(tmp_path / "targets", kind, [value]), 1)
    decoded = np.exp(found.logprobs.astype(np.float64)).reshape(count, -1)
    deviations = np.abs(decoded.mean(axis=0) - entries) / (decoded.std(axis=0) / np.sqrt(count))
    assert deviations.max() < 4
    assert (decoded.std(axis=0) > 0).all()
    assert np.abs(found.entropies.mean() - 3.21) < 4 * found.entropies.std() / np.sqrt(count)
    assert 0 < found.entropies.std() < 0.06


def test_a_tail_too_small_for_float32_is_kept(tmp_path):
    (found,) = lookup(
        write(tmp_path / "targets", "top_k", [one_position([5], [-3e-6], heads=1)]), 1
    )
    assert -np.expm1(float(found.logprobs[0])) == pytest.approx(3e-6, rel=0.02)


def test_rounding_depends_on_seed_and_content_alone(tmp_path):
    (value,) = documents("sampled", [40])
    (found,) = lookup(write(tmp_path / "a", "sampled", [value]), 1)
    again = TargetStore.open(
        write(
            tmp_path / "b",
            "sampled",
            [*documents("sampled", [5], seed=9), value],
            [name(7), name(0)],
        )
    )
    assert_same(again.lookup([name(0)]), [found])
    (reseeded,) = lookup(write(tmp_path / "c", "sampled", [value], seed=4), 1)
    (renamed,) = TargetStore.open(write(tmp_path / "d", "sampled", [value], [name(1)])).lookup(
        [name(1)]
    )
    for other in (reseeded, renamed):
        assert np.array_equal(other.counts, found.counts)
        assert not np.array_equal(other.logprobs, found.logprobs)


@pytest.fixture(scope="module")
def language_store(tmp_path_factory):
    """20 documents as a language model of 49,152 ids would have them."""
    values = language_documents(20, 150, vocabulary=49_152, threshold=0.05)
    path = tmp_path_factory.mktemp("language") / "targets"
    return values, write(path, "sampled", values, vocabulary_size=49_152)


def test_bytes_are_a_tenth_less_than_parquet_alone_can_do(language_store):
    """Sorted ids as differences, log-probabilities in a byte, entropies in two, all split into
    planes of bytes."""
    values, path = language_store
    entries = [
        (row, token, side, logprob)
        for row, value in enumerate(values)
        for head, tail in positions_of(value)
        for side, probs in enumerate((head, tail))
        for token, logprob in sorted((token, np.log(prob)) for token, prob in probs.items())
    ]
    rows, ids, sides, logprobs = map(np.array, zip(*entries, strict=True))
    steps = np.diff(ids, prepend=0)
    heads = sides == 0
    columns = {
        "heads": (np.concatenate([value.heads for value in values]), None),
        "tails": (np.concatenate([value.counts - value.heads for value in values]), None),
        "entropies": (
            np.concatenate([value.entropies for value in values]).astype(np.float16),
            None,
        ),
        "head_ids": (ids[heads].astype(np.uint16), rows[heads]),
        "head_logprobs": ((-logprobs[heads] / 3 * 255).clip(0, 255).astype(np.uint8), rows[heads]),
        "tail_steps": (np.where(steps < 0, ids, steps)[~heads].astype(np.uint16), rows[~heads]),
    }
    plain = 0
    for column, _ in columns.values():
        sink = pa.BufferOutputStream()
        encoding = {"use_dictionary": False, "column_encoding": "BYTE_STREAM_SPLIT"}
        pq.write_table(
            pa.table({"a": column}), sink, compression="zstd", compression_level=15, **encoding
        )
        plain += sink.getvalue().size - 500  # what a file costs however few rows it has, generously
    facts = inspect(path)
    assert facts["positions"] == 3000
    assert facts["bytes"] < 0.9 * plain


def test_numbers_of_tail_entries_are_expected(language_store):
    """The draw's rule is known, so what is stored is nearly always 0."""
    _, path = language_store
    surplus = np.concatenate(pq.read_table(path / "part-00000.parquet")["tail_surplus"].to_pylist())
    assert (surplus == 0).mean() > 0.7
    assert np.abs(surplus).max() <= 3


def test_reading_is_quick(language_store):
    _, path = language_store
    store = TargetStore.open(path)
    asked = [name(row) for row in range(20)] * 8
    started = time.process_time()  # not wall time: the machine may be busy with other things
    found = store.lookup(asked)
    assert sum(len(value) for value in found) == 24_000
    assert (
        time.process_time() - started < 0.6
    )  # 40,000 positions a second; an idle core reads 500,000
