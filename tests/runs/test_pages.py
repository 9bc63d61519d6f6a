"""What a Parquet file unfolds to is told from its pages, whatever its footer says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.runs.pages import chunks_of, columns_of, footer_of


def written(table: pa.Table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def unfolded(content: bytes, name: str) -> int:
    metadata = pq.read_metadata(pa.BufferReader(content))
    return sum(column.unfolded for column in columns_of(content, metadata, names=[name]))


COLUMNS = {
    "whole": pa.array(range(5000), pa.int64()),
    "small": pa.array([1, 2] * 2500, pa.uint8()),
    "real": pa.array(np.linspace(0, 1, 5000, dtype=np.float32)),
    "fixed": pa.array([bytes(16)] * 5000, pa.binary(16)),
    "same": pa.array(["the same words " * 20] * 5000),
    "other": pa.array([f"words {number}" for number in range(5000)]),
    "lists": pa.array([[1, 2, 3], [], [4]] * 1666 + [[5]] * 2, pa.list_(pa.uint16())),
    "many": pa.array([[b"a" * 50] * 5] * 5000, pa.list_(pa.binary())),
    "sides": pa.array([{"a": "x", "b": 1.0}] * 5000),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dictionary": False, "compression": "zstd"},
        {"data_page_version": "2.0", "compression": "gzip"},
        {"row_group_size": 700, "data_page_size": 500},
        {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"},
        {"write_page_checksum": True, "write_page_index": True, "compression": "none"},
    ],
)
def test_no_column_takes_more_than_was_told(name, options):
    if "column_encoding" in options and name not in ("same", "other", "fixed", "many"):
        options = {"use_dictionary": False, "data_page_version": "2.0"}
    content = written(pa.table({name: COLUMNS[name]}), **options)
    table = pq.read_table(pa.BufferReader(content))
    assert unfolded(content, name) >= table.nbytes * 0.99
    assert columns_of(content, pq.read_metadata(pa.BufferReader(content)), names=["no"]) == []


@pytest.mark.parametrize("name", ["whole", "real", "fixed", "other"])
def test_what_does_not_repeat_is_not_told_as_more_than_it_is(name):
    content = written(pa.table({name: COLUMNS[name]}), use_dictionary=False)
    assert unfolded(content, name) <= 3 * COLUMNS[name].nbytes


def varint(number: int, *, size: int = 0) -> bytes:
    """A number of the compact protocol, in at least so many bytes."""
    out = bytearray()
    while number or len(out) < size or not out:
        out.append(number & 127 | 128)
        number >>= 7
    out[-1] &= 127
    return bytes(out)


def test_a_footer_that_lies_is_not_believed():
    content = written(
        pa.table({"it": pa.array([bytes(3_000_000)])}), compression="zstd", use_dictionary=False
    )
    size = pq.read_metadata(pa.BufferReader(content)).row_group(0).column(0).total_uncompressed_size
    told, footer = varint(2 * size), int.from_bytes(content[-8:-4], "little") + 8
    lied = content[-footer:].replace(told, varint(2000, size=len(told)))
    content = content[:-footer] + lied
    metadata = pq.read_metadata(pa.BufferReader(content))
    assert metadata.row_group(0).column(0).total_uncompressed_size == 1000
    assert pq.read_table(pa.BufferReader(content)).nbytes > 3_000_000  # so does the reader not
    assert unfolded(content, "it") > 3_000_000


@pytest.mark.parametrize("filler", [b"\x00", b"\xff", b"\x15", b"\x1c"])
def test_headers_that_make_no_sense_are_refused(filler):
    content = written(pa.table({"it": pa.array([1, 2, 3])}), use_dictionary=False)
    metadata = pq.read_metadata(pa.BufferReader(content))
    column = metadata.row_group(0).column(0)
    broken = bytearray(content)
    at = column.data_page_offset
    broken[at : at + column.total_compressed_size] = filler * column.total_compressed_size
    with pytest.raises(ValueError, match="it has a"):
        columns_of(bytes(broken), metadata, names=["it"])


def test_a_column_that_contradicts_its_schema_does_not_end_the_process():
    """pyarrow's `row_group(0).column(0)` does: its C++ throws and its Python does not catch."""
    content = written(pa.table({"it": [[1], [2, 3], None]}))
    optional, required = b"\x02\x18\x02it", b"\x00\x18\x02it"
    assert content.count(optional) == 1
    content = content.replace(optional, required)  # so that histograms of levels are too long
    assert unfolded(content, "it") > 0
    with pytest.raises(OSError, match="histogram size mismatch"):
        pq.ParquetFile(pa.BufferReader(content)).read()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[:-4] + b"PAR2", "no footer"),
        (lambda c: c[:-8] + b"\xff\xff\xff\x7fPAR1", "no footer"),
        (lambda c: c[-4:], "no footer"),
        (lambda c: c[:-8] + b"\x00\x00\x00\x00PAR1", "without an end"),
        (lambda c: c + b"\x49\x1c\x00\x00\x04\x00\x00\x00PAR1", "without all of its 1 columns"),
        (lambda c: c + b"\x49\xf9\xff\xff\xff\x7f\x06\x00\x00\x00PAR1", "makes no sense"),
        (lambda c: c + b"\x49" * 60 + b"\x3c\x00\x00\x00PAR1", "makes no sense"),
    ],
)
def test_footers_that_make_no_sense_are_refused(change, message):
    content = written(pa.table({"it": [1, 2, 3]}))
    metadata = pq.read_metadata(pa.BufferReader(content))
    with pytest.raises(ValueError, match=message):
        columns_of(change(content), metadata, names=["it"])


def test_the_footer_is_read_as_pyarrow_reads_it():
    table = pa.table({"it": [f"{row % 7} words" for row in range(5000)], "other": range(5000)})
    content = written(table, row_group_size=1000, compression="zstd")
    metadata = pq.read_metadata(pa.BufferReader(content))
    groups = chunks_of(footer_of(content), columns=2)
    assert len(groups) == metadata.num_row_groups == 5
    for group, chunks in enumerate(groups):
        for place, chunk in enumerate(chunks):
            told = metadata.row_group(group).column(place)
            assert chunk.values == told.num_values
            assert chunk.unfolded == told.total_uncompressed_size
            assert chunk.size == told.total_compressed_size
            assert chunk.data_at == told.data_page_offset
            assert chunk.dictionary_at == (told.dictionary_page_offset or 0)


def test_pages_beyond_the_end_are_refused():
    content = written(pa.table({"it": range(5000)}), use_dictionary=False, compression="none")
    metadata = pq.read_metadata(pa.BufferReader(content))
    footer_alone = content[-8 - len(footer_of(content)) :]
    with pytest.raises(ValueError, match="lies outside of it"):
        columns_of(footer_alone, metadata, names=["it"])
