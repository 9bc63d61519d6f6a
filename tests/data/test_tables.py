"""Reading files: every format, every way a row or a file can be wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Table, read_examples, read_table
from tutelage.errors import DataError

LABELS = ("negative", "neutral", "positive")
texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)


def write(folder: Path, content: str | bytes, name: str = "train.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, **settings: Any) -> tuple[Table, list[str]]:
    table, problems = read_table(path, **{"labels": LABELS, **settings})
    return table, [str(problem) for problem in problems]


def found(
    folder: Path, content: str | bytes, name: str = "train.csv", **settings: Any
) -> list[str]:
    return read(write(folder, content, name), **settings)[1]


def write_as(path: Path, rows: list[tuple[str, str]]) -> None:
    match path.suffix:
        case ".jsonl":
            lines = [
                json.dumps({"label": label, "text": text}, ensure_ascii=len(text) % 2 == 0)
                for text, label in rows
            ]
            path.write_text("\n".join(lines), encoding="utf-8", newline="")
        case ".parquet":
            pq.write_table(
                pa.table({"text": [row[0] for row in rows], "label": [row[1] for row in rows]}),
                path,
            )
        case suffix:
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(
                    file, delimiter="," if suffix == ".csv" else "\t", quoting=csv.QUOTE_ALL
                )
                writer.writerows([("text", "label"), *rows])


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_gives_back_what_was_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"

    @settings(max_examples=30, deadline=None)
    @given(rows=st.lists(st.tuples(texts, st.sampled_from(LABELS)), min_size=1, max_size=6))
    def check(rows: list[tuple[str, str]]) -> None:
        write_as(path, rows)
        examples = read_examples(path, labels=LABELS)
        assert [(example.text, LABELS[example.label or 0]) for example in examples] == rows
        assert [(example.source, example.row) for example in examples] == [
            (path.name, n + 1) for n in range(len(rows))
        ]

    check()


def test_byte_order_mark_blank_lines_and_windows_line_ends(tmp_path: Path) -> None:
    path = write(
        tmp_path, '\ufefftext,label\r\n\r\ngood,positive\r\n\r\n"two\r\nlines",\r\n'.encode()
    )
    examples = read_examples(path, labels=LABELS)
    assert [(one.text, one.label, one.row) for one in examples] == [
        ("good", 2, 1),
        ("two\r\nlines", None, 2),
    ]


def test_a_long_text_in_csv_is_no_problem(tmp_path: Path) -> None:
    before = 1000
    csv.field_size_limit(before)
    assert (
        len(
            read_examples(write(tmp_path, f"text,label\n{'x' * 200_000},neutral\n"), labels=LABELS)[
                0
            ].text
        )
        == 200_000
    )
    assert csv.field_size_limit(131_072) == before


def test_only_a_newline_ends_a_json_line(tmp_path: Path) -> None:
    path = write(tmp_path, '{"text": "a\u2028b\x85c"}\r\n{"text": "d"}', "a.jsonl")
    assert [one.text for one in read_examples(path)] == ["a\u2028b\x85c", "d"]


def test_labels_as_indexes_and_missing_labels(tmp_path: Path) -> None:
    lines = (
        '{"text": "a", "label": 2}\n{"text": "b", "label": null}\n{"text": "c"}\n{"text": "d", '
        '"label": 1}\n'
    )
    assert [
        one.label for one in read_examples(write(tmp_path, lines, "a.jsonl"), labels=LABELS)
    ] == [2, None, None, 1]
    pq.write_table(
        pa.table({"text": ["a", "b", "c"], "label": [0.0, float("nan"), None]}),
        tmp_path / "a.parquet",
    )
    assert [one.label for one in read_examples(tmp_path / "a.parquet", labels=LABELS)] == [
        0,
        None,
        None,
    ]


def test_a_label_called_by_a_number_is_meant_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, '{"text": "a", "label": 1}\n', "a.jsonl")
    assert read_examples(path, labels=["1", "2"])[0].label == 0


def test_labels_found_in_the_file_when_none_are_given(tmp_path: Path) -> None:
    table, problems = read_table(write(tmp_path, "text,label\na,no\nb,yes\nc,no\n"))
    assert (table.labels, [one.label for one in table.examples], problems) == (
        ("no", "yes"),
        [0, 1, 0],
        [],
    )
    table, problems = read_table(
        write(tmp_path, '{"text": "a", "label": 2}\n{"text": "b", "label": 0}\n', "a.jsonl")
    )
    assert ([one.label for one in table.examples], problems) == ([2, 0], [])


def test_labels_are_ignored_in_an_unlabeled_file(tmp_path: Path) -> None:
    table, problems = read(write(tmp_path, "text,label\na,whatever\n"), label_field=None)
    assert ([one.label for one in table.examples], problems) == ([None], [])


def test_groups(tmp_path: Path) -> None:
    table, problems = read(
        write(tmp_path, "text,label,customer\na,neutral,7\nb,neutral,\n"), group_field="customer"
    )
    assert (table.groups, problems) == (["7", None], [])
    assert read(write(tmp_path, "text,label\na,neutral\n"))[0].groups is None
    assert "no column `customer`. The columns are `text`, `label`" in found(
        tmp_path, "text,label\na,neutral\n", group_field="customer"
    )[0]  # fmt: skip


def test_every_bad_row_at_once(tmp_path: Path) -> None:
    lines = [
        {"text": "fine", "label": "neutral"},
        {"text": " ", "label": "neutral"},
        {"text": 3, "label": "neutral"},
        {"label": "neutral"},
        {"text": float("nan"), "label": "neutral"},
        {"text": "a", "label": "Positve"},
        {"text": "b", "label": 3},
        {"text": "c", "label": True},
        {"text": "d", "label": "spam"},
        {"text": "e\ud800", "label": "neutral"},
    ]
    content = "\n".join(json.dumps(line) for line in lines) + '\n{"text": \n[1]\n'
    table, problems = read(write(tmp_path, content, "a.jsonl"))
    assert [one.text for one in table.examples] == ["fine"]
    assert table.num_rows == 10
    assert problems == [
        "a.jsonl, row 11: line 11 is not JSON (Expecting value, column 10); write one object a "
        "line",
        'a.jsonl, row 12: line 12 holds [1]; expected an object such as {"text": "..."}',
        "a.jsonl, row 2: `text` is empty; delete the row or fill it in",
        "a.jsonl, row 3: `text` is 3 (int); expected text: write it as a string",
        "a.jsonl, row 4: `text` is missing; delete the row or fill it in",
        "a.jsonl, row 5: `text` is missing (NaN); delete the row or fill it in",
        "a.jsonl, row 8: `label` is True (bool); expected the name of a label, or its index",
        "a.jsonl, row 10: `text` holds half of a character (a lone surrogate): a text was cut "
        "inside it; write it again",
        "a.jsonl, row 6: the label 'Positve' is not one of negative, neutral, positive; did you "
        "mean `positive`?",
        "a.jsonl, row 7: the label 3 is a number, but other rows have names, such as 'neutral'; "
        "the labels are negative, neutral, positive: write its name",
        "a.jsonl, row 9: the label 'spam' is not one of negative, neutral, positive; correct the "
        "row, or add the label to "
        "task.labels",
    ]


def test_rows_of_one_kind_are_capped_and_counted(tmp_path: Path) -> None:
    problems = found(tmp_path, "text,label\n" + " ,neutral\n" * 12 + "a,x\n" * 6)
    assert len(problems) == 5 + 1 + 5 + 1
    assert problems[5] == "train.csv: and 7 more rows with an empty text"
    assert problems[11] == "train.csv: and 1 more row with a label outside the list"


def test_missing_column_names_the_existing_and_the_nearest(tmp_path: Path) -> None:
    assert found(tmp_path, "Texts,label\na,neutral\n") == [
        "train.csv: no column `text`; did you mean `Texts`? The columns are `Texts`, `label`. Name "
        "the right one in the recipe: "
        "text_field, label_field or group_field under data"
    ]
    assert found(tmp_path, "text,lable\na,neutral\n") == []
    assert (
        "no column `label`; did you mean `lable`?"
        in found(tmp_path, "text,lable\na,x\n", labels_required=True)[0]
    )
    assert "seems to be separated by semicolons" in found(tmp_path, "text;label\na;x\n")[0]
    assert (
        "the column `text` is there 2 times" in found(tmp_path, "text,text,label\na,b,neutral\n")[0]
    )


def test_ragged_rows(tmp_path: Path) -> None:
    table, problems = read(write(tmp_path, "text,label\na, b,neutral\n\nfine,neutral\nc\n"))
    assert [(one.text, one.row) for one in table.examples] == [("fine", 2)]
    assert problems == [
        "train.csv, row 1: line 2 has 3 fields, the header has 2 (text, label); put text that "
        "holds the separator in quotes",
        "train.csv, row 3: line 5 has 1 fields, the header has 2 (text, label); fill in the rest",
    ]


def test_a_quote_that_never_closes_does_not_swallow_the_file(tmp_path: Path) -> None:
    problems = found(tmp_path, 'text,label\n"a,neutral\nb,neutral\n')
    assert len(problems) == 1
    assert (
        "cannot be read (unexpected end of data); a field that starts with a quote must end with "
        "one" in problems[0]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"text,label\ncaf\xe9,neutral\nok,neutral\n\xff,x\n",
            r"train.csv, line 2: byte 14 (0xe9) is not UTF-8 (1 more lines are broken too); save "
            r"the file as UTF-8, for instance "
            "if it is Windows-1252: iconv -f WINDOWS-1252 -t UTF-8 train.csv > utf8.csv",
        ),
        (b"\xef\xbb\xbftext\n\xe9\n", "train.csv, line 2: byte 8 (0xe9) is not UTF-8; save"),
        (
            "text,label\n".encode("utf-16"),
            "this is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 train.csv",
        ),
        (b"", "train.csv: the file is empty"),
        (b" \n\n", "train.csv: the file is empty"),
        (b"text,label\n", "train.csv: the file has no rows"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    problems = found(tmp_path, content)
    assert len(problems) == 1
    assert message in problems[0]


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    write(tmp_path, "text\na\n", "trains.csv")
    (tmp_path / "folder.csv").mkdir()
    for name, message in {
        "train.csv": f"train.csv: no such file: {tmp_path}/train.csv; did you mean trains.csv?",
        "other.jsonl": "correct the path; relative paths start at the recipe's folder",
        "folder.csv": "is a folder; expected one .csv file",
        "a.xlsx": "ends in .xlsx; expected .csv, .tsv, .jsonl, .parquet: convert the file",
    }.items():
        with pytest.raises(DataError) as caught:
            read_examples(tmp_path / name)
        assert message in str(caught.value)


def test_json_list_instead_of_lines(tmp_path: Path) -> None:
    problems = found(tmp_path, '[\n {"text": "a"}\n]\n', "a.jsonl")
    assert len(problems) == 1
    assert "jq -c '.[]' a.jsonl" in problems[0]


def test_broken_parquet(tmp_path: Path) -> None:
    assert "this is not a readable parquet file" in found(tmp_path, b"PAR1 nothing", "a.parquet")[0]
    column = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    )
    pq.write_table(pa.table({"text": column}), tmp_path / "b.parquet")
    table, problems = read(tmp_path / "b.parquet")
    assert [one.text for one in table.examples] == ["a"]
    assert "b.parquet, row 2: `text` is b'\\xff' (bytes); expected text" in problems[0]


def test_parquet_reads_only_what_is_needed(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"vector": [[1.0]], "text": ["a"], "label": ["neutral"]}), tmp_path / "a.parquet"
    )
    assert read(tmp_path / "a.parquet")[0].examples[0].label == 1
    assert (
        "The columns are `vector`, `text`, `label`"
        in read(tmp_path / "a.parquet", text_field="x")[1][0]
    )
