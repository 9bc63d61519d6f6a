"""Stores of token targets keep what they were given, whatever the order or the parts, and say what
they hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.targets.token_targets import (
    STORE_KINDS,
    VOCABULARY,
    assert_same,
    documents,
    lookup,
    name,
    open_writer,
    positions_of,
    sparse_document,
    write,
)

from tutelage.errors import TargetsIncomplete, TargetsMismatch
from tutelage.targets import TargetStore, inspect, reader, verify

LENGTHS = [3, 0, 7, 1, 12, 5, 0, 2]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    lengths=st.lists(st.integers(0, 8), min_size=1, max_size=5),
    kind=st.sampled_from(["sampled", "top_k"]),
)
def test_sparse_targets_come_back(tmp_path_factory, seed, lengths, kind):
    given_values = documents(kind, lengths, seed=seed)
    found = lookup(
        write(tmp_path_factory.mktemp("store") / "targets", kind, given_values), len(lengths)
    )
    for before, after in zip(given_values, found, strict=True):
        assert (after.counts.dtype, after.heads.dtype) == (np.uint16, np.uint16)
        assert (after.ids.dtype, after.logprobs.dtype, after.entropies.dtype) == (
            np.int32,
            np.float32,
            np.float32,
        )
        assert np.array_equal(before.counts, after.counts)
        assert np.array_equal(before.heads, after.heads)
        steps = np.log(VOCABULARY) * np.diff((np.arange(128) / 127) ** 2)
        assert np.abs(before.entropies - after.entropies).max(initial=0) <= steps.max()
        for (head, tail), (head_after, tail_after) in zip(
            positions_of(before), positions_of(after), strict=True
        ):
            assert head.keys() == head_after.keys()
            assert tail.keys() == tail_after.keys()
            total = sum(head_after.values()) + sum(tail_after.values())
            if kind == "sampled":
                assert total == pytest.approx(1, abs=1e-6)
                assert len(set(tail_after.values())) <= 1
            else:
                assert total <= 1 + 1e-6
            assert list(tail_after) == sorted(tail_after)
            # In the order of the probabilities that were given, of ids where they are equal.
            for one, other in pairwise(head_after):
                assert (-head[one], one) < (-head[other], other)
            # Each share moves by less than a step of its logit; errors of the shares before it add
            # up.
            step = np.expm1(1 / 8 if kind == "sampled" else 1 / 64)
            for place, token in enumerate(head_after, start=1):
                assert head_after[token] == pytest.approx(
                    head[token], rel=step * place + 1e-5, abs=2e-6
                )


@pytest.mark.parametrize("kind", STORE_KINDS)
@settings(max_examples=6, deadline=None)
@given(
    order=st.permutations(range(len(LENGTHS))),
    batches=st.lists(st.integers(1, 5), min_size=len(LENGTHS), max_size=len(LENGTHS)),
    rows_per_part=st.integers(1, 9),
)
def test_order_batching_and_parts_never_matter(
    tmp_path_factory, kind, order, batches, rows_per_part
):
    folder = tmp_path_factory.mktemp("store")
    values, rest = documents(kind, LENGTHS), list(order)
    expected = lookup(write(folder / "at once", kind, values), len(LENGTHS))
    for size in batches:
        rows, rest = rest[:size], rest[size:]
        with open_writer(
            folder / "targets", kind, rows_per_part=rows_per_part
        ) as writer:  # opened anew for each batch
            writer.add([name(row) for row in rows], [values[row] for row in rows])
            if not rest:
                writer.finish()
    store = TargetStore.open(folder / "targets")
    assert_same(store.lookup([name(row) for row in range(len(LENGTHS))]), expected)
    asked = [*order, order[0], order[0]]
    assert_same(store.lookup([name(row) for row in asked]), [expected[row] for row in asked])
    assert verify(folder / "targets") == []


@pytest.mark.parametrize("kind", STORE_KINDS)
def test_the_same_documents_make_the_same_bytes(tmp_path, kind):
    values, ids = documents(kind, LENGTHS), [name(row) for row in range(len(LENGTHS))]
    there = write(tmp_path / "there", kind, values, ids)
    back = write(tmp_path / "back", kind, values[::-1], ids[::-1])
    assert sorted(found.name for found in there.iterdir()) == sorted(
        found.name for found in back.iterdir()
    )
    for found in there.iterdir():
        assert found.read_bytes() == (back / found.name).read_bytes()


@pytest.mark.parametrize("kind", STORE_KINDS)
def test_the_first_word_about_a_document_counts(tmp_path, kind):
    first, second = documents(kind, [4, 9])
    path = write(tmp_path / "targets", kind, [first, second], [name(0), name(0)])
    with open_writer(path, kind) as writer:
        assert writer.missing([name(0), name(1), name(1)]) == [1]
        writer.add([name(0), name(1)], [second, second])
        writer.finish()
    found = lookup(path, 2)
    assert [len(value) for value in found] == [4, 9]
    assert len(TargetStore.open(path)) == 2
    assert TargetStore.open(path).manifest.positions == 13


@pytest.mark.parametrize("kind", STORE_KINDS)
def test_a_store_of_empty_documents(tmp_path, kind):
    path = write(tmp_path / "targets", kind, documents(kind, [0, 0, 0]))
    assert [len(value) for value in lookup(path, 3)] == [0, 0, 0]
    assert verify(path) == []
    facts = inspect(path, samples=2)
    assert (facts["rows"], facts["positions"], facts["bytes_per_position"], facts["kept_mass"]) == (
        3,
        0,
        None,
        None,
    )
    assert facts["samples"] == []
    assert TargetStore.open(path).lookup([]) == []


@pytest.mark.parametrize("kind", STORE_KINDS)
def test_the_caller_may_reuse_its_arrays(tmp_path, kind):
    (value,) = documents(kind, [4])
    expected = lookup(write(tmp_path / "whole", kind, [value]), 1)
    with open_writer(tmp_path / "targets", kind) as writer:
        writer.add([name(0)], [value])
        for field in type(value).__slots__:
            getattr(value, field)[...] = 0
        writer.finish()
    assert_same(lookup(tmp_path / "targets", 1), expected)


@pytest.mark.parametrize("kind", STORE_KINDS)
def test_a_part_is_closed_when_it_is_large(tmp_path, kind):
    path = write(tmp_path / "targets", kind, documents(kind, [50] * 6), bytes_per_part=1000)
    assert [part.rows for part in TargetStore.open(path).manifest.parts] != [6]
    assert sum(part.positions for part in TargetStore.open(path).manifest.parts) == 300


def test_inspect_agrees_with_the_definitions(tmp_path):
    values = [
        sparse_document(np.random.default_rng(0), 30),
        sparse_document(np.random.default_rng(1), 10),
    ]
    path = write(tmp_path / "targets", "sampled", values)
    facts, found = inspect(path), lookup(path, 2)
    shown = [position for value in found for position in positions_of(value)]
    size = sum(part.stat().st_size for part in path.glob("*.parquet"))
    expected = {
        "kept_mass": np.mean([sum(head.values()) for head, _ in shown]),
        "mean_head": np.mean([len(head) for head, _ in shown]),
        "mean_tail": np.mean([len(tail) for _, tail in shown]),
        "mean_entropy_nats": np.mean(np.concatenate([value.entropies for value in found])),
        "bytes_per_position": size / 40,
    }
    assert {key: facts.pop(key) for key in expected} == pytest.approx(expected)
    assert facts == {
        "kind": "sampled", "rows": 2, "positions": 40, "bytes": size, "teacher": "t1",
        "tokenizer": "k1",
        "complete": True, "vocabulary_size": VOCABULARY, "encoding": {"threshold": 0.05},
    }  # fmt: skip


def test_inspect_of_top_k_and_hidden(tmp_path):
    values = documents("top_k", [20])
    facts = inspect(write(tmp_path / "top_k", "top_k", values))
    assert facts["kept_mass"] == pytest.approx(
        np.exp(values[0].logprobs.astype(np.float64)).sum() / 20, abs=0.005
    )
    assert (facts["mean_tail"], facts["encoding"]) == (0, {"k": 5})
    facts = inspect(write(tmp_path / "hidden", "hidden", documents("hidden", [20])))
    assert facts["kept_mass"] == 1
    assert facts["output_bytes"] == (tmp_path / "hidden" / "output.safetensors").stat().st_size


def test_samples_spell_ids(tmp_path):
    values = documents("sampled", [5, 5, 0])
    path = write(tmp_path / "targets", "sampled", values)
    facts = inspect(path, decode=lambda ids: "+".join(f"<{number}>" for number in ids), samples=3)
    assert facts["samples"] == inspect(path, decode=lambda ids: f"<{ids[0]}>", samples=3)["samples"]
    assert len(facts["samples"]) == 2  # the third document has no position
    for sample in facts["samples"]:
        value = TargetStore.open(path).lookup([bytes.fromhex(sample["example_id"])])[0]
        head, tail = positions_of(value)[sample["position"]]
        assert {entry["id"]: entry["prob"] for entry in sample["head"]} == pytest.approx(head)
        assert {entry["id"]: entry["prob"] for entry in sample["tail"]} == pytest.approx(tail)
        assert all(
            entry["text"] == f"<{entry['id']}>" for entry in [*sample["head"], *sample["tail"]]
        )
        assert sample["entropy_nats"] == pytest.approx(float(value.entropies[sample["position"]]))
    bare = inspect(path, samples=1)["samples"][0]
    assert all(entry["text"] is None for entry in [*bare["head"], *bare["tail"]])


def test_ids_without_targets_are_documents(tmp_path):
    store = TargetStore.open(write(tmp_path / "targets", "sampled", documents("sampled", [3])))
    with pytest.raises(
        TargetsIncomplete,
        match=r"no targets for 1 of the 2 documents asked for \(content ids 0{31}5\)",
    ):
        store.lookup([name(0), name(5)])
    with pytest.raises(
        ValueError,
        match="holds targets of kind sampled, which need no output matrix; expected hidden",
    ):
        store.output_matrix()


def test_another_tokenizer_or_encoding_is_named(tmp_path):
    path = write(tmp_path / "targets", "sampled", documents("sampled", [3]))
    with pytest.raises(
        TargetsMismatch,
        match=r"for tokenizer k1 \(400 ids\) but tokenizer k2 is used, whose ids name",
    ):
        TargetStore.open(path, tokenizer="k2")
    with pytest.raises(
        TargetsMismatch, match=r'its encoding is \{"threshold": 0.05\}, not \{"threshold": 0.02\}'
    ):
        open_writer(path, "sampled", encoding={"threshold": 0.02})


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_what_does_not_fit_into_memory_is_read_from_a_file_that_leaves_nothing(
    tmp_path, monkeypatch, kind
):
    given_values = documents(kind, LENGTHS * 4, seed=3)
    folder = write(tmp_path / "targets", kind, given_values, rows_per_part=8)
    in_memory = lookup(folder, len(given_values))
    files = sorted(path.name for path in folder.iterdir())
    parts = TargetStore.open(folder).index.parts
    monkeypatch.setattr(reader, "KEPT_IN_MEMORY", parts[0].nbytes + parts[1].nbytes)
    store = TargetStore.open(folder)
    assert [hasattr(part, "_places") for part in store.index.parts] == [False, False, True, True]
    assert_same(store.lookup([name(number) for number in range(len(given_values))]), in_memory)
    assert sorted(path.name for path in folder.iterdir()) == files


def test_a_store_where_no_file_can_be_written_stays_in_memory(tmp_path, monkeypatch):
    given_values = documents("sampled", LENGTHS, seed=3)
    folder = write(tmp_path / "targets", "sampled", given_values)
    in_memory = lookup(folder, len(given_values))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reader, "KEPT_IN_MEMORY", 0)
    monkeypatch.setattr(reader, "TemporaryFile", refuse)
    assert_same(lookup(folder, len(given_values)), in_memory)
