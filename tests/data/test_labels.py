"""Labels of a file: names whatever their normal form, numbers that are names or indexes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data import Table, prepare, read_examples, read_table
from tutelage.errors import DataError

Form = Literal["NFC", "NFD"]
WORDS = ("bad", "fine", "good")


def read(folder: Path, values: list[Any], labels: tuple[str, ...]) -> tuple[Table, list[str]]:
    path = folder / "rows.jsonl"
    rows = [{"text": f"text {row}", "label": value} for row, value in enumerate(values)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    table, problems = read_table(path, labels=labels)
    return table, [f"{problem.severity}: {problem}" for problem in problems]


def indexes(table: Table) -> list[int | None]:
    return [example.label for example in table.examples]


def test_a_number_beside_labels_that_are_numbers_is_a_name(tmp_path: Path) -> None:
    table, problems = read(tmp_path, [1, 2, 3, "2", None], ("1", "2", "3"))
    assert (indexes(table), problems) == ([0, 1, 2, 1, None], [])
    _, problems = read(tmp_path, [0, 1], ("1", "2", "3"))
    assert problems == [
        "error: rows.jsonl, row 1: the label 0 is not one of 1, 2, 3, which are names, as labels "
        "that are numbers always are; correct the row, or add the label to task.labels"
    ]
    _, problems = read(tmp_path, [0], ("1", "unknown"))
    assert "the label 0 is not one of 1, unknown" in problems[0]


def test_numbers_are_the_names_that_they_equal(tmp_path: Path) -> None:
    table, problems = read(tmp_path, [1, 1.5, 2.0], ("1.0", "1.5", "2"))
    assert (indexes(table), problems) == ([0, 1, 2], [])
    table, problems = read(tmp_path, [-1, 1], ("-1", "+1"))
    assert (indexes(table), problems) == ([0, 1], [])
    # Where two labels are the same number, only their own spelling tells them apart.
    table, problems = read(tmp_path, [1], ("1", "01"))
    assert indexes(table) == [0]
    assert len(read(tmp_path, [1], ("1.0", "01"))[1]) == 1
    assert len(read(tmp_path, [float("inf"), 10**400 - 1, 1e300, 0.1], ("1", "2"))[1]) == 4


def test_whole_numbers_alone_are_indexes_and_the_person_is_told(tmp_path: Path) -> None:
    table, problems = read(tmp_path, [2, 0, None, 1.0], WORDS)
    assert indexes(table) == [2, 0, None, 1]
    assert problems == [
        "warning: rows.jsonl: `label` holds whole numbers alone, which are taken as indexes into "
        "task.labels: 0 is bad, 1 is fine, 2 is good; write the names if that is not meant"
    ]
    assert [one.label for one in read_examples(tmp_path / "rows.jsonl", labels=WORDS)] == [
        2,
        0,
        None,
        1,
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 3], "the label 3 is not an index from 0 to 2; the labels are bad, fine, good"),
        ([-1], "the label -1 is not an index from 0 to 2"),
        ([0, "good"], "the label 0 is a number, but other rows have names, such as 'good'"),
        ([0.5], "the label 0.5 is not an index"),
        ([True], "`label` is True (bool); expected the name of a label, or its index"),
        ([[0]], "`label` is [0] (list)"),
    ],
)
def test_numbers_that_are_no_labels(tmp_path: Path, values: list[Any], message: str) -> None:
    _, problems = read(tmp_path, values, WORDS)
    assert message in next(one for one in problems if one.startswith("error"))


def test_whole_numbers_that_a_table_made_floats_are_indexes(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"text": ["a", "b", "c"], "label": [0.0, float("nan"), None]}),
        tmp_path / "a.parquet",
    )
    table, problems = read_table(tmp_path / "a.parquet", labels=WORDS)
    assert (indexes(table), len(problems)) == ([0, None, None], 1)


def test_numbers_in_a_file_of_text_are_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,0\n", encoding="utf-8")
    with pytest.raises(DataError, match="the label '0' is not one of bad, fine, good"):
        read_examples(tmp_path / "a.csv", labels=WORDS)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(("of_recipe", "of_file"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_of_another_normal_form_are_the_same(
    tmp_path: Path, suffix: str, of_recipe: Form, of_file: Form
) -> None:
    column, name = (normalize(of_file, word) for word in ("libellé", "café"))
    path = tmp_path / f"rows{suffix}"
    match suffix:
        case ".jsonl":
            path.write_text(json.dumps({"text": "a", column: name}, ensure_ascii=False), "utf-8")
        case ".parquet":
            pq.write_table(pa.table({"text": ["a"], column: [name]}), path)
        case _:
            separator = "," if suffix == ".csv" else "\t"
            path.write_text(f"text{separator}{column}\na{separator}{name}\n", "utf-8")
    labels = [normalize(of_recipe, word) for word in ("thé", "café")]
    field = normalize(of_recipe, "libellé")
    assert read_examples(path, label_field=field, labels=labels)[0].label == 1


def test_names_found_in_a_file_are_one_whatever_their_normal_form(tmp_path: Path) -> None:
    forms: tuple[Form, Form] = ("NFC", "NFD")
    rows = [{"text": form, "label": normalize(form, "é")} for form in forms]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    table, _ = read_table(path)
    assert (table.labels, indexes(table)) == (("é",), [0, 0])


def test_a_huge_number_is_no_count_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": 3}\n{"text": "b", "label": 999999999999}\n')
    table, problems = read_table(path)
    assert len(table.labels) == 4
    assert "the label 999999999999 is not one of 0, 1, 2, 3" in str(problems[0])


def test_the_warning_about_indexes_reaches_whoever_prepares(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"text {row}", "label": row % 3} for row in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    prepared = prepare(path, WORDS, test=0.3, validation=0.1)
    assert "taken as indexes into task.labels: 0 is bad" in str(prepared.warnings[0])
