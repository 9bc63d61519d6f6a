"""A store that does not fit what is asked, or whose manifest is wrong, is refused with what to
do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.targets.class_targets import LABELS, open_writer
from tests.targets.twenty_rows import IDS, PROBS, assert_broken

from tutelage.errors import TargetsCorrupt, TargetsError, TargetsIncomplete, TargetsMismatch
from tutelage.targets import TargetStore, inspect, verify
from tutelage.types import example_id


def edit_manifest(path: Path, **changes) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **changes}), "utf-8")


def test_labels_swapped_by_hand_are_found(store):
    edit_manifest(store, labels=["positive", "neutral", "negative"])
    messages = verify(store)
    assert len(messages) == 3
    assert "belongs to another store, or the manifest was edited: labels is" in messages[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"{",
            "manifest.json is not readable as JSON.*Restore it from a copy, or remove .* and label "
            "again",
        ),
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
            {
                "parts": [
                    {
                        "file": "../other/part-00000.parquet",
                        "rows": 1,
                        "positions": 1,
                        "bytes": 1,
                        "sha256": "",
                    }
                ]
            },
            r"names the part '\.\./other/part-00000.parquet'; expected a name such as "
            r"part-00000.parquet",
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
        match=r"cannot be read: targets of kind 'logits' .* knows class_probabilities, hidden, "
        r"sampled, ",
    ):
        TargetStore.open(store)
    assert len(verify(store)) == 1


def test_a_later_format_is_refused(store):
    edit_manifest(store, format=2)
    for call in (TargetStore.open, verify, inspect, open_writer):
        with pytest.raises(
            TargetsError,
            match=r"has store format 2; this version of tutelage reads format 1. Use the version",
        ):
            call(store)


def test_fields_of_a_later_release_are_passed_over(store):
    edit_manifest(store, note="kept for whoever wrote it")
    assert len(TargetStore.open(store)) == 20


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"teacher": "t2"},
            "was written by teacher t1 but targets of teacher t2 are asked for. Label again",
        ),
        (
            {"tokenizer": "91bc"},
            r"for tokenizer \(none\) \(0 ids\) but tokenizer 91bc is used, whose ids name other "
            r"words",
        ),
        (
            {"labels": ["bad", "good"]},
            "labels negative, neutral, positive but bad, good are asked for. Put the labels",
        ),
        (
            {"labels": LABELS[::-1]},
            "but positive, neutral, negative are asked for, the same ones in another order",
        ),
    ],
)
def test_a_mismatch_is_named_by_the_reader(store, asked, message):
    with pytest.raises(TargetsMismatch, match=message):
        TargetStore.open(store, **asked)
    opened = TargetStore.open(store)
    opened.require(teacher="t1", labels=LABELS)
    with pytest.raises(TargetsMismatch, match=message):
        opened.require(**asked)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "t2"}, 'its teacher is "t1", not "t2" as asked for now'),
        (
            {"labels": ("a", "b")},
            r'its labels is \["negative", "neutral", "positive"\], not \["a", "b"\]',
        ),
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
        TargetsIncomplete,
        match=rf"no targets for 5 of the 25 texts asked for \(content ids {first}, \.\.\.\)",
    ):
        TargetStore.open(store).lookup([*IDS, *absent, absent[0]])
    with pytest.raises(
        TargetsIncomplete,
        match=rf"for 1 of the 1 texts asked for \(content ids {absent[0].hex()}\): .*tutelage "
        rf"label",
    ):
        TargetStore.open(store).lookup(absent[:1])


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_where_there_is_no_store_the_command_is_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    for call in (TargetStore.open, verify, inspect):
        with pytest.raises(
            TargetsIncomplete,
            match=r"holds no manifest.json, .*Make it: tutelage label recipe.yaml",
        ):
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
        TargetsError,
        match=r"holds other files \(train.parquet\) and no manifest.json, .* left as it is",
    ):
        open_writer(tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == ["train.parquet"]
    with pytest.raises(TargetsError, match="is a file; expected a folder"):
        open_writer(tmp_path / "train.parquet")


def test_parts_without_a_manifest_are_left_alone(store):
    (store / "manifest.json").unlink()
    with pytest.raises(
        TargetsCorrupt,
        match=r"holds 3 parts but no manifest.json, without which they cannot be trusted",
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
