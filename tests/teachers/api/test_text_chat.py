"""Prompts as chats, and what counts as an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.teachers.api.faulty_server import FaultyServer, serving

from tutelage.errors import ModelError
from tutelage.targets.kinds import TextOptions
from tutelage.teachers.api.protocol import BadAnswer
from tutelage.teachers.api.server import Endpoint
from tutelage.teachers.api.work import Policy
from tutelage.teachers.api.writing import ApiWriter, TextChat
from tutelage.teachers.writing import Ask
from tutelage.types import SILENT

OPTIONS = TextOptions(system="Be brief.", max_new_tokens=9, sampling_temperature=0.5, top_p=0.8)


def said(content: Any = "fine", finish: str = "stop", **message: Any) -> dict[str, Any]:
    one = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"model": "served-1", "choices": [one], "usage": {"completion_tokens": 3}}


def test_a_prompt_is_one_chat() -> None:
    chat = TextChat("m", OPTIONS, seed=7, extra={"top_p": None, "think": False})
    (request,) = chat.requests(Ask("How are you?", 2))
    assert request.path == "chat/completions"
    assert request.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How are you?"},
        ],
        "max_tokens": 9,
        "temperature": 0.5,
        "seed": 9,
        "think": False,
    }
    assert "system" not in json.dumps(TextChat("m", TextOptions()).settings)


def test_a_whole_answer_is_its_text() -> None:
    assert TextChat("m", OPTIONS).read([said(" Fine,\nthanks ")]) == " Fine,\nthanks "


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (said("I am as well as", "length"), "truncated"),
        (said(None, "length"), "truncated"),
        (said(""), "empty"),
        (said(" \n"), "empty"),
        (said(None), "empty"),
        (said(None, refusal="No."), "refused"),
        (said("part", "content_filter"), "refused"),
        (said("\ud800"), "unparsable"),
        (said(["parts"]), "wrong_shape"),
        ({"choices": []}, "empty"),
        ({}, "wrong_shape"),
    ],
)
def test_what_is_no_answer_says_why(reply: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadAnswer) as caught:
        TextChat("m", OPTIONS).read([reply])
    assert caught.value.reason == reason


def writer_of(server: FaultyServer, journal: Path, **policy: Any) -> ApiWriter:
    return ApiWriter(
        TextChat("served-1", OPTIONS),
        fingerprint="f",
        endpoint=Endpoint(
            base_url=server.base_url,
            key_variable=None,
            concurrency=4,
            timeout_seconds=10.0,
            retries=8,
        ),
        policy=Policy(bad_answer_retries=0, **policy),
        journal=journal,
    )


def test_every_answer_is_paid_once_through_faults_and_stops(tmp_path: Path) -> None:
    faults = {0: 429, 1: "cut", 2: 500}
    asks = [Ask(f"prompt {number}", sample) for number in range(40) for sample in range(2)]
    server = FaultyServer(
        reply=lambda body: said(f"{body['messages'][1]['content']} {body['seed']}"),
        fault=lambda call, _: faults.get(call % 11),
    )
    with serving(server):
        stopped = writer_of(server, tmp_path).write(asks, progress=SILENT)
        for batch in stopped:
            if batch:
                break
        stopped.close()  # type: ignore[attr-defined]
        writer = writer_of(server, tmp_path)
        found: dict[int, Any] = {}
        for batch in writer.write(asks, progress=SILENT):
            found |= dict(batch)
    assert [found[at] for at in range(80)] == [f"{one.prompt} {one.sample}" for one in asks]
    # A reply that was cut on its way was sent, and only the server knows whether it is billed.
    assert server.paid.total() == 80
    assert max(server.paid.values()) == 1
    assert (writer.account["requests"], writer.account["output_tokens"]) == (80, 240)


def test_a_bad_answer_stops_where_that_is_asked_for(tmp_path: Path) -> None:
    message = r"truncated .* bad_answers says stop\. Raise max_new"
    with (
        serving(FaultyServer(reply=lambda _: said("and so", "length"))) as server,
        pytest.raises(ModelError, match=message),
    ):
        list(writer_of(server, tmp_path, bad_answers="stop").write([Ask("x")], progress=SILENT))


def test_answers_of_two_models_are_not_mixed(tmp_path: Path) -> None:
    names = iter("ab" * 9)
    server = FaultyServer(reply=lambda _: {**said(), "model": next(names)})
    with serving(server), pytest.raises(ModelError, match="Answers of two models would be mixed"):
        list(writer_of(server, tmp_path).write([Ask("x"), Ask("y")], progress=SILENT))
