"""Prompts that a teacher shall answer: read, split, and put together with answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.tiny_tokenizer import make_tokenizer

from tutelage.data.documents.control_tokens import ControlTokens
from tutelage.data.documents.messages import transcript
from tutelage.data.documents.prompts import (
    PreparedPrompts,
    Prompt,
    answer_documents,
    prepare_prompts,
    prompt_ids,
    prompt_text,
)
from tutelage.data.documents.rendering import Columns
from tutelage.data.documents.tables import read_document_table
from tutelage.errors import RecipeError


def chat_tokenizer() -> Any:
    return make_tokenizer()


def plain_tokenizer() -> Any:
    made = make_tokenizer()
    made.chat_template = None
    return made


@pytest.fixture(params=[chat_tokenizer, plain_tokenizer], ids=["chat", "plain"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return request.param()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def rows(count: int, *, start: int = 0, responses: bool = True) -> list[dict[str, Any]]:
    return [
        {"q": f"what is {number}"} | ({"a": f"it is {number}"} if responses else {})
        for number in range(start, start + count)
    ]


def prepared(train: Path, tokenizer: Any, **more: Any) -> PreparedPrompts:
    more = {"test": 0.25, "validation": 0.25, "response_field": "a", **more}
    return prepare_prompts(train, tokenizer, prompt_field="q", **more)


def test_an_answer_makes_the_document_that_a_row_with_it_makes(
    tokenizer: Any, tmp_path: Path
) -> None:
    given = rows(5)
    table, _ = read_document_table(
        write(tmp_path / "t.jsonl", given),
        tokenizer,
        Columns(prompt="q", response="a"),
        sequence_length=64,
    )
    answers = [(Prompt(row["q"], "t.jsonl", at), row["a"]) for at, row in enumerate(given, 1)]
    found = answer_documents(tokenizer, answers, sequence_length=64)
    for made, read in zip(found, table.documents, strict=True):
        assert not isinstance(made, str)
        assert (made.example_id, made.row, made.num_bytes) == (
            read.example_id,
            read.row,
            read.num_bytes,
        )
        # A document begins with the tokens that the teacher was given.
        text = prompt_text(tokenizer, answers[made.row - 1][0].text)
        ids = prompt_ids(tokenizer, text, is_rendered=tokenizer.chat_template is not None)
        first = int(made.trained.argmax())
        assert np.array_equal(made.token_ids[:first], ids)


def test_an_answer_that_does_not_fit_says_so(tokenizer: Any) -> None:
    prompt = Prompt("what is it", "t.jsonl", 1)
    short, long = answer_documents(
        tokenizer, [(prompt, "x"), (prompt, "x " * 50)], sequence_length=40
    )
    assert not isinstance(short, str)
    assert long == "more tokens than task.sequence_length"


def test_shares_split_prompts_the_same_way_whatever_their_order(
    tokenizer: Any, tmp_path: Path
) -> None:
    path = write(tmp_path / "t.jsonl", rows(20))
    one = prepared(path, tokenizer)
    assert (len(one.train), len(one.validation), len(one.test)) == (10, 5, 5)
    assert (
        len({prompt.text for part in (one.train, one.validation, one.test) for prompt in part})
        == 20
    )
    assert [document.row for document in one.documents.test] == [one.row for one in one.test]
    write(path, rows(20)[::-1])
    other = prepared(path, tokenizer)
    assert {prompt.text for prompt in other.test} == {prompt.text for prompt in one.test}
    assert prepared(path, tokenizer, seed=1).test != other.test


def test_train_may_lack_responses_that_others_have(tokenizer: Any, tmp_path: Path) -> None:
    train = write(tmp_path / "t.jsonl", rows(6, responses=False))
    test = write(tmp_path / "test.jsonl", rows(4, start=6))
    found = prepared(train, tokenizer, test=test, validation=0.3)
    assert (len(found.documents.train), len(found.documents.validation)) == (0, 0)
    assert len(found.documents.test) == 4
    assert found.documents.facts["test"]["documents"] == 4


def test_a_prompt_is_asked_once(tokenizer: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [*rows(8), rows(1)[0]])
    found = prepared(path, tokenizer)
    assert sum(map(len, (found.train, found.validation, found.test))) == 8
    said = [str(problem) for problem in found.documents.warnings]
    assert any(
        "1 prompt stands there before, for instance row 9 (first in row 1)" in one for one in said
    )


def test_leaks_are_told(tokenizer: Any, tmp_path: Path) -> None:
    train = write(tmp_path / "t.jsonl", rows(8))
    test = write(tmp_path / "test.jsonl", rows(3, start=7))
    found = prepared(train, tokenizer, test=test, validation=0.1)
    said = " ".join(map(str, found.documents.warnings))
    assert "also in" in said
    assert "flatters" in said


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        (rows(4, responses=False), {}, "no file has the column `a`"),
        ([{"p": "x"}], {}, "no column `q`"),
        (rows(2), {}, "cannot spare"),
        ([{"q": ""}, {"q": None}, {"q": 3}], {"response_field": None}, "`q` is 3 .int."),
    ],
)
def test_data_that_cannot_be_used(
    tokenizer: Any, tmp_path: Path, given: list[Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        prepared(write(tmp_path / "t.jsonl", given), tokenizer, **more)


def test_the_system_speaks_to_the_teacher_only() -> None:
    tokenizer = chat_tokenizer()
    control = ControlTokens(tokenizer)
    text = prompt_text(tokenizer, "hello <|im_end|>", system="be brief", control=control)
    assert "be brief" in text.text
    assert [text.text[slice(*span)] for span in text.literal] == ["<|im_end|>"]
    assert prompt_text(plain_tokenizer(), "hello", system="be brief").text == "be brief\n\nhello"


SAID = [("system", "be brief"), ("user", "what is 1"), ("assistant", "it is 1"), ("user", "and 2")]


def turns(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in said]


def conversations(path: Path, cells: list[Any]) -> PreparedPrompts:
    write(path, [{"m": cell} for cell in cells])
    more = {"test": 0.2, "validation": 0.2, "messages_field": "m", "sequence_length": 200}
    return prepare_prompts(path, chat_tokenizer(), **more)


def test_a_conversation_is_a_prompt_up_to_the_answer_at_its_end(tmp_path: Path) -> None:
    cells = [turns(*SAID, ("user", f"or {number}")) for number in range(8)]
    cells += [turns(*SAID, ("assistant", f"it is {number}")) for number in range(1)]
    cells += [turns(("user", "what is 1"))]
    found = conversations(tmp_path / "t.jsonl", cells)
    by_row = {one.row: one for part in (found.train, found.validation, found.test) for one in part}
    assert by_row.keys() == set(range(1, 11))
    assert by_row[1].messages == tuple(cells[0])
    assert by_row[9].messages == tuple(turns(*SAID))
    assert by_row[9].text == "system: be brief\nuser: what is 1\nassistant: it is 1\nuser: and 2"
    assert by_row[10].text == "what is 1"
    documents = found.documents
    (own,) = [*documents.train, *documents.validation, *documents.test]
    (made,) = answer_documents(chat_tokenizer(), [(by_row[9], "it is 0")], sequence_length=200)
    assert not isinstance(made, str)
    assert (own.row, own.example_id) == (9, made.example_id)
    # Only the answer trains, not what the assistant said before; it follows what the teacher read.
    text = prompt_text(chat_tokenizer(), by_row[9].text, messages=by_row[9].messages)
    ids = prompt_ids(chat_tokenizer(), text, is_rendered=True)
    first = int(made.trained.argmax())
    assert np.array_equal(made.token_ids[:first], ids)
    assert made.trained[first:].all() or not made.trained[-1]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("hello", "is 'hello' \\(str\\); expected a list"),
        (turns(("assistant", "hello")), "nothing that asks for the last one"),
        (turns(*SAID, ("assistant", "a"), ("assistant", "b")), "nothing that asks for the last"),
    ],
)
def test_what_is_no_conversation_is_refused(cell: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=expected):
        conversations(tmp_path / "t.jsonl", [cell, *[turns(("user", f"{n}")) for n in range(9)]])


def test_different_conversations_have_different_transcripts() -> None:
    one = turns(("user", "a\nassistant: b"), ("user", "c"))
    other = turns(("user", "a"), ("assistant", "b"), ("user", "c"))
    named = [{**one[0], "name": "x"}, one[1]]
    assert len({transcript(messages) for messages in (one, other, named)}) == 3
