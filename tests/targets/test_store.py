"""The store gives back what it was given: by content, in any order, readable by plain pyarrow."""

from __future__ import annotations

import json
import time

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.targets.class_targets import IDS, LABELS, PROBS, files, open_writer, write

from tutelage.targets import TargetStore, inspect, verify
from tutelage.types import example_id


def test_what_goes_in_comes_out_exactly(tmp_path):
    store = TargetStore.open(
        write(tmp_path / "targets"), teacher="t1", labels=list(LABELS), tokenizer=""
    )
    found = store.lookup(IDS)
    assert found.dtype == np.float32
    assert np.array_equal(found, PROBS)
    assert len(store) == 50
    assert IDS[7] in store
    assert example_id("never seen") not in store


def test_lookup_follows_the_ids_asked_for(tmp_path):
    store = TargetStore.open(write(tmp_path / "targets"))
    rows = [3, 3, 49, 0, 3]
    assert np.array_equal(store.lookup([IDS[row] for row in rows]), PROBS[rows])
    assert store.lookup([]).shape == (0, 3)


def test_lookup_gives_a_copy(tmp_path):
    store = TargetStore.open(write(tmp_path / "targets"))
    store.lookup(IDS)[:] = 0
    assert np.array_equal(store.lookup(IDS), PROBS)


def test_ids_that_end_in_zeros_are_not_confused(tmp_path):
    ids = [b"\0" * 16, b"a" + b"\0" * 15, b"a\0b" + b"\0" * 13, b"\0" * 15 + b"a", b"\xff" * 16]
    store = TargetStore.open(write(tmp_path / "targets", ids, PROBS[:5], rows_per_part=2))
    assert np.array_equal(store.lookup(ids), PROBS[:5])
    assert b"b" + b"\0" * 15 not in store
    with open_writer(tmp_path / "targets") as writer:
        assert writer.missing([*ids, b"b" + b"\0" * 15]) == [5]


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations(range(12)),
    batches=st.lists(st.integers(1, 5), min_size=12, max_size=12),
    rows_per_part=st.integers(1, 13),
)
def test_order_batching_and_parts_never_matter(tmp_path_factory, order, batches, rows_per_part):
    path = tmp_path_factory.mktemp("store") / "targets"
    rest = list(order)
    for size in batches:
        rows, rest = rest[:size], rest[size:]
        with open_writer(
            path, rows_per_part=rows_per_part
        ) as writer:  # opened anew for every batch
            writer.add([IDS[row] for row in rows], PROBS[rows])
            if not rest:
                writer.finish()
    assert np.array_equal(TargetStore.open(path).lookup(IDS[:12]), PROBS[:12])
    assert verify(path) == []


def test_the_same_rows_make_the_same_bytes_in_any_order(tmp_path):
    there = write(tmp_path / "there", rows_per_part=100)
    back = write(tmp_path / "back", IDS[::-1], PROBS[::-1], rows_per_part=100)
    assert files(there) == files(back)
    assert set(files(there)) == {"manifest.json", "part-00000.parquet"}


def test_any_parquet_tool_can_read_it(tmp_path):
    path = write(tmp_path / "targets")
    table = ds.dataset([str(part) for part in path.glob("*.parquet")]).to_table()
    assert table.schema.names == ["example_id", "probs"]
    by_id = dict(zip(table["example_id"].to_pylist(), table["probs"].to_pylist(), strict=True))
    assert by_id == dict(zip(IDS, PROBS.tolist(), strict=True))
    about = json.loads(pq.read_schema(path / "part-00000.parquet").metadata[b"tutelage"])
    assert about["teacher"] == "t1"
    assert about["labels"] == list(LABELS)


def test_inspect_agrees_with_the_definitions(tmp_path):
    path = write(tmp_path / "targets")
    facts = inspect(path)
    entropy = -np.mean([sum(p * np.log(p) for p in row if p > 0) for row in PROBS.astype(float)])
    size = sum(part.stat().st_size for part in path.glob("*.parquet"))
    assert facts.pop("mean_entropy_nats") == pytest.approx(entropy, abs=1e-6)
    assert facts == {
        "kind": "class_probabilities", "rows": 50, "positions": 50, "bytes": size,
        "bytes_per_position": size / 50,
        "kept_mass": 1.0, "teacher": "t1", "tokenizer": "", "complete": True,
    }  # fmt: skip
    json.dumps(facts)


def test_a_store_that_is_open_is_inspected_without_reading_it_again(tmp_path):
    path = write(tmp_path / "targets")
    store, expected = TargetStore.open(path), inspect(path)
    for part in path.glob("*.parquet"):
        part.unlink()
    assert inspect(store) == expected


def test_one_hot_rows_have_no_entropy(tmp_path):
    path = write(tmp_path / "targets", IDS[:3], np.eye(3))
    assert inspect(path)["mean_entropy_nats"] == 0


def test_a_hundred_thousand_rows_are_found_in_well_under_a_second(tmp_path):
    generator = np.random.default_rng(1)
    content = generator.bytes(16 * 100_000)
    ids = [content[start : start + 16] for start in range(0, len(content), 16)]
    probs = generator.dirichlet([1, 1, 1], len(ids)).astype(np.float32)
    path = write(tmp_path / "targets", ids, probs, rows_per_part=25_000)
    store = TargetStore.open(path)
    order = generator.permutation(len(ids))
    asked = [ids[row] for row in order]
    started = time.process_time()  # not wall time: the machine may be busy with other things
    found = store.lookup(asked)
    assert time.process_time() - started < 0.5
    assert np.array_equal(found, probs[order])
