"""Small parts become large ones, and nothing else about a store changes."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from tests.targets.class_targets import IDS, PROBS
from tests.targets.class_targets import open_writer as open_class_writer
from tests.targets.token_targets import assert_same, documents, lookup, name, open_writer, write

from tutelage.errors import TargetsCorrupt, TargetsMismatch
from tutelage.targets import TargetStore, checking, inspect, read_manifest, reader, verify
from tutelage.targets import writer as writer_module
from tutelage.targets.manifest import Part
from tutelage.targets.parts import PartSize

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


def test_parts_of_other_kinds_stay(tmp_path):
    assert rows_of_parts(write_in_pieces(tmp_path / "hidden", "hidden", [3, 1, 2, 4])) == [
        3,
        1,
        2,
        4,
    ]
    with open_class_writer(tmp_path / "classes") as writer:
        for row in range(3):
            writer.add(IDS[row : row + 1], PROBS[row : row + 1])
            writer.flush()
        writer.finish()
    assert rows_of_parts(tmp_path / "classes") == [1, 1, 1]


def test_small_parts_are_put_together_once_they_fill_one(tmp_path):
    values, path, seen = documents("sampled", LENGTHS), tmp_path / "targets", []
    with open_writer(
        path, "sampled", rows_per_part=6, seconds_per_part=0
    ) as writer:  # a part for each row
        for row in range(10):
            writer.add([name(row)], [values[row]])
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


def test_a_damaged_part_is_named_at_the_end_and_nothing_is_lost(tmp_path):
    values, path = documents("sampled", LENGTHS), tmp_path / "targets"
    with open_writer(path, "sampled", rows_per_part=4, seconds_per_part=0) as writer:
        writer.add([name(0)], [values[0]])
        damaged = path / "part-00000.parquet"
        content = damaged.read_bytes()
        damaged.write_bytes(content[:-1])
        for row in range(1, 6):  # labelling goes on
            writer.add([name(row)], [values[row]])
        with pytest.raises(
            TargetsCorrupt, match=r"part-00000.parquet is damaged.*keep .*manifest.json, and run"
        ):
            writer.finish()
    damaged.write_bytes(content)
    with open_writer(path, "sampled") as writer:
        writer.finish()
    assert_same(lookup(path, 6), lookup(write(tmp_path / "whole", "sampled", values[:6]), 6))


def test_a_full_disk_stops_nothing(tmp_path, monkeypatch):
    values, path, tried = documents("sampled", LENGTHS), tmp_path / "targets", []

    def full(*_, **__):
        tried.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer_module, "join_parts", full)
    with open_writer(path, "sampled", rows_per_part=4, seconds_per_part=0) as writer:
        for row in range(6):
            writer.add([name(row)], [values[row]])
        assert len(tried) == 1  # not for every part again
        writer.finish()
    assert len(tried) == 2
    assert rows_of_parts(path) == [1] * 6
    assert TargetStore.open(path).manifest.complete
    assert_same(lookup(path, 6), lookup(write(tmp_path / "whole", "sampled", values[:6]), 6))


def test_ctrl_c_stays_ctrl_c(tmp_path):
    values, path = documents("sampled", LENGTHS), tmp_path / "targets"

    def interrupted() -> None:
        with open_writer(path, "sampled", rows_per_part=4) as writer:
            for row in range(4):
                writer.add([name(row)], [values[row]])
                writer.flush()
            (path / "part-00000.parquet").write_bytes(b"damaged")
            writer.add([name(4)], [values[4]])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(verify(path)) == 1


@pytest.mark.parametrize("read", [TargetStore.open, inspect, verify])
def test_a_reader_beside_the_writer_finds_what_was_put_together(tmp_path, monkeypatch, read):
    """The reader has read the manifest when the parts it names are put together and removed."""
    values, path = documents("sampled", LENGTHS), tmp_path / "targets"
    for row in range(3):
        with open_writer(path, "sampled") as writer:
            writer.add([name(row)], [values[row]])
    before = read_manifest(path)
    assert [part.rows for part in before.parts] == [1, 1, 1]
    with open_writer(path, "sampled") as writer:
        writer.finish()
    manifests = iter([replace(before, complete=True)])
    monkeypatch.setattr(
        reader if read == TargetStore.open else checking,
        "read_manifest",
        lambda folder: next(manifests, None) or read_manifest(folder),
    )
    found = read(path)
    assert next(manifests, None) is None
    if read == TargetStore.open:
        assert_same(found.lookup([name(row) for row in range(3)]), lookup(path, 3))
    elif read == inspect:
        assert found["rows"] == 3
    else:
        assert found == []
    (part,) = read_manifest(path).parts
    (path / part.file).unlink()
    if read == verify:
        assert len(verify(path)) == 1
    else:
        with pytest.raises(TargetsCorrupt, match="is missing"):
            read(path)


def test_a_reader_beside_the_writer_does_not_look_for_ever(tmp_path, monkeypatch):
    """A part is damaged, and the manifest grows whenever it is read."""
    values, path = documents("sampled", LENGTHS), tmp_path / "targets"
    for row in range(2):
        with open_writer(path, "sampled") as writer:
            writer.add([name(row)], [values[row]])
    (path / "part-00000.parquet").write_bytes(b"damaged")
    manifest, more = read_manifest(path), Part("part-00009.parquet", 1, 1, 1, "0" * 64)
    growing = (replace(manifest, parts=(*manifest.parts, *[more] * number)) for number in range(3))
    monkeypatch.setattr(reader, "read_manifest", lambda folder: next(growing))
    with pytest.raises(TargetsCorrupt, match=r"part-00000.parquet is damaged"):
        TargetStore.open(path, allow_incomplete=True)
    assert len(next(growing).parts) == 4


def test_a_store_that_is_replaced_while_it_is_read_is_not_handed_out(tmp_path, monkeypatch):
    values, path = documents("sampled", LENGTHS), tmp_path / "targets"
    write(path, "sampled", values)
    before = read_manifest(path)
    (path / before.parts[0].file).unlink()
    manifests = iter([before, replace(before, teacher="t2", parts=())])
    monkeypatch.setattr(reader, "read_manifest", lambda folder: next(manifests))
    with pytest.raises(
        TargetsMismatch, match='was replaced while it was read: its teacher is "t1", not "t2" now'
    ):
        TargetStore.open(path, teacher="t1")


def test_full_is_of_rows_or_of_memory():
    def part(rows: int, size: int, positions: int = 0) -> Part:
        return Part(
            file="part-00000.parquet", rows=rows, positions=positions, bytes=size, sha256=""
        )

    full = PartSize(rows=100, memory=3_000)
    assert full.filled([part(50, 10)]) == 0.5
    assert full.filled([part(5, 1_000)]) == 1
    assert full.filled([part(5, 1, positions=300)]) == 1
    assert full.filled([part(30, 200), part(40, 300)]) == 0.7
    parts = [part(49, 10), part(50, 10), part(1, 499), part(1, 500), part(40, 10)]
    assert [entry.rows for entry in full.small(parts)] == [49, 1, 40]
    assert [
        entry.rows
        for entry in full.fitting([part(40, 10), part(45, 10), part(20, 10), part(15, 10)])
    ] == [
        40,
        45,
        15,
    ]
