"""Checkpoints are whole or not there, safe formats, the newest two."""

import json

import pytest
import torch

from tutelage.errors import RunDamaged
from tutelage.train.journal import read_newest, write_checkpoint


def write(folder, step):
    return write_checkpoint(
        folder, step, {"a": torch.full((2,), float(step)), "n": torch.tensor(step)}, {"step": step}
    )


def test_round_trip_of_every_type(tmp_path):
    tensors = {
        "float": torch.randn(3, 2),
        "transposed": torch.randn(3, 2).T,
        "long": torch.tensor(7),
        "bytes": torch.get_rng_state(),
        "double": torch.randn(2, dtype=torch.float64),
    }
    tensors["shared"] = tensors["float"]
    write_checkpoint(tmp_path / "checkpoints", 3, tensors, {"x": 0.1, "y": None})
    found = read_newest(tmp_path / "checkpoints")
    assert found is not None
    assert found[1] == {"x": 0.1, "y": None}
    assert found[0].keys() == tensors.keys()
    assert all(torch.equal(found[0][name], value) for name, value in tensors.items())


def test_the_newest_two_are_kept_and_nothing_else(tmp_path):
    (tmp_path / ".writing").mkdir()
    (tmp_path / ".writing" / "tensors.safetensors").write_bytes(b"half")
    for step in (9, 10, 100):
        write(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]
    names = {path.name for path in (tmp_path / "step-00000100").iterdir()}
    assert names == {"tensors.safetensors", "state.json"}


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    write(tmp_path, 1)
    file = write(tmp_path, 2) / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    found = read_newest(tmp_path)
    assert found is not None
    assert found[1]["step"] == 1
    write(tmp_path, 2)
    found = read_newest(tmp_path)
    assert found is not None
    assert found[1] == {"step": 2}
    assert found[0]["n"].item() == 2


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("place", [0.25, 0.5, 0.9])
def test_a_flipped_byte_gives_way_to_the_one_before(tmp_path, name, place):
    write(tmp_path, 1)
    file = write(tmp_path, 2) / name
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)
    found = read_newest(tmp_path)
    assert found is not None
    assert found[1] == {"step": 1}


def test_checkpoints_of_earlier_versions_are_read(tmp_path):
    folder = write(tmp_path, 3)
    (folder / "state.json").write_text('{"step": 3}', encoding="utf-8")
    found = read_newest(tmp_path)
    assert found is not None
    assert found[1] == {"step": 3}


def test_of_another_run_no_tensors_are_read(tmp_path):
    state = {"step": 4, "identity": "that"}
    write_checkpoint(tmp_path, 4, {"weight": torch.ones(2)}, state)
    assert read_newest(tmp_path, identity="this") == ({}, state)
    found = read_newest(tmp_path, identity="that")
    assert found is not None
    assert list(found[0]) == ["weight"]


def test_nothing_there_is_nothing(tmp_path):
    assert read_newest(tmp_path / "checkpoints") is None


def test_a_checkpoint_of_a_later_version_is_refused_and_stays(tmp_path):
    state = write(tmp_path, 2) / "state.json"
    later = json.dumps({"format": 2})
    state.write_text(later)
    with pytest.raises(RunDamaged, match="format 2, and this version of tutelage reads format 1"):
        read_newest(tmp_path)
    assert state.read_text() == later
