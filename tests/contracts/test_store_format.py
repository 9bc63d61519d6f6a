"""Store format 1, byte by byte where a person or another program relies on it. See
write_golden_store.py."""

from __future__ import annotations

import importlib.util
import json
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tutelage.targets import FORMAT, STORE_KINDS, TargetStore, TargetWriter, inspect, verify
from tutelage.types import example_id

_spec = importlib.util.spec_from_file_location(
    "write_golden_store", Path(__file__).with_name("write_golden_store.py")
)
assert _spec is not None
assert _spec.loader is not None
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

IDS = [example_id(text) for text in golden.ROWS]
PROBS = np.array(list(golden.ROWS.values()), dtype=np.float32)
SETTINGS = {
    "kind": "class_probabilities",
    "teacher": "0123456789abcdef",
    "labels": golden.LABELS,
    "seed": 7,
}


def manifest() -> dict:
    return json.loads((golden.FOLDER / "manifest.json").read_text("utf-8"))


def test_the_golden_store_is_read_exactly():
    store = TargetStore.open(
        golden.FOLDER, teacher="0123456789abcdef", labels=golden.LABELS, tokenizer=""
    )
    assert np.array_equal(store.lookup(IDS), PROBS)
    assert len(store) == 5
    assert verify(golden.FOLDER) == []


def test_content_ids_never_change():
    assert [name.hex() for name in IDS] == [
        "d9106078be14b15518b7cc7df80c2469",
        "1910f24588a846ca1a52b846bc0e5677",
        "83753c5e5a0f30da8bf0d09df6c936b4",
        "208dfee5bd825a42b2e307d121613b3c",
        "cae66941d9efbd404e4d88758ea67670",
    ]


def test_fields_of_the_manifest():
    found = manifest()
    parts = found.pop("parts")
    assert found == {
        "format": FORMAT,
        "kind": "class_probabilities",
        "teacher": "0123456789abcdef",
        "labels": list(golden.LABELS),
        "tokenizer": "",
        "vocabulary_size": 0,
        "encoding": {},
        "seed": 7,
        "complete": True,
        "expected_rows": 5,
    }
    assert [(part["file"], part["rows"], part["positions"]) for part in parts] == [
        ("part-00000.parquet", 3, 3),
        ("part-00001.parquet", 2, 2),
    ]


def test_the_manifest_can_be_checked_without_us():
    for part in manifest()["parts"]:
        content = (golden.FOLDER / part["file"]).read_bytes()
        assert list(part) == ["file", "rows", "positions", "bytes", "sha256"]
        assert part["bytes"] == len(content)
        assert part["sha256"] == sha256(content).hexdigest()


def test_the_parts_can_be_read_without_us():
    rows = {}
    for part in manifest()["parts"]:
        table = pq.read_table(golden.FOLDER / part["file"])
        assert str(table.schema.field("example_id").type) == "fixed_size_binary[16]"
        assert str(table.schema.field("probs").type).startswith("fixed_size_list<")
        rows |= dict(zip(table["example_id"].to_pylist(), table["probs"].to_pylist(), strict=True))
        about = json.loads(table.schema.metadata[b"tutelage"])
        assert about == {
            key: value
            for key, value in manifest().items()
            if key not in ("complete", "expected_rows", "parts")
        }
    assert rows == dict(zip(IDS, PROBS.tolist(), strict=True))


def test_fields_of_inspect():
    assert list(inspect(golden.FOLDER)) == [
        "kind",
        "rows",
        "positions",
        "bytes",
        "bytes_per_position",
        "mean_entropy_nats",
        "kept_mass",
        "teacher",
        "tokenizer",
        "complete",
    ]


def test_a_store_of_today_has_the_same_layout(tmp_path):
    path = tmp_path / "targets"
    with TargetWriter.open(path, rows_per_part=3, **SETTINGS) as writer:
        writer.add(IDS, PROBS)
        writer.finish()
    assert {found.name for found in path.iterdir()} == {
        found.name for found in golden.FOLDER.iterdir()
    }
    today = json.loads((path / "manifest.json").read_text("utf-8"))

    def without_checksums(
        record: dict,
    ) -> dict:  # another release of pyarrow may pack the same rows into other bytes
        parts = [
            {key: value for key, value in part.items() if key not in ("bytes", "sha256")}
            for part in record["parts"]
        ]
        return {**record, "parts": parts}

    assert without_checksums(today) == without_checksums(manifest())
    for part in manifest()["parts"]:
        assert pq.read_table(path / part["file"]).equals(
            pq.read_table(golden.FOLDER / part["file"])
        )


def test_the_golden_store_can_be_gone_on_with(tmp_path):
    path = tmp_path / "targets"
    shutil.copytree(golden.FOLDER, path)
    extra = example_id("one more")
    with TargetWriter.open(path, **SETTINGS) as writer:
        assert writer.missing([*IDS, extra]) == [5]
        writer.add([extra], PROBS[:1])
        writer.finish()
    assert np.array_equal(
        TargetStore.open(path).lookup([*IDS, extra]), np.concatenate([PROBS, PROBS[:1]])
    )


def test_kinds_are_a_contract(tmp_path):
    assert STORE_KINDS == ("class_probabilities", "hidden", "sampled", "top_k")
    with pytest.raises(
        ValueError,
        match="'logits' were asked for; this version knows class_probabilities, hidden, sam",
    ):
        TargetWriter.open(tmp_path / "targets", **{**SETTINGS, "kind": "logits"})
