"""All data of a run: parts, warnings, facts, and every reason against it at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tutelage.data import Prepared, check_parts, prepare
from tutelage.errors import RecipeError
from tutelage.types import Example

LABELS = ("bad", "good")


def write(
    folder: Path, rows: list[tuple[str, ...]], name: str = "train.csv", header: str = "text,label"
) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


def many(count: int, prefix: str = "t") -> list[tuple[str, ...]]:
    return [(f"{prefix}{n}", LABELS[n % 2]) for n in range(count)]


def warnings(prepared: Prepared) -> list[str]:
    return [str(warning) for warning in prepared.warnings]


def errors(*args: Any, **settings: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        prepare(*args, **settings)
    return [str(problem) for problem in caught.value.problems if problem.severity == "error"]


def test_files_for_every_part(tmp_path: Path) -> None:
    train = write(tmp_path, [*many(40), ("bare", "")])
    test = write(tmp_path, many(200, "x"), "test.csv")
    validation = write(tmp_path, many(20, "v"), "valid.csv")
    more = write(tmp_path, [("u1",), ("u2",), ("u1",), ("t3",), ("x5",)], "more.csv", header="text")
    prepared = prepare(train, LABELS, test=test, validation=validation, unlabeled=[more])
    assert [len(part) for part in (prepared.train, prepared.validation, prepared.test)] == [
        41,
        20,
        200,
    ]
    assert [(one.text, one.row) for one in prepared.unlabeled] == [("u1", 1), ("u2", 2)]
    assert prepared.train_groups is None
    assert prepared.facts == {
        "train": {
            "file": "train.csv",
            "rows": 41,
            "labelled": 40,
            "label_counts": {"bad": 20, "good": 20},
        },
        "validation": {
            "file": "valid.csv",
            "rows": 20,
            "labelled": 20,
            "label_counts": {"bad": 10, "good": 10},
        },
        "test": {
            "file": "test.csv",
            "rows": 200,
            "labelled": 200,
            "label_counts": {"bad": 100, "good": 100},
        },
        "unlabeled": {
            "file": "more.csv",
            "rows": 2,
            "labelled": 0,
            "label_counts": {"bad": 0, "good": 0},
        },
    }
    assert warnings(prepared) == [
        "more.csv: 1 unlabeled row is also in validation or test, for instance 'x5' (more.csv, row "
        "5); left out, so that the "
        "test stays unseen"
    ]


def test_shares_are_of_the_whole_file_and_disjoint(tmp_path: Path) -> None:
    train = write(tmp_path, many(1000))
    prepared = prepare(train, LABELS, test=0.3, validation=0.1, seed=0)
    assert [len(part) for part in (prepared.train, prepared.validation, prepared.test)] == [
        600,
        100,
        300,
    ]
    assert (
        len(
            {
                one.text
                for part in (prepared.train, prepared.validation, prepared.test)
                for one in part
            }
        )
        == 1000
    )
    assert prepared.warnings == ()
    with pytest.raises(RecipeError, match="test and validation together take all rows"):
        prepare(train, LABELS, test=0.5, validation=0.5)
    assert prepared.facts["test"]["file"] == "train.csv (test share 0.3)"
    other = prepare(train, LABELS, test=0.3, validation=0.1, seed=1)
    assert {one.text for one in other.test} != {one.text for one in prepared.test}


def test_groups_never_straddle(tmp_path: Path) -> None:
    train = write(
        tmp_path, [(*row, f"g{n // 5}") for n, row in enumerate(many(300))], header="text,label,g"
    )
    prepared = prepare(train, LABELS, test=0.3, validation=0.1, group_field="g")
    sides = [
        {int(one.text[1:]) // 5 for one in part}
        for part in (prepared.train, prepared.validation, prepared.test)
    ]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert prepared.train_groups == [f"g{int(one.text[1:]) // 5}" for one in prepared.train]


def test_warnings_with_count_and_example(tmp_path: Path) -> None:
    train = write(tmp_path, [*many(100), ("t0", "good"), ("t1", "bad"), ("t1", "bad")])
    test = write(
        tmp_path, [*many(98, "x"), ("t4", "bad"), ("t5", "good"), ("bare", "")], "test.csv"
    )
    prepared = prepare(train, LABELS, test=test, validation=test)
    assert warnings(prepared) == [
        "test.csv: 1 test row has no label and test needs one; left out",
        "test.csv: 1 validation row has no label and validation needs one; left out",
        "train.csv: 2 texts have more than one label, for instance 't0': bad in row 1, good in row "
        "101",
        "test.csv: 2 validation rows are also in train.csv, for instance 't4' (row 99, there row "
        "5); the validation flatters "
        "the student: remove them from one side",
        "test.csv: 2 test rows are also in train.csv, for instance 't4' (row 99, there row 5); the "
        "test flatters the student: "
        "remove them from one side",
        "test.csv: 100 test rows are also in test.csv, for instance 'x0' (row 1, there row 1); the "
        "test flatters the student: "
        "remove them from one side",
    ]
    assert len(prepared.test) == 100


def test_every_problem_of_every_file_at_once(tmp_path: Path) -> None:
    train = write(tmp_path, [*many(40), (" ", "bad"), ("a", "bda")])
    test = write(tmp_path, [*many(40, "x"), ("b", "godo")], "test.csv")
    more = write(tmp_path, [("",)], "more.csv", header='text,"other"')
    assert errors(train, LABELS, test=test, unlabeled=[more, tmp_path / "absent.csv"]) == [
        "train.csv, row 41: `text` is empty; delete the row or fill it in",
        "train.csv, row 42: the label 'bda' is not one of bad, good; did you mean `bad`?",
        "test.csv, row 41: the label 'godo' is not one of bad, good; did you mean `good`?",
        "more.csv: the file has no rows; expected at least one example",
        f"absent.csv: no such file: {tmp_path}/absent.csv; correct the path; relative paths start "
        f"at the recipe's folder",
    ]


def test_one_class_missing_from_train(tmp_path: Path) -> None:
    train = write(tmp_path, [(f"t{n}", "bad") for n in range(50)])
    test = write(tmp_path, many(100, "x"), "test.csv")
    assert errors(train, LABELS, test=test) == [
        "train.csv: no training row is labelled good (rows by label: bad 45, good 0); add rows of "
        "it, or remove it from task.labels"
    ]
    assert warnings(prepare(train, LABELS, test=test, labels_required=False))[0].startswith(
        "train.csv: no training row is labelled"
    )


def test_columns_and_labels_that_are_needed(tmp_path: Path) -> None:
    train = write(tmp_path, [("a",), ("b",)], header="text")
    test = write(tmp_path, [("x", ""), ("y", "")], "test.csv")
    assert "train.csv: no column `label`" in errors(train, LABELS, test=test)[0]
    assert errors(train, LABELS, test=test, labels_required=False) == [
        "test.csv: no row of the test has a label; the evaluation needs labelled rows"
    ]


def test_a_teacher_without_labels_needs_none_in_train(tmp_path: Path) -> None:
    train = write(tmp_path, [(f"t{n}",) for n in range(50)], header="text")
    test = write(tmp_path, many(100, "x"), "test.csv")
    prepared = prepare(train, LABELS, test=test, labels_required=False)
    assert (len(prepared.train), len(prepared.validation), prepared.warnings) == (45, 5, ())


def test_an_empty_test_and_too_few_rows(tmp_path: Path) -> None:
    test = write(tmp_path, [], "test.csv")
    assert errors(write(tmp_path, many(40)), LABELS, test=test) == [
        "test.csv: the file has no rows; expected at least one example"
    ]
    test = write(tmp_path, many(100, "x"), "test.csv")
    assert errors(write(tmp_path, [("a", "bad"), ("b", "good")]), LABELS, test=test)[0].startswith(
        "train.csv: no training row is labelled"
    )
    assert "too few rows: 3 labelled rows to train on for 2 classes; expected at least 4" in errors(
        write(tmp_path, many(3)), LABELS, test=test, validation=test
    )[0]  # fmt: skip
    assert (
        "too few rows: 1 with 1 separate labelled texts cannot spare"
        in errors(write(tmp_path, many(1)), LABELS, test=test)[0]
    )


def test_small_parts_are_warned_about(tmp_path: Path) -> None:
    train = write(tmp_path, many(12))
    test = write(tmp_path, [(f"x{n}", "bad") for n in range(25)], "test.csv")
    assert warnings(prepare(train, LABELS, test=test, validation=0.1)) == [
        "train.csv: fewer than 10 training rows of bad (5), good (5); it will hardly be learned",
        "test.csv: 25 test rows tell an accuracy to about 20 points; more rows tell it better",
        "test.csv: no test row is labelled good; nothing is learned about it",
    ]


def test_files_with_one_name_are_told_apart(tmp_path: Path) -> None:
    one = write(tmp_path / "a", [*many(40), (" ", "bad")], "data.csv")
    two = write(tmp_path / "b", many(40, "x"), "data.csv")
    assert errors(one, LABELS, test=two)[0].startswith(f"{one}, row 41: `text` is empty")


def test_validate_takes_plain_examples() -> None:
    train = [Example(f"t{n}", label=n % 2) for n in range(40)]
    assert (
        check_parts(train, [Example(f"x{n}", label=n % 2) for n in range(100)], labels=LABELS) == []
    )
    assert (
        str(check_parts([], train, labels=LABELS)[0])
        == "train: no row is left to train on; add rows"
    )
