"""What somebody may have put into a store is refused for what it is: by readers, the verifier, the
inspector and the writer, in little memory, and without waiting.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.targets import token_targets
from tests.targets.test_damaged_parts import replace_part
from tests.targets.twenty_rows import IDS, PROBS, assert_broken

from tutelage.cli.main import main
from tutelage.errors import TargetsCorrupt, TargetsError
from tutelage.targets import TargetStore, bounds, checking, inspect, merge, read_manifest, verify
from tutelage.targets.bounds import batches
from tutelage.targets.manifest import write_manifest
from tutelage.targets.resuming import remove_broken_parts
from tutelage.targets.sparse_rules import SparseRules
from tutelage.types import SILENT


def edit(path: Path, change) -> None:
    """Change the manifest as JSON."""
    file = path / "manifest.json"
    record = json.loads(file.read_text("utf-8"))
    change(record)
    file.write_text(json.dumps(record), "utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "it is nested too deep"),
        (b'{"format": ' + b"1" * 5000 + b"}", "it has a number of 5,000 digits"),
        (b'{"format": 1, "seed": NaN}', "it has NaN, which is no JSON"),
        (b'{"format": 1, "seed": 1e999}', "the number 1e999, which is too large"),
        (b'{"format": 1, "kind": "\\ud800"}', "half a surrogate pair"),
        (b" " * (16 * 2**20 + 1), "it has more than 16,777,216 bytes"),
        (b'{"format": true}', "does not say which format"),
    ],
)
def test_a_manifest_that_is_hard_to_read_is_refused(store, content, message):
    (store / "manifest.json").write_bytes(content)
    assert_broken(store, message)


def deep(record):
    inner = record["encoding"]
    for _ in range(30):
        inner["x"] = inner = {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.update(seed=True), "has seed: true; expected int"),
        (lambda it: it.update(seed=2**127), "has the seed 1701.*, which takes more than 127 bits"),
        (lambda it: it.update(vocabulary_size=-1), "has -1 as vocabulary_size"),
        (lambda it: it["parts"][0].update(rows=-8), "has -8 as rows of part-00000.parquet"),
        (lambda it: it["parts"][0].update(bytes=2**63), "has 9,223,.* as bytes of part-00000"),
        (lambda it: it["parts"][0].update(rows=8.0), "has rows: 8.0; expected int"),
        (lambda it: it["parts"][0].update(sha256="0"), 'has "0" as sha256 of part-00000.parquet'),
        (lambda it: it["parts"][0].update(file="/part-00000.parquet"), "names the part '/part-0"),
        (lambda it: it["parts"][0].update(file="part-٠٠٠٠٠.parquet"), "names the part 'part-٠"),
        (lambda it: it["parts"][0].update(file=f"part-{'9' * 5000}.parquet"), "names the part"),
        (
            lambda it: it["parts"].append(it["parts"][1]),
            "names the part part-00001.parquet 2 times",
        ),
        (lambda it: it.update(labels=[1, 2, 3]), "has labels that are no text"),
        (lambda it: it.update(teacher="t" * 2000), "has a teacher of 2,000 characters"),
        (lambda it: it["encoding"].update(x="y" * 5000), "has an encoding of more than 4,000"),
        (deep, "has an encoding that is nested deeper than 20"),
    ],
)
def test_what_no_store_can_say_of_itself_is_refused(store, change, message):
    edit(store, change)
    assert_broken(store, message)


def in_place_of(path: Path, thing: str) -> None:
    """Put something else where a file lies."""
    path.unlink()
    if thing == "folder":
        path.mkdir()
    elif thing == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"loop": path.name, "device": "/dev/zero"}[thing])


OTHER_THINGS = {
    "folder": "it is a folder, not a file",
    "pipe": "it is a pipe or a device, not a file",
    "device": "it is a pipe or a device, not a file",
    "loop": "Too many levels of symbolic links",
}


@pytest.mark.parametrize(("thing", "message"), OTHER_THINGS.items())
def test_what_is_no_file_is_no_manifest(store, thing, message):
    in_place_of(store / "manifest.json", thing)
    for call in (TargetStore.open, inspect, read_manifest):
        with pytest.raises(TargetsCorrupt, match=rf"manifest.json cannot be read \({message}\)"):
            call(store)
    assert len(verify(store)) == 1


@pytest.mark.parametrize(("thing", "message"), OTHER_THINGS.items())
def test_what_is_no_file_is_no_part(store, thing, message):
    in_place_of(store / "part-00001.parquet", thing)
    with pytest.raises(TargetsCorrupt, match=rf"00001.parquet cannot be read \({message}\) \(8 r"):
        TargetStore.open(store)
    assert len(verify(store)) == 1


@pytest.mark.parametrize(("thing", "message"), OTHER_THINGS.items())
def test_what_is_no_file_is_no_output_matrix(tmp_path, thing, message):
    path = token_targets.write(tmp_path / "it", "hidden", token_targets.documents("hidden", [2, 1]))
    in_place_of(path / "output.safetensors", thing)
    with pytest.raises(TargetsCorrupt, match=rf"output.safetensors cannot be read \({message}\)"):
        TargetStore.open(path)
    assert len(verify(path)) == 1


@pytest.mark.parametrize("thing", OTHER_THINGS)
def test_a_run_writes_anew_what_is_no_file(store, thing):
    in_place_of(store / "part-00001.parquet", thing)
    remove_broken_parts(store, SILENT)
    assert not (store / "part-00001.parquet").is_symlink()
    assert not (store / "part-00001.parquet").exists()


def test_a_run_leaves_a_folder_with_something_in_it(store):
    in_place_of(store / "part-00001.parquet", "folder")
    (store / "part-00001.parquet" / "mine").write_text("precious")
    with pytest.raises(TargetsError, match=r"is a folder with something in it.*Move it away"):
        remove_broken_parts(store, SILENT)
    assert (store / "part-00001.parquet" / "mine").read_text() == "precious"


def test_a_part_may_be_a_link_to_where_it_is_kept(store, tmp_path):
    kept = (store / "part-00001.parquet").rename(tmp_path / "kept")
    (store / "part-00001.parquet").symlink_to(kept)
    assert np.array_equal(TargetStore.open(store).lookup(IDS), PROBS)


@pytest.mark.parametrize("said", [b"", b"{", b"[" * 100_000, b"[]", b"\xff"])
def test_a_part_that_does_not_say_what_it_is_in_json_is_refused(store, said):
    table = pq.read_table(store / "part-00000.parquet").replace_schema_metadata({"tutelage": said})
    replace_part(store, 0, table)
    assert_broken(store, "part-00000.parquet does not say what its rows depend on")


def test_two_columns_of_one_name_are_refused(store):
    table = pq.read_table(store / "part-00000.parquet")
    replace_part(store, 0, table.append_column("probs", table["probs"]))
    assert_broken(store, "part-00000.parquet has two columns of one name")


def test_a_part_that_unfolds_to_very_much_is_refused_before_it_is_read(store):
    ids = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), 7_000_000, [None, pa.py_buffer(bytes(16 * 7_000_000))]
    )
    probs = pa.FixedSizeListArray.from_arrays(np.full(21_000_000, 1 / 3, np.float32), 3)
    replace_part(store, 0, pa.table({"example_id": ids, "probs": probs}))
    assert_broken(store, r"has [\d,]{6,9} bytes, which unfold to 308,000,000; expected at most 268")


def test_a_string_that_a_dictionary_repeats_is_counted_as_often(tmp_path):
    path = token_targets.write(tmp_path / "it", "hidden", token_targets.documents("hidden", [1]))
    table = pq.read_table(path / "part-00000.parquet")
    same = pa.DictionaryArray.from_arrays(np.zeros(1000, np.int32), pa.array([bytes(2**20)]))
    columns = [
        pa.concat_arrays([table[name].combine_chunks()] * 1000) for name in table.schema.names
    ]
    replace_part(path, 0, pa.table([columns[0], same, *columns[2:]], names=table.schema.names))
    with pytest.raises(TargetsCorrupt, match="which unfold to 1,"):
        TargetStore.open(path)


def test_parts_that_unfold_to_very_much_together_are_refused(store, monkeypatch):
    monkeypatch.setattr(bounds, "FREE_BYTES", 200)
    monkeypatch.setattr(bounds, "UNFOLDED", 0)
    monkeypatch.setattr("tutelage.targets.parts.refuse_bomb", lambda *_, **__: None)
    with pytest.raises(TargetsCorrupt, match="unfold to more than 400 in memory"):
        TargetStore.open(store)


def test_a_row_that_takes_very_much_to_decode_is_refused(store, monkeypatch):
    monkeypatch.setattr(bounds, "FREE_ELEMENTS", 2)
    monkeypatch.setattr(bounds, "ELEMENTS_OF_BYTE", 0)
    with pytest.raises(TargetsCorrupt, match="has 3 positions and entries in row 1, in a part of"):
        TargetStore.open(store)


def test_rows_come_in_batches_of_few_elements():
    assert [rows.tolist() for rows in batches(np.array([1, 1, 5, 9, 1]), rows=3, most=6)] == [
        [0, 1],
        [2],
        [3],
        [4],
    ]
    assert [len(rows) for rows in batches(np.ones(7, np.int64), rows=3)] == [3, 3, 1]
    assert batches(np.zeros(0, np.int64), rows=3) == []


def test_very_many_broken_parts_are_counted(store, monkeypatch):
    monkeypatch.setattr(checking, "MOST_NAMED", 1)
    for part in store.glob("*.parquet"):
        part.unlink()
    first, more = verify(store)
    assert "part-00000.parquet is missing (8 rows)" in first
    assert more == "and 2 more"


def sparse(tmp_path: Path, kind: str, column: str, values: list) -> Path:
    """A store of one document of two positions, in which one column is another."""
    value = token_targets.documents(kind, [2], seed=4)
    path = token_targets.write(tmp_path / "targets", kind, value)
    table = pq.read_table(next(path.glob("part-*")))
    place = table.schema.names.index(column)
    field = table.schema.field(place)
    replace_part(path, 0, table.set_column(place, field, pa.array([values], field.type)))
    return path


@pytest.mark.parametrize(
    ("kind", "column", "values", "message"),
    [
        ("sampled", "entropies", [128, 0], "has entropies beyond the largest code"),
        ("sampled", "rank_steps", [1] * 401, "has more rank_steps than the vocabulary has ids"),
        ("sampled", "rank_steps", [400], "has ids that a vocabulary of 400 does not have"),
        ("sampled", "context_sizes", [0] * 300, "has 300 contexts of 0 context_steps"),
    ],
)
def test_columns_that_no_teacher_fills_are_refused(tmp_path, kind, column, values, message):
    path = sparse(tmp_path, kind, column, values)
    with pytest.raises(TargetsCorrupt, match=message):
        TargetStore.open(path)


def test_positions_without_entries_are_refused(tmp_path):
    path = token_targets.write(tmp_path / "it", "top_k", token_targets.documents("top_k", [2]))
    table = pq.read_table(next(path.glob("part-*")))
    for name, empty in {"heads": [0, 0], "first_codes": [], "next_codes": []}.items():
        field = table.schema.field(name)
        table = table.set_column(
            table.schema.names.index(name), field, pa.array([empty], field.type)
        )
    for name, kind in {"head_buckets": [], "head_bits": b""}.items():
        field = table.schema.field(name)
        table = table.set_column(
            table.schema.names.index(name), field, pa.array([kind], field.type)
        )
    replace_part(path, 0, table)
    with pytest.raises(TargetsCorrupt, match="has positions without entries"):
        TargetStore.open(path).lookup([token_targets.name(0)])


def test_the_smallest_threshold_is_counted_with(tmp_path):
    rules = SparseRules("sampled", {"threshold": 5e-324}, 400, 0)
    assert rules.expected_tails(np.zeros(0, np.uint8), np.array([0])).tolist() == [256]


@pytest.mark.parametrize("column", ["scales", "entropies"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0])
def test_hidden_numbers_that_are_none_are_refused(tmp_path, column, number):
    path = token_targets.write(tmp_path / "it", "hidden", token_targets.documents("hidden", [1]))
    table = pq.read_table(path / "part-00000.parquet")
    place, field = table.schema.names.index(column), table.schema.field(column)
    replace_part(path, 0, table.set_column(place, field, pa.array([[number]], field.type)))
    with pytest.raises(TargetsCorrupt, match=f"has {column} that are negative or not finite"):
        TargetStore.open(path).lookup([token_targets.name(0)])
    assert len(verify(path)) == 1


def replace_output(path: Path, header: object, data: bytes) -> None:
    """Another output matrix, which parts and manifest agree on."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + data
    (path / "output.safetensors").write_bytes(content)
    manifest = read_manifest(path)
    encoding = {**manifest.encoding, "output_sha256": sha256(content).hexdigest()}
    write_manifest(path, replace(manifest, encoding=encoding))
    table = pq.read_table(path / "part-00000.parquet")
    replace_part(path, 0, table.replace_schema_metadata(None))


def weight(shape, *, dtype="F32", offsets=(0, 9600), **more) -> dict:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}
    return {"__metadata__": {"scale": "1.0"}, "weight": entry, **more}


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (b"[" * 100_000, b"", "is not readable as safetensors .*nested too deep"),
        (weight([400, 7]), bytes(9600), "a weight of 400 by 7; expected a row .* and 6 columns"),
        (weight([300, 6]), bytes(9600), "has a weight of 300 by 6; expected a row for each of 400"),
        (weight([400, 6, 1]), bytes(9600), "is not the output matrix of a store"),
        (weight([400, 6], offsets=(0, 2**70)), b"", "is not the output matrix of a store"),
        (weight([400, 6], offsets=(-9600, 0)), bytes(9600), "is not the output matrix of a store"),
        (weight([400, 6], dtype="F16"), bytes(9600), "is not the output matrix of a store"),
        (weight([400, 6]), b"\xff" * 9600, "numbers that are not finite"),
        ({**weight([400, 6]), "__metadata__": []}, bytes(9600), "is not the output matrix"),
        ({**weight([400, 6]), "__metadata__": {"scale": "nan"}}, bytes(9600), "not finite"),
        (
            weight(
                [400, 6], channels={"dtype": "F32", "shape": [400, 1], "data_offsets": [0, 1600]}
            ),
            bytes(9600),
            "is not the output matrix",
        ),
    ],
)
def test_an_output_matrix_that_cannot_be_is_found(tmp_path, header, data, message):
    path = token_targets.write(tmp_path / "it", "hidden", token_targets.documents("hidden", [1]))
    replace_output(path, header, data)
    (found,) = verify(path)
    with pytest.raises(TargetsCorrupt, match=message):
        raise TargetsCorrupt(found)
    with pytest.raises(TargetsCorrupt, match=message):
        TargetStore.open(path).output_matrix()


def test_a_store_is_not_merged_into_itself(store, capsys):
    with pytest.raises(TargetsError, match="was given as a source and as the merged store"):
        merge([store], store)
    assert main(["targets", "merge", str(store), "--out", str(store)]) == 1
    assert "not an error that tutelage expected" not in capsys.readouterr().err


def test_targets_of_tokens_in_the_run_of_a_classification_are_shown_without_words(tmp_path, capsys):
    values = token_targets.documents("sampled", [2, 1])
    token_targets.write(tmp_path / "run" / "targets", "sampled", values)
    assert main(["init", str(tmp_path / "run" / "recipe.yaml")]) == 0
    assert main(["targets", "inspect", str(tmp_path / "run")]) == 0
    assert "kind                   sampled" in capsys.readouterr().out
