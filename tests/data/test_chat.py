"""Conversations: where the assistant speaks, and templates and rows that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.tiny_tokenizer import make_tokenizer

from tutelage.data import Columns, read_document_table, read_documents
from tutelage.data.documents.chat import render_chat, render_prompt
from tutelage.data.documents.messages import messages_problem, without_nulls
from tutelage.data.documents.tokenizing import Trainable, tokenize
from tutelage.errors import DataError

USER, ASSISTANT = "user", "assistant"


def say(*contents: str) -> list[dict[str, Any]]:
    return [
        {"role": (USER, ASSISTANT)[turn % 2], "content": content}
        for turn, content in enumerate(contents)
    ]


def trained_text(tokenizer: Any, messages: list[dict[str, Any]]) -> str:
    rendered = render_chat(tokenizer, messages)
    assert rendered.spans is not None
    return "|".join(rendered.text[start:end] for start, end in rendered.spans)


def test_the_assistant_and_the_end_of_its_turn_train(tokenizer: Any) -> None:
    assert (
        trained_text(tokenizer, say("a", "the cat", "b", "the dog"))
        == "the cat<|im_end|>|the dog<|im_end|>"
    )


contents = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12).filter(
    lambda text: text.strip()
)


@settings(max_examples=40, deadline=None)
@given(turns=st.lists(contents, min_size=2, max_size=5), system=st.booleans())
def test_the_same_tokens_train_as_with_generation_marks(
    tokenizer: Any, turns: list[str], system: bool
) -> None:
    messages = [{"role": "system", "content": "be good"}] * system + say(*turns)
    rendered = render_chat(tokenizer, messages)
    (tokens,) = tokenize(tokenizer, [Trainable(rendered.text, rendered.spans)])
    expected = tokenizer.apply_chat_template(
        messages, return_assistant_tokens_mask=True, return_dict=True
    )
    assert tokens.ids.tolist() == expected["input_ids"]
    assert tokens.trained.astype(int).tolist() == expected["assistant_masks"]


def test_tool_calls_and_tool_answers_go_through(tokenizer: Any) -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    messages = [
        {"role": "user", "content": "how is Rome?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]
    called, answered = trained_text(tokenizer, messages).split("|im_end|>|")
    assert '"name": "weather"' in called
    assert answered == "It is sunny.<|im_end|>"
    assert "tool\nsunny<|im_end|>" in render_chat(tokenizer, messages).text


def test_what_else_a_template_takes_reaches_it() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ mood }}: " + tokenizer.chat_template
    assert render_chat(tokenizer, say("a", "b"), options={"mood": "calm"}).text.startswith(
        "calm: <|im_start|>user"
    )


def test_a_template_with_the_date_renders_the_same_text_every_day() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% "
        "endif %}"
        "{{ date_string }}" + tokenizer.chat_template
    )
    assert render_chat(tokenizer, say("a", "b")).text.startswith("26 Jul 2024<|im_start|>")
    assert render_chat(tokenizer, say("a", "b"), options={"date_string": "1 May"}).text.startswith(
        "1 May<"
    )


def test_a_template_that_takes_thoughts_out_of_earlier_turns_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "(message.content or '')",
        "(message.content if loop.last else message.content.split('</think>')[-1])",
    )
    one = say("a", "<think>so</think>yes")
    assert trained_text(tokenizer, one) == "<think>so</think>yes<|im_end|>"
    with pytest.raises(
        DataError,
        match=r"up to message 2 in another way once it goes on \(.*<think>.*make a row of",
    ):
        render_chat(tokenizer, [*one, *say("b", "no")])
    assert render_chat(tokenizer, [*one, *say("b", "no")], find_turns=False).spans is None


def test_a_generation_prompt_that_is_no_beginning_of_the_turn_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "'<|im_start|>assistant\n' }}{% endif", "'<|im_start|>model\n' }}{% endif"
    )
    with pytest.raises(DataError, match=r"`?data\.train_on: all"):
        render_chat(tokenizer, say("a", "b"))


def test_what_a_template_refuses_is_told() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(
        DataError, match="the chat template refuses the conversation: roles must alternate"
    ):
        render_chat(tokenizer, say("a", "b"))


def test_an_assistant_that_speaks_first_is_refused(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="the assistant speaks first"):
        render_chat(tokenizer, [{"role": "assistant", "content": "hello"}])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "is missing; delete the row"),
        (float("nan"), "is missing"),
        ("hi", r"is 'hi' \(str\); expected a list of {role, content}"),
        (b"\xff", r"is b'\\xff' \(bytes\); expected a list"),
        ([], "is an empty list"),
        (["hi"], "has as message 1 'hi'; expected {role, content}"),
        ([{"from": "human", "value": "x"}], r"no `role` in message 1 \(its keys are from, value\)"),
        ([{"role": "user", "content": 3}], "has 3 as content of message 1; expected text"),
        (say("a", " "), "has nothing in message 2, of the assistant"),
        (say("a", "\ud800"), "holds half of a character"),
    ],
)
def test_cells_that_are_no_conversation(value: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(messages_problem(value))


def test_cells_that_are_conversations() -> None:
    assert messages_problem(say("a", "b")) is None
    assert (
        messages_problem(
            [*say("a"), {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}]
        )
        is None
    )
    assert messages_problem([{"role": "user", "content": [{"type": "text", "text": "a"}]}]) is None


def test_parts_of_text_are_joined_whatever_the_template(tmp_path: Path, tokenizer: Any) -> None:
    parts = [
        {
            "role": one["role"],
            "content": [{"type": "text", "text": text} for text in one["content"].split("|")],
        }
        for one in say("what is| this?", "the cat")
    ]
    rows = [say("what is this?", "the cat"), parts]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"messages": [parts]}), table)
    settings = {"sequence_length": 99, "messages_field": "messages"}
    found = read_documents(path, tokenizer, **settings) + read_documents(
        table, tokenizer, **settings
    )
    assert len({one.example_id for one in found}) == 1
    assert tokenizer.decode(found[0].token_ids[found[0].trained]) == "the cat<|im_end|>"


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"type": "image_url", "image_url": {"url": "x"}},
            r"a part of type 'image_url' \(part 2\)",
        ),
        ({"text": "no type"}, r"a part of type None \(part 2\) in message 1"),
        ("bare", r"has as part 2 'bare' \(str\) in message 1; expected text, or parts"),
        ({"type": "text", "text": 3}, "has 3 as text of part 2"),
        ({"type": "text"}, "has None as text of part 2"),
    ],
)
def test_parts_that_are_no_text_are_refused(part: Any, message: str) -> None:
    turns = [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}, *say("", "b")[1:]]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(messages_problem(turns))
    assert "has no part" in str(messages_problem([{"role": "user", "content": []}]))
    blank = [{"role": "assistant", "content": [{"type": "text", "text": " "}]}]
    assert "has nothing in message 1, of the assistant" in str(messages_problem(blank))


def test_a_template_that_knows_only_lists_of_parts_is_given_them() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% for part in m.content %}"
        "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    assert trained_text(tokenizer, say("a", "the cat")) == "the cat<|im_end|>"
    assert render_prompt(tokenizer, say("why?")).text == (
        "<|im_start|>user\nwhy?<|im_end|>\n<|im_start|>assistant\n"
    )


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}


def test_a_content_that_is_not_there_is_never_written_as_none() -> None:
    tokenizer = make_tokenizer()
    asked = say("how is Rome?")
    called = [*asked, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    with_calls = "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}"
    tokenizer.chat_template = SILENT.replace("m.content +", "'' }}" + with_calls + "{{ ")
    assert "None" not in trained_text(tokenizer, called)
    assert '"weather"' in trained_text(tokenizer, called)
    tokenizer.chat_template = SILENT.replace("m.content", "(m.content or 'None')")
    with pytest.raises(DataError, match="leaves out the call of 'weather' in message 2"):
        render_chat(tokenizer, called)
    for message in ({"role": "user"}, {"role": "tool", "content": None}):
        assert "has nothing in message 1" in str(messages_problem([message]))


SILENT = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}"
)
NO_HEADER = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "header"), [(SILENT, "<|im_start|>assistant\n"), (NO_HEADER, None)]
)
def test_a_template_that_ignores_the_generation_prompt(
    tmp_path: Path, template: str, header: str | None
) -> None:
    tokenizer = make_tokenizer()
    assert render_chat(tokenizer, say("a", "b")).header is None
    tokenizer.chat_template = template
    assert render_chat(tokenizer, say("a", "b", "c", "d")).header == header
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"p": "a", "r": "the cat"}) + "\n")
    _, problems = read_document_table(
        path, tokenizer, Columns(prompt="p", response="r"), sequence_length=99
    )
    if header is None:
        assert problems == []
    else:
        (said,) = map(str, problems)
        assert "writes nothing for add_generation_prompt, so the student is also trained" in said
        assert "'<|im_start|>assistant\\n', in 1 row, for instance row 1" in said


@pytest.mark.parametrize(
    "template", ["{{ 1 // 0 }}", "{{ messages[9].content }}", "{{ messages.x() }}", "{% for %}"]
)
def test_a_template_that_ends_in_any_way_is_refused_in_words(template: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(DataError, match="the chat template refuses the conversation: "):
        render_chat(tokenizer, say("a", "b"))


def test_keys_that_hold_null_are_dropped_at_any_depth() -> None:
    value = [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": None, "name": "x", "n": [0, False]}],
        }
    ]
    assert without_nulls(value) == [
        {"role": "assistant", "tool_calls": [{"name": "x", "n": [0, False]}]}
    ]


def test_spans_of_a_long_conversation_are_in_order_and_apart(tokenizer: Any) -> None:
    rendered = render_chat(tokenizer, say(*"abcdefgh"))
    assert rendered.spans is not None
    flat = np.array(rendered.spans).ravel()
    assert (np.diff(flat) > 0).all()
    assert len(flat) == 8
