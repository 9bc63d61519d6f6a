"""Fingerprints and seeds: the same for the same content, on every machine, and different
otherwise."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.runs import fingerprint, fingerprint_file, seed_sequence


@dataclass(frozen=True)
class Settings:
    rate: float
    layers: tuple[int, ...] = ()


@dataclass(frozen=True)
class OtherSettings:
    rate: float
    layers: tuple[int, ...] = ()


class Section(pydantic.BaseModel):
    rate: float
    path: Path


class Colour(Enum):
    RED = "red"


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_it_never_changes():
    assert fingerprint("a", 1, {"b": [2.5, None, True]}, b"\x00", Path("x/y")) == "5d5d45a088a597f4"
    assert fingerprint(np.arange(3, dtype=np.int32)) == "b488a1d8b6c0d4dd"
    assert len(fingerprint()) == 16


def test_another_process_says_the_same():
    code = (
        "from tutelage.runs import fingerprint; print(fingerprint({'b', 'a', 'c'}, {'x': 1, 'y': "
        "2}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {fingerprint({"c", "b", "a"}, {"y": 2, "x": 1})}


@given(plain)
def test_equal_content_is_equal(value):
    assert fingerprint(value) == fingerprint(value)


@given(st.dictionaries(st.text(), st.integers(), max_size=6))
def test_mappings_have_no_order(mapping):
    assert fingerprint(mapping) == fingerprint(dict(reversed(mapping.items())))


def test_kinds_of_content_are_told_apart():
    contents = [
        1, 1.0, True, "1", b"1", None, "", [], [1], [[1]], {}, {"1": 1}, {1: 1}, {1}, Path("1"),
        "None", ["a", "b"],
        ["ab"], {"mapping": []}, {"path": "1"}, {"bytes": "31"}, float("nan"), float("inf"), 0.0,
        -0.0, 0, False,
        Settings(1.0), OtherSettings(1.0), Settings(1.0, (1,)), Section(rate=1.0, path=Path("a")),
        Colour.RED, "red",
        np.array([1, 2]), np.array([[1, 2]]), np.array([1, 2], np.int32), np.array([1.0, 2.0]),
        "\ud800",
    ]  # fmt: skip
    found = [fingerprint(content) for content in contents]
    assert len(set(found)) == len(found)
    assert len({fingerprint("a", "b"), fingerprint(["a", "b"]), fingerprint("ab")}) == 3


def test_form_without_meaning_does_not_count():
    array = np.arange(12).reshape(3, 4)
    assert fingerprint(array.T) == fingerprint(np.ascontiguousarray(array.T))
    assert fingerprint(np.float64(0.5)) == fingerprint(0.5)
    assert fingerprint((1, 2)) == fingerprint([1, 2])


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, Settings, np.array([object()]), {"deep": [object()]}]
)
def test_what_has_no_content_is_refused(value):
    with pytest.raises(
        TypeError, match="has no content that a fingerprint could rely on: give plain values"
    ):
        fingerprint(value)


def test_a_file_is_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"content" * 100_000)
    (tmp_path / "b").write_bytes(b"content" * 100_000)
    assert fingerprint_file(tmp_path / "a") == fingerprint_file(tmp_path / "b")
    assert (
        fingerprint_file(tmp_path / "a") == blake2b(b"content" * 100_000, digest_size=8).hexdigest()
    )
    (tmp_path / "b").write_bytes(b"content")
    assert fingerprint_file(tmp_path / "a") != fingerprint_file(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        fingerprint_file(tmp_path / "c")


def test_seeds_are_independent_and_never_change():
    assert seed_sequence(0, "order", 1) == 7426112308411901821
    seeds = {
        seed_sequence(seed, name, epoch)
        for seed in range(10)
        for name in ("order", "dropout")
        for epoch in range(10)
    }
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_sequence(0) != seed_sequence(1)
    assert seed_sequence(0, "a", "b") != seed_sequence(0, "ab")
    assert seed_sequence(0, "1") != seed_sequence(0, 1)
