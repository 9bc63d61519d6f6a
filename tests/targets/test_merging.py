"""Stores labelled side by side become one, each row once and bit for bit; stores that differ are
refused."""

from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest
from tests.targets.token_targets import (
    STORE_KINDS,
    assert_same,
    documents,
    name,
    open_writer,
    output_matrix,
    write,
)

from tutelage.errors import TargetsCorrupt, TargetsError, TargetsIncomplete, TargetsMismatch
from tutelage.targets import (
    TargetStore,
    TargetWriter,
    export_jsonl,
    jsonl_lines,
    merge,
    verify,
    write_output_matrix,
)
from tutelage.types import example_id


@pytest.mark.parametrize("kind", STORE_KINDS)
def test_merging_changes_nothing(tmp_path, kind):
    values = documents(kind, [3, 0, 7, 1, 12, 5, 2])
    ids = [name(row) for row in range(len(values))]
    first = write(tmp_path / "a", kind, values[:4], ids[:4], rows_per_part=2)
    second = write(tmp_path / "b", kind, values[3:], ids[3:])
    merged = merge([first, second, first], tmp_path / "all")
    assert merged.manifest.complete
    assert len(merged) == 7
    whole = TargetStore.open(write(tmp_path / "whole", kind, values, ids))
    assert_same(merged.lookup(ids), whole.lookup(ids))
    assert merged.manifest.identity == whole.manifest.identity
    assert verify(tmp_path / "all") == []
    if kind == "hidden":
        assert np.array_equal(merged.output_matrix().weight, whole.output_matrix().weight)


def test_classes_are_merged_too(tmp_path):
    probs = np.random.default_rng(0).dirichlet([1, 1], 6).astype(np.float32)
    ids = [example_id(str(row)) for row in range(6)]
    for place, rows in (("a", slice(0, 4)), ("b", slice(3, 6))):
        settings = {"kind": "class_probabilities", "teacher": "t", "labels": ["x", "y"]}
        with TargetWriter.open(tmp_path / place, **settings) as writer:
            writer.add(ids[rows], probs[rows])
            writer.finish()
    assert np.array_equal(
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all").lookup(ids), probs
    )


def test_the_first_store_counts(tmp_path):
    one, other = documents("sampled", [4, 9])
    first, second = (
        write(tmp_path / "a", "sampled", [one]),
        write(tmp_path / "b", "sampled", [other]),
    )
    assert [len(value) for value in merge([second, first], tmp_path / "all").lookup([name(0)])] == [
        9
    ]


class Totals:
    """Progress that remembers how much there was to do."""

    def __init__(self) -> None:
        self.totals: list[int] = []

    @contextmanager
    def bar(self, title, *, total, unit):
        self.totals.append(total)
        yield lambda count: None


def test_merging_goes_on_where_it_was(tmp_path):
    values = documents("sampled", [4, 9, 2])
    first = write(tmp_path / "a", "sampled", values[:1])
    second = write(tmp_path / "b", "sampled", values[1:], [name(1), name(2)])
    whole = write(tmp_path / "whole", "sampled", values)
    with open_writer(tmp_path / "all", "sampled") as writer:  # what a kill left
        writer.missing([name(row) for row in range(3)])
        writer.add([name(0)], values[:1])
    seen = Totals()
    merged = merge([first, second], tmp_path / "all", progress=seen)
    assert seen.totals == [2]
    ids = [name(row) for row in range(3)]
    assert_same(merged.lookup(ids), TargetStore.open(whole).lookup(ids))
    before = {found.name: found.read_bytes() for found in (tmp_path / "all").iterdir()}
    merge([first, second], tmp_path / "all")
    assert {found.name: found.read_bytes() for found in (tmp_path / "all").iterdir()} == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "t2"}, 'whose teacher is "t1", not "t2"'),
        ({"seed": 4}, "whose seed is 3, not 4"),
        ({"tokenizer": "k2"}, 'whose tokenizer is "k1", not "k2"'),
        (
            {"encoding": {"threshold": 0.1}},
            r'whose encoding is \{"threshold": 0.05\}, not \{"threshold": 0.1\}',
        ),
    ],
)
def test_stores_that_differ_are_refused(tmp_path, settings, message):
    first = write(tmp_path / "a", "sampled", documents("sampled", [4]))
    second = write(tmp_path / "b", "sampled", documents("sampled", [4]), **settings)
    with pytest.raises(TargetsMismatch, match=f"b cannot be merged with .*a, {message}"):
        merge([first, second], tmp_path / "all")
    with pytest.raises(TargetsMismatch, match=f"b cannot be merged with .*a, {message}"):
        merge([first], second)
    assert not (tmp_path / "all").exists()


def test_hidden_states_of_another_matrix_are_refused(tmp_path):
    first = write(tmp_path / "a", "hidden", documents("hidden", [4]))
    write_output_matrix(tmp_path / "b", **output_matrix(), scale=2.0)
    second = write(tmp_path / "b", "hidden", documents("hidden", [4]))
    with pytest.raises(TargetsMismatch, match="cannot be merged"):
        merge([first, second], tmp_path / "all")


def test_what_cannot_be_merged_is_named(tmp_path):
    first = write(tmp_path / "a", "sampled", documents("sampled", [4]))
    with pytest.raises(ValueError, match="no stores were given to merge"):
        merge([], tmp_path / "all")
    with pytest.raises(ValueError, match="a was given as a source and as the merged store"):
        merge([first], tmp_path / "b" / ".." / "a")
    with pytest.raises(TargetsIncomplete, match=r"holds no manifest.json"):
        merge([first, tmp_path / "none"], tmp_path / "all")
    with open_writer(tmp_path / "open", "sampled") as writer:
        writer.add([name(1)], documents("sampled", [4]))
    with pytest.raises(TargetsIncomplete, match="labelling has not finished"):
        merge([first, tmp_path / "open"], tmp_path / "all")
    (tmp_path / "things").mkdir()
    for file in ("notes.txt", "output.safetensors"):
        (tmp_path / "things" / file).write_text("mine")
    for source in (first, write(tmp_path / "hidden", "hidden", documents("hidden", [4]))):
        with pytest.raises(TargetsError, match="holds other files"):
            merge([source], tmp_path / "things")
    with pytest.raises(TargetsError, match="holds other files"):
        write_output_matrix(tmp_path / "things", **output_matrix())
    assert {file.read_text() for file in (tmp_path / "things").iterdir()} == {"mine"}


@pytest.mark.parametrize("kind", STORE_KINDS)
def test_exported_lines_say_what_lookup_says(tmp_path, kind):
    values = documents(kind, [3, 0, 5])
    path = write(tmp_path / "targets", kind, values)
    assert export_jsonl(path, tmp_path / "out" / "targets.jsonl") == 3
    assert [found.name for found in (tmp_path / "out").iterdir()] == ["targets.jsonl"]
    lines = (tmp_path / "out" / "targets.jsonl").read_text("utf-8").splitlines()
    assert lines == list(jsonl_lines(path))
    records = [json.loads(line) for line in lines]
    assert [record["example_id"] for record in records] == [name(row).hex() for row in range(3)]
    for record, value in zip(
        records, TargetStore.open(path).lookup([name(row) for row in range(3)]), strict=True
    ):
        if kind == "hidden":
            assert np.array_equal(
                np.array(record["states"]).reshape(value.states.shape), value.states
            )
            assert record["scales"] == pytest.approx(value.scales.tolist())
            continue
        positions = record["positions"]
        assert [position["entropy"] for position in positions] == pytest.approx(
            value.entropies.tolist(), abs=1e-4
        )
        assert [len(position["head"]) for position in positions] == value.heads.tolist()
        pairs = [
            pair for position in positions for pair in position["head"] + position.get("tail", [])
        ]
        assert [pair[0] for pair in pairs] == value.ids.tolist()
        assert [pair[1] for pair in pairs] == pytest.approx(value.logprobs.tolist(), abs=1e-5)
        assert all(("tail" in position) == (kind == "sampled") for position in positions)


def test_classes_are_exported_by_label(tmp_path):
    with TargetWriter.open(
        tmp_path, kind="class_probabilities", teacher="t", labels=["x", "ÿ"]
    ) as writer:
        writer.add([name(1)], [[0.25, 0.75]])
        writer.flush()
        assert list(jsonl_lines(tmp_path)) == [
            f'{{"example_id":"{name(1).hex()}","probs":{{"x":0.25,"ÿ":0.75}}}}'
        ]


def test_a_damaged_store_leaves_no_file(tmp_path):
    path = write(tmp_path / "targets", "sampled", documents("sampled", [3]))
    (path / "part-00000.parquet").write_bytes(b"")
    with pytest.raises(TargetsCorrupt, match="is damaged"):
        export_jsonl(path, tmp_path / "out" / "targets.jsonl")
    assert list((tmp_path / "out").iterdir()) == []
