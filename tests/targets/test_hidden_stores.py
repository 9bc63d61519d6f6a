"""Hidden states stay on disk, come back exactly, and are worth something only with their output
matrix."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tests.targets.token_targets import (
    HIDDEN,
    VOCABULARY,
    assert_same,
    documents,
    hidden_document,
    name,
    open_writer,
    output_matrix,
    write,
)

from tutelage.errors import ShapeMismatch, TargetsCorrupt, TargetsIncomplete, TargetsMismatch
from tutelage.targets import (
    HiddenTargets,
    TargetStore,
    TargetWriter,
    read_manifest,
    read_output_matrix,
    verify,
    write_output_matrix,
)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), lengths=st.lists(st.integers(0, 8), min_size=1, max_size=5))
def test_hidden_states_come_back_exactly(tmp_path_factory, seed, lengths):
    values = documents("hidden", lengths, seed=seed)
    store = TargetStore.open(write(tmp_path_factory.mktemp("store") / "targets", "hidden", values))
    assert_same(store.lookup([name(row) for row in range(len(values))]), values)


def test_a_document_reads_its_own_row_group(tmp_path, monkeypatch):
    values = [hidden_document(np.random.default_rng(row), 300, hidden=2000) for row in range(6)]
    write_output_matrix(tmp_path / "targets", weight=np.zeros((VOCABULARY, 2000)))
    path = write(tmp_path / "targets", "hidden", values)
    assert pq.read_metadata(path / "part-00000.parquet").num_row_groups == 6
    store = TargetStore.open(path)
    read = pq.ParquetFile.read_row_groups
    groups = []

    def spy(self, numbers, **options):
        groups.append(numbers)
        return read(self, numbers, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    assert_same(store.lookup([name(4), name(1), name(4)]), [values[4], values[1], values[4]])
    assert groups == [[1, 4]]


@pytest.mark.parametrize("change", ["overwrite", "remove", "flip"])
def test_a_part_that_changes_after_opening_is_noticed(tmp_path, change):
    path = write(tmp_path / "targets", "hidden", documents("hidden", [200, 200]))
    store, part = TargetStore.open(path), path / "part-00000.parquet"
    content = bytearray(part.read_bytes())
    content[len(content) // 4] ^= 1
    {
        "overwrite": lambda: part.write_bytes(b""),
        "remove": part.unlink,
        "flip": lambda: part.write_bytes(content),
    }[change]()
    with pytest.raises(
        TargetsCorrupt, match=r"part-00000.parquet is not what it was when the store was opened"
    ):
        store.lookup([name(0), name(1)])


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (
            HiddenTargets(np.zeros((2, 5), np.int8), np.ones(2), np.ones(2)),
            ShapeMismatch,
            r"states int8\[2, 5\]",
        ),
        (
            HiddenTargets(np.zeros((2, HIDDEN)), np.ones(2), np.ones(2)),
            ShapeMismatch,
            r"expected int8\[2, 6\]",
        ),
        (
            HiddenTargets(np.zeros((2, HIDDEN), np.int8), np.ones(2), np.ones(3)),
            ShapeMismatch,
            r"entropies \[3\]",
        ),
        (
            HiddenTargets(np.zeros((1, HIDDEN), np.int8), -np.ones(1), np.ones(1)),
            ValueError,
            "scales that are negative",
        ),
        (
            HiddenTargets(np.zeros((1, HIDDEN), np.int8), np.ones(1), np.full(1, np.nan)),
            ValueError,
            "entropies that are",
        ),
        (
            np.zeros((1, HIDDEN)),
            ShapeMismatch,
            "ndarray was given for kind hidden; expected HiddenTargets",
        ),
    ],
)
def test_what_is_no_hidden_target_is_refused(tmp_path, value, error, message):
    with open_writer(tmp_path / "targets", "hidden") as writer:
        with pytest.raises(error, match=message):
            writer.add([name(0)], [value])
        with pytest.raises(ShapeMismatch, match="targets of 2 documents were given for 1 ids"):
            writer.add([name(0)], documents("hidden", [1, 1]))
        assert len(writer) == 0


def test_the_output_matrix_comes_first(tmp_path):
    settings = {"kind": "hidden", "teacher": "t", "tokenizer": "k", "vocabulary_size": 9}
    with pytest.raises(
        TargetsIncomplete, match=r"output.safetensors is missing.*Write it first: .*_output_matrix"
    ):
        TargetWriter.open(tmp_path / "targets", **settings)
    assert not (tmp_path / "targets").exists()
    with pytest.raises(
        ValueError, match="bits=4 was given for targets of kind hidden; this version knows only 8"
    ):
        open_writer(tmp_path / "targets", "hidden", encoding={"bits": 4})


def test_the_manifest_names_the_output_matrix(tmp_path):
    digest = write_output_matrix(tmp_path / "targets", **output_matrix())
    path = write(tmp_path / "targets", "hidden", documents("hidden", [3]))
    assert read_manifest(path).encoding == {
        "bits": 8,
        "hidden_size": HIDDEN,
        "output_sha256": digest,
    }


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_output_matrix_is_found_and_written_anew(tmp_path, damage):
    path = write(tmp_path / "targets", "hidden", documents("hidden", [3]))
    file = path / "output.safetensors"
    whole = file.read_bytes()
    if damage == "flip":
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    else:
        file.unlink()
    message = "output.safetensors is (damaged: its SHA-256 is|missing)"
    with pytest.raises(TargetsCorrupt, match=message):
        TargetStore.open(path)
    assert len(verify(path)) == 1
    write_output_matrix(path, **output_matrix())
    assert file.read_bytes() == whole
    assert verify(path) == []


def test_another_output_matrix_is_kept_out(tmp_path):
    path = write(tmp_path / "targets", "hidden", documents("hidden", [3]))
    before = {found.name: found.read_bytes() for found in path.iterdir()}
    write_output_matrix(path, **output_matrix())
    with pytest.raises(
        TargetsMismatch, match="holds targets of another output matrix and is left as it is"
    ):
        write_output_matrix(path, **output_matrix(), scale=2.0)
    assert {found.name: found.read_bytes() for found in path.iterdir()} == before
    classes = write(tmp_path / "sampled", "sampled", documents("sampled", [3]))
    with pytest.raises(TargetsMismatch, match="holds targets of another kind and is left as it is"):
        write_output_matrix(classes, **output_matrix())


def test_an_output_matrix_comes_back(tmp_path):
    weight = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    write_output_matrix(tmp_path / "a", weight=weight, bias=np.arange(5), scale=0.25, cap=30)
    found = read_output_matrix(tmp_path / "a")
    assert np.array_equal(found.weight, weight)
    assert found.bias is not None
    assert found.bias.tolist() == [0, 1, 2, 3, 4]
    assert (found.scale, found.cap, found.channels) == (0.25, 30.0, None)
    write_output_matrix(tmp_path / "b", weight=weight, channels=[1, 2, 4])
    folded = read_output_matrix(tmp_path / "b")
    assert np.array_equal(folded.weight, weight * np.array([1, 2, 4], np.float32))
    assert folded.channels is not None
    assert folded.channels.tolist() == [1, 2, 4]
    assert (folded.bias, folded.scale, folded.cap) == (None, 1.0, None)


def test_bfloat16_is_kept_as_it_is_and_never_made(tmp_path):
    half = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    half = (half.view(np.uint32) & 0xFFFF0000).view(np.float32)
    write_output_matrix(tmp_path / "half", weight=half)
    write_output_matrix(tmp_path / "full", weight=half + np.float32(1e-3))
    assert (tmp_path / "half" / "output.safetensors").stat().st_size < 64 * 32 * 2 + 200
    assert np.array_equal(read_output_matrix(tmp_path / "half").weight, half)
    assert np.array_equal(read_output_matrix(tmp_path / "full").weight, half + np.float32(1e-3))


def test_safetensors_reads_the_output_matrix(tmp_path):
    weight = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    write_output_matrix(tmp_path, weight=weight, bias=weight[:, 0])
    found = load_file(tmp_path / "output.safetensors")
    assert found.keys() == {"weight", "bias"}
    assert np.array_equal(found["weight"], weight)
    assert np.array_equal(found["bias"], weight[:, 0])


def test_the_same_matrix_makes_the_same_bytes(tmp_path):
    digests = {
        write_output_matrix(tmp_path / str(row), **output_matrix(), scale=0.5, cap=20)
        for row in range(8)
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        (
            {"weight": np.zeros(3)},
            ShapeMismatch,
            r"a weight of shape \(3,\) was given; expected \[V, H\]",
        ),
        (
            {"weight": np.zeros((3, 2)), "bias": np.zeros(2)},
            ShapeMismatch,
            r"expected weight \[V, H\], bias \[V\]",
        ),
        ({"weight": np.zeros((3, 2)), "channels": np.ones(3)}, ShapeMismatch, r"channels \[H\]"),
        ({"weight": np.full((3, 2), np.nan)}, ValueError, "numbers that are not finite"),
        (
            {"weight": np.zeros((3, 2)), "cap": 0.0},
            ValueError,
            "cap=0.0 or a channel is not above 0",
        ),
        (
            {"weight": np.zeros((3, 2)), "channels": [1.0, 0.0]},
            ValueError,
            "a channel is not above 0",
        ),
    ],
)
def test_what_is_no_output_matrix_is_refused(tmp_path, arrays, error, message):
    with pytest.raises(error, match=message):
        write_output_matrix(tmp_path / "targets", **arrays)
    assert not (tmp_path / "targets").exists()


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


BYTES = {"dtype": "I8", "shape": [2], "data_offsets": [0, 2]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(7),
        b"\xff" * 100,
        safetensors([]),
        safetensors({}),
        safetensors({"weight": BYTES, "__metadata__": {"scale": "1"}}, b"ab"),
        safetensors({"weight": {**BYTES, "dtype": "F32"}, "__metadata__": {"scale": "1"}}, b"ab"),
        safetensors(
            {"weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}, bytes(4)
        ),
    ],
)
def test_what_is_no_safetensors_is_corrupt(tmp_path, content):
    (tmp_path / "output.safetensors").write_bytes(content)
    with pytest.raises(TargetsCorrupt, match=r"output.safetensors is not"):
        read_output_matrix(tmp_path)


def test_logits_from_a_store(tmp_path):
    """The whole way back: states, channels, matrix, scale and cap give the teacher's logits within
    rounding."""
    chance = np.random.default_rng(0)
    hidden = chance.normal(size=(50, HIDDEN)) * [1, 40, 1, 1, 1, 1]
    weight, channels = (
        chance.normal(size=(VOCABULARY, HIDDEN)) / [1, 40, 1, 1, 1, 1],
        np.sqrt((hidden**2).mean(axis=0)),
    )
    logits = 5 * np.tanh(0.5 * (hidden @ weight.T) / 5)
    scaled = hidden / channels
    scales = np.abs(scaled).max(axis=1) / 127
    value = HiddenTargets(
        np.round(scaled / scales[:, None]).astype(np.int8), scales.astype(np.float32), np.ones(50)
    )
    write_output_matrix(tmp_path / "targets", weight=weight, scale=0.5, cap=5.0, channels=channels)
    store = TargetStore.open(write(tmp_path / "targets", "hidden", [value]))
    (found,), output = store.lookup([name(0)]), store.output_matrix()
    assert output.cap == 5.0
    again = output.scale * ((found.states * found.scales[:, None]) @ output.weight.T)
    assert np.abs(output.cap * np.tanh(again / output.cap) - logits).max() < 0.05
