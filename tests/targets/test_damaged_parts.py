"""Parts of a store that are damaged, missing or not what the manifest says are found and named."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.targets.class_targets import open_writer
from tests.targets.twenty_rows import IDS, PROBS, assert_broken

from tutelage.errors import TargetsCorrupt, TargetsIncomplete
from tutelage.targets import TargetStore, read_manifest, verify
from tutelage.targets.manifest import write_manifest


def replace_part(path: Path, number: int, table: pa.Table, **entry) -> None:
    """Put another table in place of a part, with a manifest that knows its checksum."""
    manifest = read_manifest(path)
    part = manifest.parts[number]
    pq.write_table(table, path / part.file)
    content = (path / part.file).read_bytes()
    part = replace(part, bytes=len(content), sha256=sha256(content).hexdigest(), **entry)
    write_manifest(
        path,
        replace(
            manifest,
            parts=tuple(part if at == number else old for at, old in enumerate(manifest.parts)),
        ),
    )


@pytest.mark.parametrize("offset", [0, 4, 100, -1])
def test_one_flipped_bit_is_found(store, offset):
    part = store / "part-00001.parquet"
    content = bytearray(part.read_bytes())
    content[offset] ^= 1
    part.write_bytes(content)
    assert_broken(
        store,
        r"part-00001.parquet is damaged: its SHA-256 is [0-9a-f]{12}\.\.\., not [0-9a-f]{12}\.\.\. "
        r"as written \(8 "
        r"rows\)",
    )


def test_a_part_cut_short_is_found(store):
    part = store / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[:-10])
    assert_broken(
        store,
        r"part-00002.parquet is damaged: it has [\d,]+ bytes, not the [\d,]+ written \(4 rows\)",
    )


def test_every_broken_part_is_named_with_what_to_do(store):
    for number in (0, 2):
        (store / f"part-0000{number}.parquet").write_bytes(b"")
    with pytest.raises(
        TargetsCorrupt,
        match=r"part-00000.*part-00002.*Remove .* and run: tutelage label recipe.yaml",
    ):
        TargetStore.open(store)
    assert [message[-60:].count("part-") for message in verify(store)] == [0, 0]
    assert len(verify(store)) == 2


def test_a_removed_part_is_refused_by_readers_and_written_anew(store):
    (store / "part-00001.parquet").unlink()
    with pytest.raises(
        TargetsCorrupt,
        match=r"part-00001.parquet is missing \(8 rows\).*only their rows are labelled again",
    ):
        TargetStore.open(store)
    assert ["part-00001.parquet is missing (8 rows)" in message for message in verify(store)] == [
        True
    ]
    with open_writer(store) as writer:
        missing = writer.missing(IDS)
        assert len(missing) == 8
        with pytest.raises(TargetsIncomplete, match="holds 12 of 20 rows"):
            TargetStore.open(store)
        writer.add([IDS[row] for row in missing], PROBS[missing])
        writer.finish()
    assert np.array_equal(TargetStore.open(store).lookup(IDS), PROBS)
    assert verify(store) == []


def test_a_part_of_another_kind_is_found(store):
    replace_part(
        store,
        0,
        pa.table({"example_id": pa.array(IDS[:8], pa.binary(16)), "tokens": list(range(8))}),
    )
    assert_broken(
        store,
        r"part-00000.parquet has the columns example_id: fixed_size_binary\[16\], tokens: int64; "
        r"expected .*probs",
    )


def test_a_part_with_another_number_of_classes_is_found(store):
    probs = pa.array(np.eye(2, dtype=np.float32)[[0] * 8].tolist(), pa.list_(pa.float32(), 2))
    replace_part(
        store, 0, pa.table({"example_id": pa.array(IDS[:8], pa.binary(16)), "probs": probs})
    )
    assert_broken(store, r"expected .*probs: fixed_size_list<float>\[3\]")


def rows(ids, probs) -> pa.Table:
    return pa.table(
        {
            "example_id": pa.array(ids, pa.binary(16)),
            "probs": pa.array(probs, pa.list_(pa.float32(), 3)),
        }
    )


def test_parts_of_another_program_are_welcome(store):
    replace_part(store, 0, rows(IDS[:8], PROBS[:8].tolist()))
    assert np.array_equal(TargetStore.open(store).lookup(IDS), PROBS)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            rows(IDS[:8], [[1, 0, 0]] * 7 + [None]),
            "part-00000.parquet has null values; expected none",
        ),
        (rows(IDS[:8], [[1, 0, 0]] * 7 + [[1, 0, None]]), "has null values"),
        (
            rows(IDS[:8], [[1, 0, 0]] * 7 + [[1, 1, 0]]),
            "has 1 rows that are no distributions, the first is row 8",
        ),
        (rows(IDS[:7], [[1, 0, 0]] * 7), "holds 7 rows and 7 positions; the manifest says 8 and 8"),
        (
            rows([IDS[1], *IDS[1:8]], [[1, 0, 0]] * 8),
            "part-00000.parquet: 1 rows that another part, or the same, holds too",
        ),
        (
            rows([*IDS[:7], IDS[19]], [[1, 0, 0]] * 8),
            "part-00002.parquet: 1 rows that another part",
        ),
    ],
)
def test_rows_that_cannot_be_are_found(store, table, message):
    replace_part(store, 0, table)
    with pytest.raises(TargetsCorrupt, match=message):
        TargetStore.open(store)
    assert len(verify(store)) == 1


def test_a_file_that_is_no_parquet_is_found_though_its_checksum_is_right(store):
    manifest = read_manifest(store)
    content = b"no parquet at all"
    (store / manifest.parts[0].file).write_bytes(content)
    part = replace(manifest.parts[0], bytes=len(content), sha256=sha256(content).hexdigest())
    write_manifest(store, replace(manifest, parts=(part, *manifest.parts[1:])))
    assert_broken(store, "part-00000.parquet is not readable as Parquet")
