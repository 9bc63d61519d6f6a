"""Small parts become large ones, and nothing else about a store changes."""

from __future__ import annotations

import pytest
from tests.targets.token_targets import KINDS, assert_same, documents, lookup, name, open_writer, write

from tutelage.errors import TargetsCorrupt
from tutelage.targets import TargetStore, verify
from tutelage.targets.gathering import PartSize
from tutelage.targets.manifest import Part

LENGTHS = [3, 0, 7, 1, 12, 5, 0, 2, 4, 6]


def rows_of_parts(path) -> list[int]:
    return [part.rows for part in TargetStore.open(path, allow_incomplete=True).manifest.parts]


def write_in_pieces(path, kind, pieces, **settings):
    values, row = documents(kind, LENGTHS), 0
    with open_writer(path, kind, **settings) as writer:
        for size in pieces:
            writer.add([name(place) for place in range(row, row + size)], values[row : row + size])
            writer.flush()
            row += size
        writer.finish()
    return path


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_small_parts_are_put_together_at_the_end(tmp_path, kind):
    path = write_in_pieces(tmp_path / "targets", kind, [3, 1, 2, 4])
    assert rows_of_parts(path) == [10]
    whole = write(tmp_path / "whole", kind, documents(kind, LENGTHS))
    assert_same(lookup(path, 10), lookup(whole, 10))
    assert verify(path) == []
    (part,) = TargetStore.open(path).manifest.parts
    assert sorted(found.name for found in path.iterdir()) == ["manifest.json", part.file]
    assert (path / part.file).read_bytes() == (whole / "part-00000.parquet").read_bytes()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind == "hidden"])
def test_hidden_states_would_gain_nothing_and_stay(tmp_path, kind):
    assert rows_of_parts(write_in_pieces(tmp_path / "targets", kind, [3, 1, 2, 4])) == [3, 1, 2, 4]


def test_small_parts_are_put_together_once_they_fill_one(tmp_path):
    values = documents("sampled", LENGTHS)
    path = tmp_path / "targets"
    seen = []
    with open_writer(path, "sampled", rows_per_part=6) as writer:
        for row in range(10):
            writer.add([name(row)], [values[row]])
            writer.flush()
            seen.append(rows_of_parts(path))
    assert seen[4:7] == [[1, 1, 1, 1, 1], [6], [6, 1]]
    assert rows_of_parts(path) == [6, 1, 1, 1, 1]  # not finished
    with open_writer(path, "sampled", rows_per_part=6) as writer:
        writer.finish()
    assert rows_of_parts(path) == [6, 4]
    assert_same(lookup(path, 10), lookup(write(tmp_path / "whole", "sampled", values), 10))


def test_parts_that_are_half_full_stay(tmp_path):
    path = write_in_pieces(tmp_path / "targets", "sampled", [3, 2, 3, 2], rows_per_part=6)
    assert sorted(rows_of_parts(path)) == [3, 3, 4]


def test_a_finished_store_is_left_as_it_is(tmp_path):
    path = write_in_pieces(tmp_path / "targets", "sampled", [3, 2, 3, 2], rows_per_part=6)
    before = {found.name: found.read_bytes() for found in path.iterdir()}
    with open_writer(path, "sampled") as writer:
        writer.finish()
    assert {found.name: found.read_bytes() for found in path.iterdir()} == before


def test_a_damaged_part_is_named_and_nothing_is_lost(tmp_path):
    values, path = documents("sampled", LENGTHS), tmp_path / "targets"
    with open_writer(path, "sampled") as writer:
        for row in range(2):
            writer.add([name(row)], [values[row]])
            writer.flush()
        damaged = path / "part-00000.parquet"
        content = damaged.read_bytes()
        damaged.write_bytes(content[:-1])
        with pytest.raises(TargetsCorrupt, match=r"part-00000.parquet is damaged.*keep .*manifest.json, and run"):
            writer.finish()
    damaged.write_bytes(content)
    with open_writer(path, "sampled") as writer:
        writer.finish()
    assert_same(lookup(path, 2), lookup(write(tmp_path / "whole", "sampled", values[:2]), 2))


def test_full_is_of_rows_or_of_memory():
    def part(rows: int, size: int) -> Part:
        return Part(file="part-00000.parquet", rows=rows, positions=0, bytes=size, sha256="")

    full = PartSize(rows=100, memory=3_000)
    assert full.filled([part(50, 10)]) == 0.5
    assert full.filled([part(5, 1_000)]) == 1
    assert full.filled([part(30, 200), part(40, 300)]) == 0.7
    parts = [part(49, 10), part(50, 10), part(1, 499), part(1, 500), part(40, 10)]
    assert [entry.rows for entry in full.small(parts)] == [49, 1, 40]
    assert [entry.rows for entry in full.fitting([part(40, 10), part(45, 10), part(20, 10), part(15, 10)])] == [
        40,
        45,
        15,
    ]
