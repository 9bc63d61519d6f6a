"""Files as documents: every form, every way a row or a file can be wrong, and long ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.tiny_tokenizer import make_tokenizer

from tutelage.data import Columns, read_document_table, read_documents
from tutelage.errors import DataError
from tutelage.types import Document

TURNS = [
    {"role": "user", "content": "the cat?"},
    {"role": "assistant", "content": "sat on the mat"},
]


def write(folder: Path, rows: list[dict[str, Any]], name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def decoded(tokenizer: Any, document: Document) -> tuple[str, str]:
    """The whole document and what of it trains."""
    whole, learned = document.token_ids, document.token_ids[document.trained]
    return tokenizer.decode(whole.tolist()), tokenizer.decode(learned.tolist())


def found(path: Path, tokenizer: Any, columns: Columns, **settings: Any) -> list[str]:
    _, problems = read_document_table(
        path, tokenizer, columns, **{"sequence_length": 64, **settings}
    )
    return [f"{problem.severity}: {problem}" for problem in problems]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_plain_text_of_every_format(suffix: str, tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / f"train{suffix}"
    texts = ["the cat sat", "naïve café"]
    match suffix:
        case ".jsonl":
            write(tmp_path, [{"text": text} for text in texts])
        case ".parquet":
            pq.write_table(pa.table({"text": texts}), path)
        case _:
            path.write_text("\n".join(["text", *texts]), encoding="utf-8")
    documents = read_documents(path, tokenizer, sequence_length=64)
    assert [decoded(tokenizer, document) for document in documents] == [
        (f"<|im_start|>{text}<|im_end|>", f"{text}<|im_end|>") for text in texts
    ]
    assert [(one.source, one.row, one.num_bytes) for one in documents] == [
        (path.name, 1, 11),
        (path.name, 2, 12),
    ]
    assert documents[0].token_ids.dtype == np.int32


def test_prompts_with_responses_are_conversations(tokenizer: Any, tmp_path: Path) -> None:
    path = write(tmp_path, [{"q": "the cat?", "a": "sat on the mat"}])
    (pair,) = read_documents(
        path, tokenizer, prompt_field="q", response_field="a", sequence_length=64
    )
    (chat,) = read_documents(
        write(tmp_path, [{"m": TURNS}], "chat.jsonl"),
        tokenizer,
        messages_field="m",
        sequence_length=64,
    )
    assert pair.example_id == chat.example_id
    assert decoded(tokenizer, pair)[1] == "sat on the mat<|im_end|>"
    assert pair.num_bytes == len("sat on the mat")


def test_without_a_template_the_response_follows_the_prompt(
    base_tokenizer: Any, tmp_path: Path
) -> None:
    path = write(tmp_path, [{"q": "the cat:", "a": " sat"}])
    fields = {"prompt_field": "q", "response_field": "a", "sequence_length": 64}
    (document,) = read_documents(path, base_tokenizer, **fields)
    assert decoded(base_tokenizer, document) == (
        "<|im_start|>the cat: sat<|im_end|>",
        " sat<|im_end|>",
    )
    assert document.num_bytes == 4
    (whole,) = read_documents(path, base_tokenizer, **fields, train_on="all")
    assert decoded(base_tokenizer, whole)[1] == "the cat: sat<|im_end|>"


def test_everything_of_a_conversation_can_train(tokenizer: Any, tmp_path: Path) -> None:
    path = write(tmp_path, [{"m": TURNS}, {"m": TURNS[:1]}])
    documents = read_documents(
        path, tokenizer, messages_field="m", sequence_length=64, train_on="all"
    )
    assert [document.positions for document in documents] == [
        len(one.token_ids) - 1 for one in documents
    ]


def test_messages_in_parquet_keep_only_their_own_keys(tokenizer: Any, tmp_path: Path) -> None:
    call = [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}]
    plain = [{"role": "user", "content": "how?"}, {"role": "assistant", "content": "so"}]
    calling = [{"role": "user", "content": "how?"}, {"role": "assistant", "tool_calls": call}]
    rows = [{"messages": plain}, {"messages": calling}]
    path = tmp_path / "chat.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    fields = {"messages_field": "messages", "sequence_length": 128}
    expected = read_documents(write(tmp_path, rows), tokenizer, **fields)
    assert [one.example_id for one in read_documents(path, tokenizer, **fields)] == [
        one.example_id for one in expected
    ]
    assert "null" not in decoded(tokenizer, expected[1])[0]


def test_broken_bytes_in_parquet_are_found_by_row(tokenizer: Any, tmp_path: Path) -> None:
    words = pa.array([b"fine", b"caf\xe9"], pa.binary()).cast(pa.string(), safe=False)
    roles = pa.array([["user"], ["user"]]).flatten()
    messages = pa.ListArray.from_arrays(
        [0, 1, 2], pa.StructArray.from_arrays([roles, words], ["role", "content"])
    )
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": words, "m": messages}), path)
    assert found(path, tokenizer, Columns(text="text")) == [
        r"error: train.parquet, row 2: `text` is b'caf\xe9' (bytes); expected text: write it as a "
        r"string"
    ]
    assert found(path, tokenizer, Columns(messages="m"), train_on="all") == [
        r"error: train.parquet, row 2: `m` is b'caf\xe9' (bytes); expected a list of {role, "
        r"content}"
    ]


def test_every_problem_at_once(tokenizer: Any, tmp_path: Path) -> None:
    rows = [
        {"text": "fine"},
        {"text": ""},
        {"text": None},
        {"other": "x"},
        {"text": 3},
        {"text": "\ud800"},
        {"text": "the cat " * 40},
    ]
    path = write(tmp_path, rows)
    path.write_text(path.read_text() + "\nno json", encoding="utf-8")
    assert found(path, tokenizer, Columns(text="text")) == [
        "error: train.jsonl: 1 of 2 documents has more than 64 tokens, the longest 83 (row 7); set "
        "task.long_documents to split or truncate, or raise task.sequence_length",
        "error: train.jsonl, row 8: line 8 is not JSON (Expecting value, column 1); write one "
        "object a line",
        "error: train.jsonl, row 2: `text` is empty; delete the row or fill it in",
        "error: train.jsonl, row 3: `text` is missing; delete the row or fill it in",
        "error: train.jsonl, row 4: `text` is missing; delete the row or fill it in",
        "error: train.jsonl, row 5: `text` is 3 (int); expected text: write it as a string",
        "error: train.jsonl, row 6: `text` holds half of a character (a lone surrogate): a text "
        "was cut inside it; write it again",
    ]


def test_both_cells_of_a_pair_are_heard(tokenizer: Any, tmp_path: Path) -> None:
    path = write(tmp_path, [{"q": "", "a": 3}, {"q": "x", "a": "y"}])
    assert found(path, tokenizer, Columns(prompt="q", response="a")) == [
        "error: train.jsonl, row 1: `q` is empty; delete the row or fill it in",
        "error: train.jsonl, row 1: `a` is 3 (int); expected text: write it as a string",
    ]


def test_files_that_cannot_be_read(tokenizer: Any, tmp_path: Path) -> None:
    path = write(tmp_path, [{"txet": "a"}])
    assert found(path, tokenizer, Columns(text="text")) == [
        "error: train.jsonl: no column `text`; did you mean `txet`? The columns are `txet`. Name "
        "the right one in the "
        "recipe: text_field, prompt_field, response_field or messages_field under data"
    ]
    assert "no such file" in found(tmp_path / "absent.csv", tokenizer, Columns(text="text"))[0]
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "caf\xe9"}\n')
    assert "is not UTF-8" in found(tmp_path / "latin.jsonl", tokenizer, Columns(text="text"))[0]
    (tmp_path / "chat.csv").write_text("m\nx\n")
    assert found(tmp_path / "chat.csv", tokenizer, Columns(messages="m")) == [
        "error: chat.csv: `m` cannot be a list of messages in a .csv file; expected jsonl or "
        "parquet"
    ]


def test_conversations_that_cannot_be_used(
    tokenizer: Any, base_tokenizer: Any, tmp_path: Path
) -> None:
    path = write(tmp_path, [{"m": TURNS}, {"m": TURNS[:1]}, {"m": TURNS[1:]}, {"m": "hi"}])
    assert found(path, tokenizer, Columns(messages="m")) == [
        "error: train.jsonl, row 2: no message is of the assistant, so there is nothing to learn; "
        "add its answer, or set data.train_on: all",
        "error: train.jsonl, row 3: the assistant speaks first; put what it answers before it, as "
        "a message of the user",
        "error: train.jsonl, row 4: `m` is 'hi' (str); expected a list of {role, content}",
    ]
    assert (
        "the tokenizer has no chat template"
        in found(path, base_tokenizer, Columns(messages="m"))[0]
    )


def test_long_documents_are_refused_in_one_problem(tokenizer: Any, tmp_path: Path) -> None:
    path = write(tmp_path, [{"text": "the cat " * (4 + 2 * number)} for number in range(12)])
    assert found(path, tokenizer, Columns(text="text"), sequence_length=16) == [
        "error: train.jsonl: 10 of 12 documents have more than 16 tokens, the longest 55 (rows 3, "
        "4, 5, 6, 7 and 5 "
        "more); set task.long_documents to split or truncate, or raise task.sequence_length"
    ]
    with pytest.raises(DataError, match="10 of 12 documents have more than 16 tokens"):
        read_documents(path, tokenizer, sequence_length=16)


def test_long_documents_are_split_or_truncated(tokenizer: Any, tmp_path: Path) -> None:
    text = "the cat sat on the mat. " * 10
    path = write(tmp_path, [{"text": text}, {"text": "the dog"}])
    (whole, short) = read_documents(path, tokenizer, sequence_length=512)
    table, problems = read_document_table(
        path, tokenizer, Columns(text="text"), sequence_length=16, long_documents="split"
    )
    assert problems == []
    assert (table.num_rows, table.num_long) == (2, 1)
    *pieces, last = table.documents
    assert last.example_id == short.example_id
    assert {piece.row for piece in pieces} == {1}
    assert (
        np.concatenate([piece.token_ids for piece in pieces]).tolist() == whole.token_ids.tolist()
    )
    assert [piece.positions for piece in pieces] == [len(piece.token_ids) - 1 for piece in pieces]
    unseen = sum(len(tokenizer.decode([int(piece.token_ids[0])])) for piece in pieces[1:])
    assert sum(piece.num_bytes for piece in pieces) == len(text) - unseen
    (begin, _) = read_documents(path, tokenizer, sequence_length=16, long_documents="truncate")
    assert begin.token_ids.tolist() == whole.token_ids[:16].tolist()


def test_rows_whose_response_does_not_fit_are_left_out_and_told(
    tokenizer: Any, tmp_path: Path
) -> None:
    rows = [{"q": "the cat " * 20, "a": "sat"}, {"q": "the", "a": "sat"}]
    path = write(tmp_path, rows)
    columns = Columns(prompt="q", response="a")
    settings = {"sequence_length": 24, "long_documents": "truncate"}
    assert found(path, tokenizer, columns, **settings) == [
        "warning: train.jsonl: nothing of row 1 trains within 24 tokens; left out"
    ]
    table, _ = read_document_table(path, tokenizer, columns, **settings)
    assert [document.row for document in table.documents] == [2]
    assert found(write(tmp_path, rows[:1]), tokenizer, columns, **settings)[1:] == [
        "error: train.jsonl: no row is left that has something to learn; add rows"
    ]
    # Split, the piece with the response still trains.
    assert found(path, tokenizer, columns, sequence_length=24, long_documents="split") == []


def test_template_options_reach_the_template(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ mood }}" + tokenizer.chat_template
    path = write(tmp_path, [{"m": TURNS}])
    (document,) = read_documents(
        path, tokenizer, messages_field="m", sequence_length=64, template_options={"mood": "calm"}
    )
    assert decoded(tokenizer, document)[0].startswith("calm<|im_start|>")


def test_a_template_that_writes_the_date_is_warned_about(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%Y') }}" + tokenizer.chat_template
    path = write(tmp_path, [{"m": TURNS, "text": "x"}])
    (warning,) = found(path, tokenizer, Columns(messages="m"))
    assert warning.startswith(
        "warning: train.jsonl: the chat template writes today's date into every document"
    )
    assert found(path, tokenizer, Columns(text="text")) == []


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"text": "t", "messages": "m"},
        {"prompt": "q"},
        {"response": "a"},
        {"text": "t", "response": "a"},
    ],
)
def test_columns_name_one_way_to_read_a_row(columns: dict[str, str]) -> None:
    with pytest.raises(
        ValueError,
        match="expected text_field, or prompt_field with response_field, or messages_field",
    ):
        Columns(**columns)
