"""Logs of calls as answers: what was asked is found, replies are read, what is none is counted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.teachers.test_recorded import LABELS, answers, lines, told, understood, written

from tutelage.teachers.recorded.spec import RecordedTeacherSpec
from tutelage.teachers.spec import ClassAssignment

SHARES = [0.2, 0.3, 0.5]


def decision(*probs: float) -> dict[str, Any]:
    told = [{"value": one, "probability": prob} for one, prob in zip(LABELS, probs, strict=True)]
    return {"answers": [{"type": "choice", "name": "label", "probabilities": told[::-1]}]}


def system_one(*probs: float) -> dict[str, Any]:
    told = dict(zip(LABELS, probs, strict=True))
    return {"answers": {"label": {"type": "choice", "choice": "good", "probabilities": told}}}


def chat(*probs: float) -> dict[str, Any]:
    listed = [
        {"token": label, "logprob": math.log(prob)}
        for label, prob in zip(LABELS, probs, strict=True)
    ]
    place = {**listed[-1], "top_logprobs": listed}
    message = {"role": "assistant", "content": "good"}
    choice = {"message": message, "logprobs": {"content": [place]}, "finish_reason": "stop"}
    return {"choices": [choice]}


def response(*probs: float, **more: Any) -> dict[str, Any]:
    """As OpenAI's Responses API writes a chat with log-probabilities."""
    content = chat(*(probs or SHARES))["choices"][0]["logprobs"]["content"]
    text = {"type": "output_text", "text": "good", "annotations": [], "logprobs": content}
    return {
        "object": "response",
        "status": "completed",
        "error": None,
        "output": [
            {"type": "reasoning", "id": "r", "summary": []},
            message({"type": "output_text", "text": "poor, or is it"}, phase="commentary"),
            message(text),
        ],
        **more,
    }


def message(part: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [part], **more}


def says(*words: str) -> dict[str, Any]:
    return {
        "choices": [
            {"message": {"role": "assistant", "content": word}, "finish_reason": "stop"}
            for word in words
        ]
    }


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        ({"model": "m", "input": "one", "questions": []}, decision(*SHARES)),
        ({"model": "m", "state": "one", "questions": {}}, system_one(*SHARES)),
        ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "one"}]}, chat(*SHARES)),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "one"}]}]}, decision(*SHARES)),
        ({"method": "POST", "body": {"input": "one"}}, {"status_code": 200, "body": decision(*SHARES)}),
        ({"input": ["one"]}, {"data": [{"label": "good", "probs": SHARES, "num_classes": 3, "index": 0}]}),
        ({"model": "m", "instructions": "s", "input": "one"}, response(*SHARES)),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "one"}]}]}, response(*SHARES)["output"]),
        ({"body": {"input": "one"}}, {"status_code": 200, "body": response(*SHARES)}),
        (json.dumps({"input": "one"}), json.dumps(decision(*SHARES))),
        ("one", decision(*SHARES)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("names", [("request", "response"), ("input", "output")])
def test_calls_of_every_protocol(
    tmp_path: Path, asked: Any, reply: Any, names: tuple[str, str]
) -> None:
    record = dict(zip(names, (asked, reply), strict=True))
    found = understood(written(tmp_path, lines(record), "log.jsonl"))
    assert (found.form, found.smoothing, found.notes) == ("log", None, [])
    assert answers(found) == {"one": SHARES}


def test_a_batch_is_read_beside_its_requests(tmp_path: Path) -> None:
    output = [
        {"custom_id": "b", "response": {"status_code": 200, "body": decision(*SHARES)}},
        {"custom_id": "a", "response": {"status_code": 200, "body": decision(1, 0, 0)}},
        {"custom_id": "c", "response": None, "error": {"message": "no"}},
    ]
    asked = [
        {"custom_id": name, "url": "/v1/decisions", "body": {"input": text}}
        for name, text in (("a", "two"), ("b", "one"), ("c", "three"))
    ]
    path = written(tmp_path, lines(*output), "output.jsonl")
    requests = written(tmp_path, lines(*asked), "input.jsonl")
    found = understood(path, requests=requests)
    assert answers(found) == {"one": SHARES, "two": [1, 0, 0]}
    assert found.unanswered == 1
    assert found.notes == ["replies that are no answer: rejected 1"]
    assert "name the file of its requests: requests" in told(path)[0]
    requests.write_text(lines(asked[1]), encoding="utf-8")
    assert told(path, requests=requests) == [
        "output.jsonl, row 2: no request has the custom_id 'a'",
        "output.jsonl, row 3: no request has the custom_id 'c'",
    ]
    teacher = RecordedTeacherSpec(file=path, requests=requests)
    before = teacher.fingerprint(ClassAssignment(LABELS))
    requests.write_text(lines(*asked), encoding="utf-8")
    assert teacher.fingerprint(ClassAssignment(LABELS)) != before


def test_no_answer_is_counted_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    refused = {"answers": [{"type": "refusal", "name": "label"}]}
    replies = [
        decision(*SHARES),
        refused,
        says(""),
        decision(0.2, 0.2, 0.2),
        {"ok": True},
        says("?"),
    ]
    records = [
        {"request": {"input": text}, "response": reply}
        for text, reply in zip("abcdef", replies, strict=True)
    ]  # fmt: skip
    path = written(tmp_path, lines(*records), "log.jsonl")
    problems = told(path)
    assert [one.partition(":")[0] for one in problems] == ["log.jsonl, row 4", "log.jsonl, row 5"]
    assert "sum to 0.6" in problems[0]
    assert "expected `answers` (a decision), `choices` (a chat)" in problems[1]
    for place in (4, 3):
        del records[place]
    found = understood(written(tmp_path, lines(*records), "log.jsonl"))
    assert answers(found) == {"a": SHARES}
    assert found.notes == ["replies that are no answer: empty 1, refused 1, unparsable 1"]


def test_replies_without_probabilities_are_votes(tmp_path: Path) -> None:
    records = [
        {"input": "one", "output": says("good", "fair")},
        {"input": "one", "output": "good"},
    ]
    path = written(tmp_path, lines(*records), "log.jsonl")
    found = understood(path)
    expected = [round((count + 0.5) / 4.5, 4) for count in (0, 1, 2)]
    assert (answers(found), found.smoothing) == ({"one": expected}, 0.5)
    assert found.notes == ["2 replies tell no probabilities, so their answers are votes"]
    records.append({"input": "two", "output": chat(*SHARES)})
    mixed = understood(written(tmp_path, lines(*records), "log.jsonl"))
    assert mixed.smoothing is None
    halves = [[0.5, 1.5, 1.5], [0.5, 0.5, 1.5]]
    mean = [sum(one[place] / sum(one) for one in halves) / 2 for place in range(3)]
    assert answers(mixed) == {"one": [round(one, 4) for one in mean], "two": SHARES}


def test_a_template_says_where_the_text_stands(tmp_path: Path) -> None:
    def record(message: str) -> dict[str, Any]:
        asked = {"messages": [{"role": "user", "content": message}]}
        return {"request": asked, "response": chat(*SHARES)}

    path = written(tmp_path, lines(record("Choose.\n\nText: one\nAnswer:")), "log.jsonl")
    found = understood(path, template="\n\nText: {text}\nAnswer:")
    assert answers(found) == {"one": SHARES}
    assert "the text of the request" in told(path, template="Review: {text}")[0]
    named = written(tmp_path, lines({"text": "two"} | record("whatever")), "log.jsonl")
    assert answers(understood(named)) == {"two": SHARES}


def test_labels_are_the_options_of_a_choice(tmp_path: Path) -> None:
    record = {"request": {"state": "one"}, "response": system_one(*SHARES)}
    found = understood(written(tmp_path, lines(record), "log.jsonl"), labels=None)
    assert found.labels == LABELS
    record["response"] = chat(*SHARES)
    path = written(tmp_path, lines(record), "log.jsonl")
    assert "the labels are not known" in told(path, labels=None)[0]


def test_responses_that_are_no_answer_are_counted(tmp_path: Path) -> None:
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    filtered = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    refusal = message({"type": "refusal", "refusal": "I would rather not"})
    odd = message({"type": "output_image", "image": "?"})
    half = message({"type": "output_text", "text": "I think"})
    plain = message({"type": "output_text", "text": "good"})
    replies = [
        response(output=[plain]),
        response(output=[half], **cut),
        response(output=[half], **filtered),
        response(output=[refusal]),
        response(output=[]),
        response(status="failed", output=[plain]),
        response(error={"code": "server_error"}),
        response(output=[odd]),
    ]
    records = [
        {"request": {"input": text}, "response": reply}
        for text, reply in zip("abcdefgh", replies, strict=True)
    ]
    path = written(tmp_path, lines(*records), "log.jsonl")
    (problem,) = told(path)
    assert problem.startswith("log.jsonl, row 8: `type` of a part is 'output_image'")
    found = understood(written(tmp_path, lines(*records[:7]), "log.jsonl"))
    assert list(answers(found)) == ["a"]
    assert found.notes == [
        "replies that are no answer: empty 1, refused 2, rejected 2, truncated 1",
        "1 replies tell no probabilities, so their answers are votes",
    ]


def test_replies_and_numbers_of_other_types_are_told_of(tmp_path: Path) -> None:
    """Seen by the fuzzer: numbers where lists stand, lists where names do."""
    asked = {"model": "m", "input": "one", "questions": []}
    for answered in (0.5, [{"type": "choice", "probabilities": 0.5}], {"label": 3}):
        rows = lines(*[{"request": asked, "response": {"answers": answered}}] * 2)
        assert "the labels are not known" in " ".join(
            told(written(tmp_path, rows, "log.jsonl"), None)
        )
    output = [{"custom_id": ["a"], "response": {"status_code": 200, "body": decision(*SHARES)}}]
    path = written(tmp_path, lines(*output), "output.jsonl")
    requests = written(
        tmp_path, lines({"custom_id": {"a": 1}, "body": {"input": "one"}}), "in.jsonl"
    )
    assert "no request has the custom_id" in " ".join(told(path, requests=requests))
