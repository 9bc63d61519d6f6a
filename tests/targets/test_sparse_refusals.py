"""Targets that no store can hold are refused by document and reason; so are parts that contradict
themselves."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.targets.token_targets import STORE_KINDS, documents, name, open_writer, write

from tutelage.errors import ShapeMismatch, TargetsCorrupt
from tutelage.targets import (
    SparseTargets,
    TargetStore,
    TargetWriter,
    inspect,
    read_manifest,
    verify,
)
from tutelage.targets.manifest import write_manifest

HALF = float(np.log(0.5))
GOOD = {"counts": [2], "heads": [1], "ids": [7, 9], "logprobs": [HALF, HALF], "entropies": [1.0]}


def value(**changes) -> SparseTargets:
    fields = {field: np.array(numbers) for field, numbers in {**GOOD, **changes}.items()}
    return SparseTargets(**fields)


def test_any_whole_numbers_will_do(tmp_path):
    path = write(tmp_path / "targets", "sampled", [value()])
    assert verify(path) == []
    assert TargetStore.open(path).lookup([name(0)])[0].ids.tolist() == [7, 9]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"counts": [3]},
            ShapeMismatch,
            r"ids \(2,\).*expected counts, heads and entropies of \[P\].*= \[3\]",
        ),
        ({"heads": [1, 1]}, ShapeMismatch, r"heads \(2,\)"),
        ({"entropies": [1.0, 1.0]}, ShapeMismatch, r"entropies \(2,\)"),
        ({"logprobs": [HALF]}, ShapeMismatch, r"logprobs \(1,\)"),
        ({"ids": [[7, 9]]}, ShapeMismatch, r"ids \(1, 2\)"),
        ({"ids": [7.0, 9.0]}, ValueError, "ids of type float64 were given; expected whole numbers"),
        (
            {"ids": [7, 400]},
            ValueError,
            r"name ids from 7 to 400; expected ids of the tokenizer, 0 to 399: drop",
        ),
        ({"ids": [-1, 7]}, ValueError, "name ids from -1 to 7"),
        ({"ids": [7, 7]}, ValueError, "name an id twice in one position"),
        ({"heads": [3]}, ValueError, "heads that do not fit the counts; expected 0 to counts"),
        ({"heads": [-1]}, ValueError, "heads that do not fit the counts"),
        (
            {"counts": [2, 0], "heads": [1, 0], "entropies": [1, 1]},
            ValueError,
            "a position with 0 to 2 entries",
        ),
        (
            {"logprobs": [HALF, np.nan]},
            ValueError,
            "not finite or above 0: give natural logarithms",
        ),
        ({"logprobs": [HALF, -np.inf]}, ValueError, "not finite or above 0"),
        ({"logprobs": [0.5, 0.5]}, ValueError, "above 0"),
        (
            {"logprobs": [HALF, -1.0]},
            ValueError,
            "1 positions whose .* the first is position 0 with 0.86",
        ),
        (
            {"heads": [0], "logprobs": np.log([0.6, 0.4])},
            ValueError,
            "tail entries of one position that stand for",
        ),
        (
            {"entropies": [np.nan]},
            ValueError,
            r"an entropy out of range; expected nats from 0 to log\(V\) = 5.991",
        ),
        ({"entropies": [6.1]}, ValueError, "an entropy out of range"),
        ({"entropies": [-0.1]}, ValueError, "an entropy out of range"),
    ],
)
def test_what_is_no_target_is_refused(tmp_path, changes, error, message):
    with open_writer(tmp_path / "targets", "sampled") as writer:
        with pytest.raises(error, match=message):
            writer.add([name(0), name(1)], [value(), value(**changes)])
        assert len(writer) == 0


def test_the_document_is_named(tmp_path):
    with (
        open_writer(tmp_path / "targets", "sampled") as writer,
        pytest.raises(ValueError, match=r"the targets of document 0{31}1 name an id twice"),
    ):
        writer.add([name(0), name(1)], [value(), value(ids=[7, 7])])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "expected heads equal to counts"),
        ({"heads": [2], "logprobs": [-0.1, -0.1]}, "do not sum to at most 1"),
    ],
)
def test_what_is_no_top_k_is_refused(tmp_path, changes, message):
    with (
        open_writer(tmp_path / "targets", "top_k") as writer,
        pytest.raises(ValueError, match=message),
    ):
        writer.add([name(0)], [value(**changes)])


def test_other_things_are_refused(tmp_path):
    with open_writer(tmp_path / "targets", "sampled") as writer:
        with pytest.raises(ShapeMismatch, match="targets of 1 documents were given for 2 ids"):
            writer.add([name(0), name(1)], [value()])
        with pytest.raises(
            ShapeMismatch, match="ndarray was given for kind sampled; expected SparseTargets"
        ):
            writer.add([name(0)], np.eye(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"encoding": None},
            r"encoding \{\} was given for targets of kind sampled; expected threshold or budget",
        ),
        ({"encoding": {"threshold": 0.1, "budget": 12}}, "expected threshold or budget"),
        (
            {"encoding": {"threshold": 1.0}},
            "threshold=1.0 was given; expected a probability between 0 and 1",
        ),
        ({"encoding": {"threshold": True}}, "threshold=True was given"),
        ({"encoding": {"budget": 0}}, "budget=0 was given; expected a whole number, 1 to 65,535"),
        (
            {"kind": "top_k", "encoding": {"threshold": 0.1}},
            "for targets of kind top_k; expected k",
        ),
        ({"kind": "top_k", "encoding": {"k": 2.0}}, "k=2.0 was given; expected a whole number"),
        (
            {"vocabulary_size": 0},
            "vocabulary_size=0 was given for targets of kind sampled; expected the number of ids",
        ),
        ({"vocabulary_size": 2**20}, "vocabulary_size=1,048,576 was given"),
        (
            {"tokenizer": ""},
            "no tokenizer was given for targets of kind sampled; expected its fingerprint",
        ),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_made(tmp_path, settings, message):
    defaults = {
        "kind": "sampled",
        "encoding": {"threshold": 0.05},
        "tokenizer": "k",
        "vocabulary_size": 400,
    }
    with pytest.raises(ValueError, match=message):
        TargetWriter.open(tmp_path / "targets", teacher="t", **{**defaults, **settings})
    assert not (tmp_path / "targets").exists()


def test_what_an_encoding_does_not_need_is_kept(tmp_path):
    path = write(
        tmp_path / "targets", "sampled", [value()], encoding={"budget": 2, "draw": "systematic"}
    )
    assert read_manifest(path).encoding == {"budget": 2, "draw": "systematic"}


@pytest.mark.parametrize("kind", STORE_KINDS)
def test_every_damaged_byte_is_noticed(tmp_path, kind):
    path = write(tmp_path / "targets", kind, documents(kind, [5, 3]))
    chance = np.random.default_rng(0)
    for file in sorted(path.glob("[po]*")):
        whole = file.read_bytes()
        for place in chance.integers(0, len(whole), 25):
            content = bytearray(whole)
            content[place] ^= 1 << chance.integers(8)
            file.write_bytes(content)
            assert [f"{file.name} is damaged" in message for message in verify(path)] == [True]
        file.write_bytes(whole)
    assert verify(path) == []


def replace_column(path: Path, column: str, change) -> None:
    """Change one column of the only part."""

    def changed(table: pa.Table) -> pa.Table:
        kind = table.schema.field(column).type
        field = pa.field(column, kind if pa.types.is_binary(kind) else pa.list_(kind.value_type))
        place = table.schema.get_field_index(column)
        return table.set_column(
            place, field, pa.array(change(table[column].to_pylist()), field.type)
        )

    rewrite(path, changed)


def rewrite(path: Path, change) -> None:
    """Change the only part, with a manifest that knows the new checksum."""
    manifest = read_manifest(path)
    (part,) = manifest.parts
    pq.write_table(change(pq.read_table(path / part.file)), path / part.file)
    content = (path / part.file).read_bytes()
    part = replace(part, bytes=len(content), sha256=sha256(content).hexdigest())
    write_manifest(path, replace(manifest, parts=(part,)))


def longer(rows: list) -> list:
    return [[*rows[0], rows[0][0]], *rows[1:]]


def first(number: int):
    """Put a number in place of the first."""
    return lambda rows: [[number, *rows[0][1:]], *rows[1:]]


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("entropies", longer, "other numbers of positions in entropies than in heads"),
        ("tail_surplus", longer, "other numbers of positions in tail_surplus than in heads"),
        ("heads", longer, "other numbers of positions in entropies than in heads"),
        ("heads", first(0), "other numbers of head entries than heads says"),
        ("first_codes", longer, "other numbers of head entries than heads says"),
        ("next_codes", longer, "other numbers of head entries than heads says"),
        ("next_codes", first(1000), "codes that lead beyond the grid"),
        ("head_buckets", longer, "other numbers of head entries than heads says"),
        ("head_buckets", first(255), "fewer or more bits than its buckets ask for"),
        (
            "head_bits",
            lambda rows: [rows[0][:-1], *rows[1:]],
            "fewer or more bits than its buckets ask for",
        ),
        (
            "tail_surplus",
            first(100),
            "other numbers of tail entries than heads and tail_surplus say",
        ),
        (
            "tail_surplus",
            first(-300),
            "other numbers of tail entries than heads and tail_surplus say",
        ),
        ("tail_steps", longer, "other numbers of tail entries than heads and tail_surplus say"),
        (
            "tail_steps",
            lambda rows: [[200] * len(rows[0]), *rows[1:]],
            "tail_steps that lead beyond the last bucket",
        ),
        ("rank_steps", first(1000), "ids that a vocabulary of 400 does not have"),
        ("heads", lambda rows: [None, *rows[1:]], "has null values; expected none"),
        ("heads", lambda rows: [[None, *rows[0][1:]], *rows[1:]], "has null values; expected none"),
    ],
)
def test_parts_that_contradict_themselves_are_found(tmp_path, column, change, message):
    path = write(tmp_path / "targets", "sampled", documents("sampled", [30, 3], seed=1))
    replace_column(path, column, change)
    (found,) = verify(path)
    assert "part-00000.parquet" in found
    with pytest.raises(TargetsCorrupt, match=message):
        raise TargetsCorrupt(found)
    with pytest.raises(TargetsCorrupt, match=rf"part-00000.parquet .*{message}"):
        inspect(path)


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_columns_that_are_not_known_are_found(tmp_path, kind):
    """They may change what the others mean, as contexts did."""
    path = write(tmp_path / "targets", kind, documents(kind, [3, 2]))
    rewrite(path, lambda table: table.append_column("more", pa.array([1, 2])))
    assert [
        "has columns that this version does not know: more" in message for message in verify(path)
    ] == [True]
    rewrite(path, lambda table: table.drop_columns(["more", "contexts"]))
    assert ["has the columns" in message for message in verify(path)] == [True]
    rewrite(
        path, lambda table: table.drop_columns(["context_sizes", "context_steps"])
    )  # as before there were contexts
    assert verify(path) == []


def test_columns_of_another_kind_are_found(tmp_path):
    path = write(tmp_path / "targets", "sampled", documents("sampled", [3]))
    manifest = read_manifest(path)
    top_k = write(tmp_path / "top_k", "top_k", documents("top_k", [3]))
    content = (top_k / "part-00000.parquet").read_bytes()
    (path / "part-00000.parquet").write_bytes(content)
    part = replace(manifest.parts[0], bytes=len(content), sha256=sha256(content).hexdigest())
    write_manifest(path, replace(manifest, parts=(part,)))
    assert "belongs to another store, or the manifest was edited: kind is" in verify(path)[0]
    pq.write_table(
        pq.read_table(top_k / "part-00000.parquet").replace_schema_metadata({}),
        path / "part-00000.parquet",
    )
    content = (path / "part-00000.parquet").read_bytes()
    part = replace(part, bytes=len(content), sha256=sha256(content).hexdigest())
    write_manifest(path, replace(manifest, parts=(part,)))
    with pytest.raises(
        TargetsCorrupt, match=r"has the columns .*first_codes: list<uint16>.*expected .*tail_steps"
    ):
        TargetStore.open(path)
