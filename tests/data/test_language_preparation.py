"""All documents of a run: parts that share nothing, warnings, facts, and every reason against them
at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tutelage import data as data_room
from tutelage.data import PreparedDocuments, prepare_documents, split_documents
from tutelage.errors import RecipeError
from tutelage.types import Document


def write(folder: Path, texts: Sequence[str], name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    return path


def many(count: int, prefix: str = "the cat") -> list[str]:
    return [f"{prefix} {number}" for number in range(count)]


def ids(documents: Sequence[Document]) -> set[bytes]:
    return {document.example_id for document in documents}


def warnings(prepared: PreparedDocuments) -> list[str]:
    return [str(warning) for warning in prepared.warnings]


def errors(*args: Any, **settings: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        prepare_documents(*args, **settings)
    return [str(problem) for problem in caught.value.problems if problem.severity == "error"]


def test_files_for_every_part(tokenizer: Any, tmp_path: Path) -> None:
    train, test = write(tmp_path, many(10)), write(tmp_path, many(40, "a dog"), "test.jsonl")
    prepared = prepare_documents(
        train, tokenizer, test=test, validation=write(tmp_path, many(5, "a bird"), "valid.jsonl")
    )
    assert [len(part) for part in (prepared.train, prepared.validation, prepared.test)] == [
        10,
        5,
        40,
    ]
    assert prepared.warnings == ()
    tokens = sum(len(document.token_ids) for document in prepared.train)
    assert prepared.facts["train"] == {
        "file": "train.jsonl",
        "rows": 10,
        "documents": 10,
        "long_rows": 0,
        "tokens": tokens,
        "trained_tokens": tokens - 10,
        "bytes": sum(map(len, many(10))),
    }
    assert list(prepared.facts) == ["train", "validation", "test"]


def test_shares_are_of_the_whole_file_disjoint_and_seeded(tokenizer: Any, tmp_path: Path) -> None:
    train = write(tmp_path, many(200))
    prepared = prepare_documents(train, tokenizer, test=0.3, validation=0.1)
    parts = [prepared.train, prepared.validation, prepared.test]
    assert [len(part) for part in parts] == [120, 20, 60]
    assert len(set.union(*map(ids, parts))) == 200
    assert prepared.facts["test"]["file"] == "train.jsonl (test share 0.3)"
    assert prepared.facts["test"]["long_rows"] is None
    again = prepare_documents(write(tmp_path, many(200)[::-1]), tokenizer, test=0.3, validation=0.1)
    assert ids(again.test) == ids(prepared.test)
    assert ids(again.validation) == ids(prepared.validation)
    other = prepare_documents(train, tokenizer, test=0.3, validation=0.1, seed=1)
    assert ids(other.test) != ids(prepared.test)


def test_pieces_of_one_row_stay_on_one_side(tokenizer: Any, tmp_path: Path) -> None:
    train = write(tmp_path, [" ".join(f"{n} cat {word}" for word in range(20)) for n in range(20)])
    prepared = prepare_documents(
        train, tokenizer, test=0.3, validation=0.2, sequence_length=32, long_documents="split"
    )
    rows = [
        {document.row for document in part}
        for part in (prepared.train, prepared.validation, prepared.test)
    ]
    assert [len(part) for part in rows] == [10, 4, 6]
    assert len(set.union(*rows)) == 20
    assert len(prepared.train) > 30
    assert prepared.facts["train"]["long_rows"] == 20


def test_copies_in_the_training_file_are_kept_once(tokenizer: Any, tmp_path: Path) -> None:
    train = write(tmp_path, [*many(40), "the cat 3", "the cat 5"])
    prepared = prepare_documents(train, tokenizer, test=0.5, validation=0.1, seed=3)
    assert len(prepared.train) + len(prepared.validation) + len(prepared.test) == 40
    assert warnings(prepared) == [
        "train.jsonl: 2 documents are there before, for instance row 41 (first in row 4); each is "
        "kept once",
        "train.jsonl (test share 0.5): intervals over 20 test documents say little; more rows say "
        "more",
    ]


def test_leaks_are_told(tokenizer: Any, tmp_path: Path) -> None:
    train = write(tmp_path, many(10))
    test = write(tmp_path, [*many(40, "a dog"), "the cat 3", "the cat 4"], "test.jsonl")
    validation = write(tmp_path, ["a dog 7", "a bird"], "valid.jsonl")
    prepared = prepare_documents(train, tokenizer, test=test, validation=validation)
    assert warnings(prepared) == [
        "test.jsonl: 2 test documents are also in train.jsonl, for instance row 41 (there row 4); "
        "the test flatters "
        "the student: remove them from one side",
        "test.jsonl: 1 test document is also in valid.jsonl, for instance row 8 (there row 1); the "
        "test flatters the "
        "student: remove them from one side",
    ]


def test_every_problem_of_every_file_at_once(tokenizer: Any, tmp_path: Path) -> None:
    train = write(tmp_path, ["the cat " * 100, "", "fine"])
    test = write(tmp_path, ["", "fine too"], "test.jsonl")
    assert errors(
        train, tokenizer, test=test, validation=tmp_path / "absent.jsonl", sequence_length=64
    ) == [
        "train.jsonl: 1 of 2 documents has more than 64 tokens, the longest 203 (row 1); set "
        "task.long_documents to "
        "split or truncate, or raise task.sequence_length",
        "train.jsonl, row 2: `text` is empty; delete the row or fill it in",
        "test.jsonl, row 1: `text` is empty; delete the row or fill it in",
        f"absent.jsonl: no such file: {tmp_path}/absent.jsonl; correct the path; relative paths "
        "start at the recipe's "
        "folder",
    ]


def test_too_few_rows_for_a_share(tokenizer: Any, tmp_path: Path) -> None:
    assert errors(write(tmp_path, ["the cat"]), tokenizer, test=0.1) == [
        "train.jsonl (test share 0.1): too few rows: 1 cannot spare 0.1 away; add rows, or name a "
        "file instead of the "
        "share",
        "train.jsonl (validation share 0.05): too few rows: 1 cannot spare 0.0556 away; add rows, "
        "or name a file "
        "instead of the share",
    ]
    assert (
        "test and validation together take all rows"
        in errors(write(tmp_path, many(40)), tokenizer, test=0.5, validation=0.5)[0]
    )


def test_a_split_gives_each_side_something(tokenizer: Any, tmp_path: Path) -> None:
    prepared = prepare_documents(write(tmp_path, many(40)), tokenizer, test=0.25, validation=0.25)
    documents = [*prepared.train, *prepared.validation, *prepared.test]
    for share, count in ((0.001, 1), (0.5, 20), (0.999, 39)):
        kept, held = split_documents(documents, share)
        assert (len(kept), len(held)) == (40 - count, count)
        assert sorted([*kept, *held]) == list(range(40))
    with pytest.raises(ValueError, match="the share is 1; expected a number above 0 and below 1"):
        split_documents(documents, 1)


def test_documents_without_a_row_are_split_each_for_itself(tokenizer: Any, tmp_path: Path) -> None:
    train = prepare_documents(write(tmp_path, many(40)), tokenizer, test=0.1).train
    bare = [Document(one.token_ids, one.trained) for one in train]
    kept, held = split_documents([*bare, *bare], 0.5)
    assert len(held) == 2 * round(len(bare) / 2)
    assert ids([[*bare, *bare][place] for place in kept]).isdisjoint(
        ids([[*bare, *bare][place] for place in held])
    )


def test_names_are_found_when_they_are_asked_for() -> None:
    for name in data_room.__all__:
        assert getattr(data_room, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'read_document'"):
        _ = data_room.read_document
