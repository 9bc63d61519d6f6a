"""Store format 1 of token targets, where a person or another program relies on it. See
write_golden_store.py."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.targets import FORMAT, TargetStore, TargetWriter, verify
from tutelage.types import example_id

_spec = importlib.util.spec_from_file_location(
    "write_golden_store", Path(__file__).with_name("write_golden_store.py")
)
assert _spec is not None
assert _spec.loader is not None
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

TOKEN_KINDS = ["sampled", "top_k", "hidden"]
CONTEXT_COLUMNS = {"contexts": "uint8", "context_sizes": "uint32", "context_steps": "uint32"}
COLUMNS = {
    "sampled": {
        "example_id": "fixed_size_binary[16]",
        "heads": "uint16",
        "entropies": "uint8",
        "first_codes": "uint8",
        "next_codes": "uint16",
        "head_buckets": "uint8",
        "tail_surplus": "int32",
        "tail_steps": "uint8",
        "rank_steps": "uint32",
        "head_bits": "binary",
        "tail_bits": "binary",
    },
    "top_k": {
        "example_id": "fixed_size_binary[16]",
        "heads": "uint16",
        "entropies": "uint8",
        "first_codes": "uint16",
        "next_codes": "uint16",
        "head_buckets": "uint8",
        "rank_steps": "uint32",
        "head_bits": "binary",
    },
    "hidden": {
        "example_id": "fixed_size_binary[16]",
        "states": "binary",
        "scales": "float",
        "entropies": "float",
    },
}
DOCUMENT_NAMES = [
    "e3404d504604a407",
    "a737222abaceb307",
    "9f433a996c2b7092",
    "987a62eedfc408e9",
    "3a1845e6daa2c1de",
]
DECODED = {
    "sampled": [
        -493442.78536754765,
        0.0,
        -4083.819974310696,
        -18.920839428901672,
        -226826.48117699218,
    ],
    "top_k": [
        -171286.78595815282,
        0.0,
        -1171.0720711499453,
        -94.46873939037323,
        -59298.15684163477,
    ],
}
DOCUMENT_IDS = [document.example_id for document in golden.DOCUMENTS]


def token_store(kind: str) -> Path:
    return golden.GOLDEN / f"store_v1_{kind}"


def test_document_ids_never_change():
    assert [name.hex()[:16] for name in DOCUMENT_IDS] == DOCUMENT_NAMES
    assert [document.positions for document in golden.DOCUMENTS] == [59, 0, 5, 1, 39]


@pytest.mark.parametrize("kind", TOKEN_KINDS)
def test_golden_token_stores_are_read(kind):
    store = TargetStore.open(
        token_store(kind), teacher=golden.TOKENS["teacher"], tokenizer=golden.TOKENS["tokenizer"]
    )
    assert verify(token_store(kind)) == []
    assert len(store) == 5
    for found, given in zip(store.lookup(DOCUMENT_IDS), golden.values(kind), strict=True):
        if kind == "hidden":
            assert all(
                np.array_equal(getattr(found, field), getattr(given, field))
                for field in type(given).__slots__
            )
            continue
        assert np.array_equal(found.counts, given.counts)
        assert np.array_equal(found.heads, given.heads)
        assert np.abs(found.entropies - given.entropies).max(initial=0) < 0.09
        start = 0
        for count, heads in zip(given.counts.tolist(), given.heads.tolist(), strict=True):
            middle, end = start + heads, start + count
            assert np.array_equal(found.ids[start:middle], given.ids[start:middle])
            assert np.array_equal(found.ids[middle:end], np.sort(given.ids[middle:end]))
            probs = np.exp(given.logprobs[start:end].astype(np.float64))
            assert np.exp(found.logprobs[start:end]) == pytest.approx(probs, rel=0.3, abs=0.01)
            assert kind == "top_k" or np.exp(
                found.logprobs[start:end].astype(float)
            ).sum() == pytest.approx(1, abs=1e-6)
            start = end


def test_what_golden_stores_decode_to_never_changes():
    """Training from a store is repeatable across versions, so not a bit may move."""
    numbers = {
        kind: [
            float(np.sum(value.logprobs.astype(np.float64) * np.arange(1, len(value.ids) + 1)))
            for value in TargetStore.open(token_store(kind)).lookup(DOCUMENT_IDS)
        ]
        for kind in ("sampled", "top_k")
    }
    for kind, expected in DECODED.items():
        assert numbers[kind] == pytest.approx(expected, rel=1e-7)


def test_the_golden_output_matrix_is_read():
    found, given = TargetStore.open(token_store("hidden")).output_matrix(), golden.output_matrix()
    assert np.array_equal(found.weight, given["weight"] * np.array(given["channels"]))
    assert (found.bias, found.scale, found.cap) == (None, 0.5, 30.0)


@pytest.mark.parametrize("kind", TOKEN_KINDS)
def test_token_stores_can_be_read_without_us(kind):
    record = json.loads((token_store(kind) / "manifest.json").read_text("utf-8"))
    assert record["kind"] == kind
    assert record["format"] == FORMAT
    assert record["encoding"].items() >= golden.ENCODINGS[kind].items()
    assert [(part["rows"], part["positions"]) for part in record["parts"]] == [(3, 64), (2, 40)]
    for part in record["parts"]:
        content = (token_store(kind) / part["file"]).read_bytes()
        assert part["sha256"] == sha256(content).hexdigest()
        table = pq.read_table(token_store(kind) / part["file"])
        kinds = {
            field.name: str(field.type.value_type if pa.types.is_list(field.type) else field.type)
            for field in table.schema
        }
        assert kinds == COLUMNS[kind]
        about = json.loads(table.schema.metadata[b"tutelage"])
        assert about == {
            key: value
            for key, value in record.items()
            if key not in ("complete", "expected_rows", "parts")
        }


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_golden_stores_with_contexts_are_read(kind):
    """They have positions without a head, and ones that begin with an id that is rare in its
    part."""
    path = golden.GOLDEN / f"store_v1_{kind}_contexts"
    assert verify(path) == []
    found, given = TargetStore.open(path).lookup(DOCUMENT_IDS), golden.values_for_contexts(kind)
    for one, other in zip(found, given, strict=True):
        assert np.array_equal(one.counts, other.counts)
        assert np.array_equal(one.heads, other.heads)
        assert same_ids(one, other)
    assert kind == "top_k" or any((value.heads == 0).any() for value in found)
    firsts = np.concatenate(
        [value.ids[np.cumsum(value.counts) - value.counts][value.heads > 0] for value in found]
    )
    assert (firsts >= golden.VOCABULARY).any()
    for part in path.glob("*.parquet"):
        table = pq.read_table(part)
        assert {
            field.name: str(getattr(field.type, "value_type", field.type)) for field in table.schema
        } == (COLUMNS[kind] | CONTEXT_COLUMNS)
        frequent, of_first = len(table["rank_steps"][0]), table["contexts"][0].as_py()
        assert len(of_first) == frequent + 1
        assert len(set(of_first)) > 1
        assert len(table["context_sizes"][0]) == 4


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_golden_small_stores_are_read(kind):
    """As the first ones, with empty columns for contexts."""
    path = golden.GOLDEN / f"store_v1_{kind}_small"
    assert verify(path) == []
    found, given = (
        TargetStore.open(path).lookup(DOCUMENT_IDS),
        TargetStore.open(token_store(kind)).lookup(DOCUMENT_IDS),
    )
    for one, other in zip(found, given, strict=True):
        assert all(
            np.array_equal(getattr(one, field), getattr(other, field))
            for field in type(one).__slots__
        )


def same_ids(one: Any, other: Any) -> bool:
    """The same heads in the same order, the same tails in any."""
    start = 0
    for count, heads in zip(one.counts.tolist(), one.heads.tolist(), strict=True):
        middle, end = start + heads, start + count
        if not np.array_equal(one.ids[start:middle], other.ids[start:middle]):
            return False
        if not np.array_equal(one.ids[middle:end], np.sort(other.ids[middle:end])):
            return False
        start = end
    return True


@pytest.mark.parametrize("name", ["sampled", "sampled_small", "sampled_contexts"])
def test_the_reader_of_the_documentation_reads_sampled(name):
    text = (Path(__file__).parents[2] / "docs" / "targets.md").read_text("utf-8")
    (code,) = (
        code
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if "def read_sampled" in code
    )
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    read: dict[bytes, list] = {}
    for part in sorted((golden.GOLDEN / f"store_v1_{name}").glob("*.parquet")):
        read |= namespace["read_sampled"](part)
    assert read.keys() == set(DOCUMENT_IDS)
    values = TargetStore.open(golden.GOLDEN / f"store_v1_{name}").lookup(DOCUMENT_IDS)
    for document, value in zip(DOCUMENT_IDS, values, strict=True):
        start = 0
        assert len(read[document]) == len(value)
        for entries, count, heads in zip(
            read[document], value.counts.tolist(), value.heads.tolist(), strict=True
        ):
            probs = np.exp(value.logprobs[start : start + count].astype(np.float64)).tolist()
            expected = list(zip(value.ids[start : start + count].tolist(), probs, strict=True))
            assert [token for token, _ in entries[:heads]] == [
                token for token, _ in expected[:heads]
            ]
            assert dict(entries) == pytest.approx(dict(expected), abs=1e-6)
            start += count


@pytest.mark.parametrize("kind", TOKEN_KINDS)
def test_a_token_store_of_today_has_the_same_layout(tmp_path, kind):
    golden.write_token_store(kind, tmp_path / "targets")
    there = sorted(found.name for found in token_store(kind).iterdir())
    assert sorted(found.name for found in (tmp_path / "targets").iterdir()) == there
    for part in sorted(token_store(kind).glob("*.parquet")):
        table = pq.read_table(tmp_path / "targets" / part.name)
        if (
            kind != "hidden"
        ):  # since the golden stores were written, parts have columns for contexts: small ones no contexts
            assert all(table[name].to_pylist() == [[]] * len(table) for name in CONTEXT_COLUMNS)
            table = table.drop_columns(list(CONTEXT_COLUMNS))
        assert table.equals(pq.read_table(part))


@pytest.mark.parametrize("kind", TOKEN_KINDS)
def test_golden_token_stores_can_be_gone_on_with(tmp_path, kind):
    path = tmp_path / "targets"
    shutil.copytree(token_store(kind), path)
    extra, value = example_id("one more"), golden.values(kind)[3]
    encoding = golden.ENCODINGS[kind]
    with TargetWriter.open(path, kind=kind, encoding=encoding, **golden.TOKENS) as writer:
        assert writer.missing([*DOCUMENT_IDS, extra]) == [5]
        writer.add([extra], [value])
        writer.finish()
    assert len(TargetStore.open(path).lookup([extra])[0]) == 1
    assert len(TargetStore.open(path)) == 6
