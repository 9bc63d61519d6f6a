"""Files that would fill memory or never end are refused, early and in words."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.hostile.asking import bounded

from tutelage.data.formats import read_rows
from tutelage.data.limits import MOST_DEPTH, ReadingLimits, is_deeper
from tutelage.data.rows import Problems, Rows, check_columns, shown


def read(path: Path, *fields: str, **limits: int) -> tuple[Rows, list[str]]:
    problems = Problems(path.name)
    rows = read_rows(
        path, problems, fields=fields or ("text", "label"), limits=ReadingLimits(**limits)
    )
    return rows, [str(problem) for problem in problems.listed()]


def repeated(text: str, times: int) -> Any:
    """A column that is large in memory and nothing in a file."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), [text])


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.parquet"])
def test_pipes_and_devices_are_refused_before_they_are_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.symlink_to("/dev/zero")
    assert "is a device, which may never end; expected one" in read(path)[1][0]
    path.unlink()
    os.mkfifo(path)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(read(path)[1]), daemon=True)
    reader.start()
    reader.join(20)
    assert not reader.is_alive()
    assert "is a pipe, which may never end; expected one" in found[0]


@pytest.mark.parametrize("name", ["a" * 300 + ".csv", "a\0b.csv", "file/inside.csv"])
def test_paths_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    rows, problems = read(tmp_path / name)
    assert not rows.columns
    assert len(problems) == 1


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_sparse_file_of_terabytes_is_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(2**41)
    with bounded():
        (problem,) = read(path)[1]
    assert "has 2,199,023,255,552 bytes; expected at most 8,589,934,592" in problem
    with path.open("wb") as file:
        file.truncate(2**31)  # one line of zeros
    with bounded():
        (problem,) = read(path)[1]
    assert "line 1: the row that begins here has more than 16,777,216 bytes" in problem
    assert "raise data.max_row_bytes" in problem


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", '{"text": "short"}\n{"text": "' + "x" * 200 + '"}\n', 2),
        ("a.csv", 'text,label\n"many\nshort\n' + "lines\n" * 40 + '",a\n', 2),
        ("a.csv", 'text,label\nfine,a\n"never closed\n' + "row,b\n" * 40, 3),
        ("a.csv", "text," * 60 + "label\n", 1),
        ("a.csv", "text,label\n" + "é" * 80 + ",a\n", 2),
    ],
)
def test_a_row_larger_than_its_limit_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str, line: int
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    rows, problems = read(path, max_row := "text", row_bytes=150)
    assert not rows.values, max_row
    assert problems[0].startswith(
        f"{name}, line {line}: the row that begins here has more than 150"
    )
    assert "line" not in str(read(path, "text", row_bytes=2000)[1][:1]) or "never" in content


def test_many_rows_are_no_large_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + '"two\nlines",a\n' * 500, encoding="utf-8")
    rows, problems = read(path, row_bytes=20)
    assert (len(rows.values), problems) == (500, [])


BOMBS = {
    "a long text many times": lambda: repeated("x" * 1000, 400_000),
    "a short text many times": lambda: repeated("x", 30_000_000),
    "nothing many times": lambda: pa.nulls(100_000_000),
    "one text": lambda: ["\0" * 2**27 + "more"],
    "lists of nothing": lambda: pa.array([[None] * 2_000_000] * 2, pa.list_(pa.int8())),
    "a list of texts": lambda: pa.ListArray.from_arrays(
        [0, 2_000_000], repeated("y" * 100, 2_000_000)
    ),
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_parquet_that_unfolds_to_gigabytes_is_refused(tmp_path: Path, name: str) -> None:
    table = {"text": BOMBS[name]()}
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(table), path, compression="zstd", write_statistics=False)
    assert path.stat().st_size < 1_000_000
    with bounded():
        rows, problems = read(path, "text")
    assert not rows.values
    assert "unfolds to more than 134,217,728 bytes in memory" in problems[0]
    assert "raise data.max_file_bytes" in problems[0]


def test_limits_of_parquet_can_be_raised_and_lowered(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": repeated("x" * 10, 1000), "other": ["y"] * 1000}), path)
    assert len(read(path, "text")[0].values) == 1000
    assert "unfolds to more than 50,000 bytes" in read(path, "text", file_bytes=50_000)[1][0]
    assert len(read(path, "text", file_bytes=200_000)[0].values) == 1000
    _, problems = read(path, "text", row_bytes=100)
    assert problems[0] == (
        "a.parquet, row 1: the row has more than 100 bytes; cut long texts, or raise "
        "data.max_row_bytes"
    )
    assert problems[-1] == "a.parquet: and 995 more rows that are too large"


def test_text_of_parquet_in_any_encoding_is_read_as_before(tmp_path: Path) -> None:
    texts = [None if row % 7 == 0 else f"text {row % 50}" for row in range(10_000)]
    for name, column in {
        "plain": pa.array(texts),
        "large": pa.array(texts, pa.large_string()),
        "category": pa.array(texts).dictionary_encode(),
        "messages": pa.array([[{"role": "user", "content": text}] for text in texts]),
    }.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"text": column}), path, row_group_size=3000, use_dictionary=True)
        rows, problems = read(path, "text")
        assert problems == []
        assert [(row, values["text"]) for row, values in rows.values] == list(
            enumerate(column.to_pylist(), start=1)
        )


def test_json_that_is_nested_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    deep = ["[" * depth + "]" * depth for depth in (MOST_DEPTH, MOST_DEPTH + 1, 900, 100_000)]
    path.write_text("".join(f'{{"text": {one}}}\n' for one in deep))
    rows, problems = read(path, "text")
    assert [number for number, _ in rows.values] == [1]
    assert [one[:61] for one in problems] == [
        f"a.jsonl, row {row}: line {row} has lists and objects in more than 100"
        for row in (2, 3, 4)
    ]
    path.write_text("[" * 100_000)
    assert "this is one JSON list" in read(path, "text")[1][0]
    # A column that nobody asked for may hold what it likes.
    path.write_text(f'{{"text": "a", "other": {deep[2]}}}\n')
    assert read(path, "text")[1] == []
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")


def test_depth_is_measured_without_calling_itself() -> None:
    value: Any = "text"
    for _ in range(MOST_DEPTH):
        value = [value]
    assert not is_deeper(value)
    assert is_deeper({"a": value})


def test_numbers_of_thousands_of_digits(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": {"9" * 5000}}}\n{{"text": 1e999}}\n{{"text": "a"}}\n')
    rows, problems = read(path, "text")
    assert len(rows.values) == 2
    assert problems == [
        "a.jsonl, row 1: line 1 holds a number of thousands of digits; write it as text"
    ]


def test_a_row_of_very_many_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({f"key {number}": number for number in range(300_000)}))
    problems = Problems(path.name)
    with bounded():
        rows = read_rows(path, problems, fields=["text"])
        check_columns(rows, ["text"], problems, keys="text_field")
    assert len(rows.columns) == 1000
    (said,) = map(str, problems.listed())
    assert "no column `text`" in said
    assert len(said) < 500


def test_a_header_of_very_many_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("," * 300_000 + "text\n" + "," * 300_000 + "here\n" + "a,b\n")
    with bounded():
        rows, problems = read(path, "text")
    assert rows.values == [(1, {"text": "here"})]
    assert "has 2 fields, the header has 300,001" in problems[0].replace("300001", "300,001")
    assert len(problems[0]) < 500


def test_a_key_that_a_row_has_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "a"}\n{"text": "b", "text": "c"}\n'
        '{"text": "a", "other": [{"x": 1, "y": 2, "x": 3}]}\n'
    )
    rows, problems = read(path, "text")
    assert [number for number, _ in rows.values] == [1]
    assert problems == [
        "a.jsonl, row 2: line 2 has the key 'text' twice; keep one of them",
        "a.jsonl, row 3: line 3 has the key 'x' twice; keep one of them",
    ]


def test_a_key_in_two_normal_forms_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"caf\\u00e9": "a", "cafe\\u0301": "b"}\n')
    _, problems = read(path, "café")
    assert problems == ["a.jsonl, row 1: line 1 has the key 'café' twice; keep one of them"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("short", "'short'"),
        ("x" * 100, "'" + "x" * 56 + "..."),
        ({"a": [1, "b", None]}, "{'a': [1, 'b', None]}"),
        ([], "[]"),
        (b"\xff", r"b'\xff'"),
    ],
)
def test_what_a_message_shows_is_cut(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_a_number_of_thousands_of_digits_is_not_written_out() -> None:
    assert shown(10**5000) == "a number of about 5,000 digits"


def test_what_a_message_shows_may_be_of_any_depth() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    assert shown(value) == "[" * 57 + "..."
    while value:  # taken apart, so that nothing frees it in one call inside another
        (value,) = value
