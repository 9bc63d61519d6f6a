"""A store that is wrong is refused: which part, what is wrong with it, and what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.errors import TargetsCorrupt, TargetsError, TargetsIncomplete, TargetsMismatch
from tutelage.targets import TargetStore, TargetWriter, inspect, read_manifest, verify
from tutelage.targets.manifest import write_manifest
from tutelage.types import example_id

LABELS = ("negative", "neutral", "positive")
IDS = [example_id(f"text {number}") for number in range(20)]
PROBS = np.random.default_rng(0).dirichlet([1, 1, 1], 20).astype(np.float32)


def open_writer(path: Path, **settings) -> TargetWriter:
    defaults = {"kind": "class_probabilities", "teacher": "t1", "labels": LABELS, "rows_per_part": 8}
    return TargetWriter.open(path, **{**defaults, **settings})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Twenty rows in three parts."""
    path = tmp_path / "targets"
    with open_writer(path) as writer:
        writer.add(IDS, PROBS)
        writer.finish()
    return path


def edit_manifest(path: Path, **changes) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **changes}), "utf-8")


def replace_part(path: Path, number: int, table: pa.Table, **entry) -> None:
    """Put another table in place of a part, with a manifest that knows its checksum."""
    manifest = read_manifest(path)
    part = manifest.parts[number]
    pq.write_table(table, path / part.file)
    content = (path / part.file).read_bytes()
    part = replace(part, bytes=len(content), sha256=sha256(content).hexdigest(), **entry)
    write_manifest(
        path, replace(manifest, parts=tuple(part if at == number else old for at, old in enumerate(manifest.parts)))
    )


def assert_broken(path: Path, message: str) -> None:
    """Reader, verifier, inspector and writer all say it."""
    for call in (lambda: TargetStore.open(path), lambda: inspect(path), lambda: open_writer(path)):
        with pytest.raises(TargetsCorrupt, match=message):
            call()
    found = verify(path)
    assert len(found) == 1
    with pytest.raises(TargetsCorrupt, match=message):
        raise TargetsCorrupt(found[0])


@pytest.mark.parametrize("offset", [0, 4, 100, -1])
def test_one_flipped_bit_is_found(store, offset):
    part = store / "part-00001.parquet"
    content = bytearray(part.read_bytes())
    content[offset] ^= 1
    part.write_bytes(content)
    assert_broken(
        store,
        r"part-00001.parquet is damaged: its SHA-256 is [0-9a-f]{12}\.\.\., not [0-9a-f]{12}\.\.\. as written \(8 "
        r"rows\)",
    )


def test_a_part_cut_short_is_found(store):
    part = store / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[:-10])
    assert_broken(store, r"part-00002.parquet is damaged: it has [\d,]+ bytes, not the [\d,]+ written \(4 rows\)")


def test_every_broken_part_is_named_with_what_to_do(store):
    for number in (0, 2):
        (store / f"part-0000{number}.parquet").write_bytes(b"")
    with pytest.raises(TargetsCorrupt, match=r"part-00000.*part-00002.*Remove .* and run: tutelage label recipe.yaml"):
        TargetStore.open(store)
    assert [message[-60:].count("part-") for message in verify(store)] == [0, 0]
    assert len(verify(store)) == 2


def test_a_removed_part_is_refused_by_readers_and_written_anew(store):
    (store / "part-00001.parquet").unlink()
    with pytest.raises(
        TargetsCorrupt, match=r"part-00001.parquet is missing \(8 rows\).*only their rows are labelled again"
    ):
        TargetStore.open(store)
    assert ["part-00001.parquet is missing (8 rows)" in message for message in verify(store)] == [True]
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
    replace_part(store, 0, pa.table({"example_id": pa.array(IDS[:8], pa.binary(16)), "tokens": list(range(8))}))
    assert_broken(
        store,
        r"part-00000.parquet has the columns example_id: fixed_size_binary\[16\], tokens: int64; expected .*probs",
    )


def test_a_part_with_another_number_of_classes_is_found(store):
    probs = pa.array(np.eye(2, dtype=np.float32)[[0] * 8].tolist(), pa.list_(pa.float32(), 2))
    replace_part(store, 0, pa.table({"example_id": pa.array(IDS[:8], pa.binary(16)), "probs": probs}))
    assert_broken(store, r"expected .*probs: fixed_size_list<float>\[3\]")


def rows(ids, probs) -> pa.Table:
    return pa.table({"example_id": pa.array(ids, pa.binary(16)), "probs": pa.array(probs, pa.list_(pa.float32(), 3))})


def test_parts_of_another_program_are_welcome(store):
    replace_part(store, 0, rows(IDS[:8], PROBS[:8].tolist()))
    assert np.array_equal(TargetStore.open(store).lookup(IDS), PROBS)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (rows(IDS[:8], [[1, 0, 0]] * 7 + [None]), "part-00000.parquet has null values; expected none"),
        (rows(IDS[:8], [[1, 0, 0]] * 7 + [[1, 0, None]]), "has null values"),
        (rows(IDS[:8], [[1, 0, 0]] * 7 + [[1, 1, 0]]), "has 1 rows that are no distributions, the first is row 8"),
        (rows(IDS[:7], [[1, 0, 0]] * 7), "holds 7 rows and 7 positions; the manifest says 8 and 8"),
        (
            rows([IDS[1], *IDS[1:8]], [[1, 0, 0]] * 8),
            "part-00000.parquet: 1 rows that another part, or the same, holds too",
        ),
        (rows([*IDS[:7], IDS[19]], [[1, 0, 0]] * 8), "part-00002.parquet: 1 rows that another part"),
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


def test_labels_swapped_by_hand_are_found(store):
    edit_manifest(store, labels=["positive", "neutral", "negative"])
    messages = verify(store)
    assert len(messages) == 3
    assert "belongs to another store, or the manifest was edited: labels is" in messages[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "manifest.json is not readable as JSON.*Restore it from a copy, or remove .* and label again"),
        (b"\xff\xfe", "manifest.json is not readable as JSON"),
        (b"[]", "does not say which format"),
        (b'{"format": "1"}', "does not say which format"),
        (b'{"format": 1}', "lacks the field kind"),
    ],
)
def test_a_broken_manifest_is_refused(store, content, message):
    (store / "manifest.json").write_bytes(content)
    assert_broken(store, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": 3}, "has parts: 3; expected list"),
        ({"parts": [3]}, "lists a part that is no object"),
        ({"complete": "yes"}, 'has complete: "yes"; expected bool'),
        ({"seed": None}, "has seed: null; expected int"),
        ({"expected_rows": 21}, "says complete, yet its parts hold 20 rows of 21 expected"),
        (
            {"parts": [{"file": "../other/part-00000.parquet", "rows": 1, "positions": 1, "bytes": 1, "sha256": ""}]},
            r"names the part '\.\./other/part-00000.parquet'; expected a name such as part-00000.parquet",
        ),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(store, changes, message):
    edit_manifest(store, **changes)
    assert_broken(store, message)


def test_a_kind_of_a_later_version_is_refused(store):
    edit_manifest(store, kind="logits")
    with pytest.raises(
        TargetsCorrupt,
        match=r"cannot be read: targets of kind 'logits' .* knows class_probabilities, hidden, sampled, ",
    ):
        TargetStore.open(store)
    assert len(verify(store)) == 1


def test_a_later_format_is_refused(store):
    edit_manifest(store, format=2)
    for call in (TargetStore.open, verify, inspect, open_writer):
        with pytest.raises(
            TargetsError, match=r"has store format 2; this version of tutelage reads format 1. Use the version"
        ):
            call(store)


def test_fields_of_a_later_release_are_passed_over(store):
    edit_manifest(store, note="kept for whoever wrote it")
    assert len(TargetStore.open(store)) == 20


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"teacher": "t2"}, "was written by teacher t1 but targets of teacher t2 are asked for. Label again"),
        (
            {"tokenizer": "91bc"},
            r"for tokenizer \(none\) \(0 ids\) but tokenizer 91bc is used, whose ids name other words",
        ),
        ({"labels": ["bad", "good"]}, "labels negative, neutral, positive but bad, good are asked for. Put the labels"),
        ({"labels": LABELS[::-1]}, "but positive, neutral, negative are asked for, the same ones in another order"),
    ],
)
def test_a_mismatch_is_named_by_the_reader(store, asked, message):
    with pytest.raises(TargetsMismatch, match=message):
        TargetStore.open(store, **asked)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "t2"}, 'its teacher is "t1", not "t2" as asked for now'),
        ({"labels": ("a", "b")}, r'its labels is \["negative", "neutral", "positive"\], not \["a", "b"\]'),
        ({"seed": 1}, "its seed is 0, not 1"),
        ({"encoding": {"threshold": 0.02}}, r'its encoding is \{\}, not \{"threshold": 0.02\}'),
        (
            {"tokenizer": "91bc", "vocabulary_size": 9},
            'its tokenizer is "", not "91bc"; its vocabulary_size is 0, not 9',
        ),
    ],
)
def test_a_mismatch_is_named_by_the_writer_and_nothing_is_touched(store, settings, message):
    before = {found.name: found.read_bytes() for found in store.iterdir()}
    with pytest.raises(TargetsMismatch, match=message):
        open_writer(store, **settings)
    assert {found.name: found.read_bytes() for found in store.iterdir()} == before


def test_rows_without_targets_are_counted_and_named(store):
    absent = [example_id(f"new {number}") for number in range(5)]
    first = ", ".join(name.hex() for name in absent[:3])
    with pytest.raises(
        TargetsIncomplete, match=rf"no targets for 5 of the 25 texts asked for \(content ids {first}, \.\.\.\)"
    ):
        TargetStore.open(store).lookup([*IDS, *absent, absent[0]])
    with pytest.raises(
        TargetsIncomplete, match=rf"for 1 of the 1 texts asked for \(content ids {absent[0].hex()}\): .*tutelage label"
    ):
        TargetStore.open(store).lookup(absent[:1])


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_where_there_is_no_store_the_command_is_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    for call in (TargetStore.open, verify, inspect):
        with pytest.raises(TargetsIncomplete, match=r"holds no manifest.json, .*Make it: tutelage label recipe.yaml"):
            call(tmp_path / name)


def test_an_interrupted_store_is_whole_but_not_complete(tmp_path):
    path = tmp_path / "targets"
    with open_writer(path) as writer:
        writer.add(IDS[:8], PROBS[:8])
    assert verify(path) == []
    assert inspect(path)["complete"] is False
    with pytest.raises(TargetsIncomplete, match=r"holds 8 rows: labelling has not finished"):
        TargetStore.open(path)
    assert np.array_equal(TargetStore.open(path, allow_incomplete=True).lookup(IDS[:8]), PROBS[:8])


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"precious")
    with pytest.raises(
        TargetsError, match=r"holds other files \(train.parquet\) and no manifest.json, .* left as it is"
    ):
        open_writer(tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == ["train.parquet"]
    with pytest.raises(TargetsError, match="is a file; expected a folder"):
        open_writer(tmp_path / "train.parquet")


def test_parts_without_a_manifest_are_left_alone(store):
    (store / "manifest.json").unlink()
    with pytest.raises(
        TargetsCorrupt, match=r"holds 3 parts but no manifest.json, without which they cannot be trusted"
    ):
        open_writer(store)
    assert len(list(store.iterdir())) == 3


def test_only_what_a_kill_leaves_behind_is_removed(store):
    left = [".manifest.json.77.tmp", ".part-00003.parquet.77.tmp", "part-00003.parquet"]
    kept = ["notes.txt", "mine.parquet", ".part-x.tmp"]
    for name in left + kept:
        (store / name).write_text("")
    with open_writer(store) as writer:
        assert writer.missing(IDS) == []
    assert {found.name for found in store.iterdir()} >= set(kept)
    assert not {found.name for found in store.iterdir()} & set(left)
