"""Bodies as clients send them become questions, answers become replies of the protocol's shape."""

import copy
import functools
import json
import operator

import pytest

from tutelage_runtime.serving.answering import Answered, Refusal, Reply
from tutelage_runtime.serving.limits import Limits, read_json, require_text
from tutelage_runtime.serving.protocols import WIRES, classify, decisions, systemone

LIMITS = Limits()


def test_input_is_a_string_or_user_messages_of_text_and_json():
    asked = decisions.read(
        {
            "model": "m",
            "input": [
                {"role": "user", "content": "One."},
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Two."},
                        {"type": "input_json", "data": {"é": [1, None]}},
                    ],
                },
            ],
            "questions": [{"type": "predicate", "instructions": "Is it?"}],
        },
        LIMITS,
    )
    assert asked.texts == ('One.\n\nTwo.\n{"é":[1,null]}',)


@pytest.mark.parametrize(
    "item",
    [
        {"role": "system", "content": "Be good."},
        {"role": "assistant", "content": "I am."},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]},
    ],
)
def test_what_no_student_reads_is_refused_and_named(item):
    body = {"model": "m", "input": [item], "questions": []}
    with pytest.raises(Refusal, match=r"input\[0\]") as caught:
        decisions.read(body, LIMITS)
    assert caught.value.code == "unsupported_input"


def test_options_may_be_booleans_which_are_no_words():
    question = {
        "type": "choice",
        "instructions": "?",
        "choices": [{"value": "true"}, {"value": True}, {"value": False}],
    }
    asked = decisions.read({"model": "m", "input": "", "questions": [question]}, LIMITS)
    assert asked.questions[0].options == ("true", True, False)
    question["choices"].append({"value": True})
    with pytest.raises(Refusal, match="twice"):
        decisions.read({"model": "m", "input": "", "questions": [question]}, LIMITS)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"model": None}, "model"),
        ({"input": 3}, "input"),
        ({"questions": {}}, "questions"),
        ({"questions": []}, "questions"),
        ({"questions": [{"type": "rank"}]}, "questions[0].type"),
        ({"questions": [{"type": "choice", "instructions": "?"}]}, "questions[0].choices"),
        (
            {"questions": [{"type": "choice", "instructions": "?", "choices": [{"value": 1}]}]},
            "questions[0].choices[0].value",
        ),
    ],
)
def test_a_wrong_shape_is_a_400_that_names_its_place(change, place):
    body = {"model": "m", "input": "x", "questions": []} | change
    with pytest.raises(Refusal) as caught:
        decisions.read(body, LIMITS)
    status, said = decisions.error(caught.value)
    assert (status, said["error"]["param"]) == (400, place)


def test_states_and_instructions_may_be_json():
    asked = systemone.read(
        {
            "model": "m",
            "state": {"subject": "Hi", "body": ["a"]},
            "questions": {
                "q": {"type": "choice", "instructions": ["x"], "criteria": {"a": None, "b": "B"}},
                "n": {"type": "noul", "criteria": {"true": "yes", "false": None}},
                "s": {"type": "score", "criteria": ["low", "high"]},
            },
        },
        LIMITS,
    )
    assert asked.texts == ('{"subject":"Hi","body":["a"]}',)
    first, second, third = asked.questions
    assert (first.options, first.instructions) == (("a", "b"), '["x"]')
    assert (second.kind, second.yes, second.no) == ("predicate", "yes", None)
    assert (third.kind, third.options) == ("score", ("low", "high"))


def test_system_one_words_a_wrong_shape_as_places():
    with pytest.raises(Refusal) as caught:
        systemone.read({"model": "m", "state": "x", "questions": {"q": {"type": "box"}}}, LIMITS)
    status, said = systemone.error(caught.value)
    assert status == 422
    assert said["detail"][0]["loc"] == ["body", "questions", "q", "type"]


def test_the_most_probable_option_is_chosen_and_its_probability_is_the_confidence():
    body = {"model": "m", "input": "x", "questions": []}
    options = ("a", "b", "c")
    body["questions"] = [
        {"type": "choice", "instructions": "?", "choices": [{"value": one} for one in options]},
        {"type": "score", "instructions": "?", "levels": [{"label": one} for one in options]},
        {"type": "predicate", "name": "p", "instructions": "?"},
    ]
    asked = decisions.read(body, LIMITS)
    probs = [[0.25, 0.5, 0.25]]
    answers = (Answered(options, probs), Answered(options, probs), Answered((), [[0.75]]))
    first, second, third = decisions.word(asked, Reply(answers, "m"))["answers"]
    assert (first["choice"], first["confidence"]) == ("b", 0.5)
    assert [one["value"] for one in first["probabilities"]] == list(options)
    assert second["score"] == 1.0
    assert second["probabilities"][2] == {"value": 2, "label": "c", "probability": 0.25}
    assert third == {"type": "predicate", "name": "p", "probability": 0.75}


def test_texts_of_classify_are_one_or_many():
    assert classify.read({"input": "x"}, LIMITS).texts == ("x",)
    assert classify.read({"input": ["x", "y"], "model": "m"}, LIMITS).texts == ("x", "y")
    for wrong in (None, 3, [], [[1, 2]]):
        with pytest.raises(Refusal, match="input"):
            classify.read({"input": wrong}, LIMITS)
    with pytest.raises(Refusal, match="at most 256"):
        classify.read({"input": ["x"] * 257}, LIMITS)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff{}", "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "invalid_json"),
        (b"[]", "wrong_type"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "too_deep"),
    ],
)
def test_json_that_is_none_or_too_deep_is_refused(body, code):
    with pytest.raises(Refusal) as caught:
        read_json(body, LIMITS)
    assert caught.value.code == code


def test_brackets_within_strings_are_not_depth():
    assert read_json(b'{"a": "' + b"[" * 100 + b'\\"[[", "b": [[]]}', LIMITS)["b"] == [[]]


def test_half_a_character_is_no_text():
    with pytest.raises(Refusal, match="surrogate"):
        require_text("a\ud800", LIMITS, ("input",))
    with pytest.raises(Refusal, match="at most 100,000"):
        require_text("a" * 100_001, LIMITS, ("input",))


QUESTIONS = [
    {"type": "choice", "instructions": "?", "choices": [{"value": "a"}, {"value": "b"}]},
    {"type": "score", "instructions": "?", "levels": [{"label": "a"}, {"label": "b"}]},
    {"type": "predicate", "instructions": [{"type": "input_text", "text": "?"}]},
]
ASKED = {
    "c": {"type": "choice", "instructions": {"a": "?"}, "criteria": {"a": None, "b": "B"}},
    "n": {"type": "noul", "criteria": {"true": "a", "false": None}},
    "s": {"type": "score", "criteria": ["a", "b"]},
}
VALID = {
    "/v1/decisions": {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": "x"}],
        "questions": QUESTIONS,
    },
    "/v1/systemone": {"model": "m", "state": ["x"], "questions": ASKED},
    "/classify": {"model": "m", "input": ["x", "y"]},
}
ODD = (None, True, 0, -1.5, "", "type", "\ud800", [], [None], [[]], {}, {"type": None}, {"": []})


def nodes(value, place=()):
    yield place
    if isinstance(value, (dict, list)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(child, (*place, key))


@pytest.mark.parametrize("path", sorted(VALID))
def test_whatever_stands_in_a_body_is_read_or_refused_in_words(path):
    wire, read = WIRES[path], 0
    for place in list(nodes(VALID[path]))[1:]:
        for odd in (*ODD, ...):
            body = copy.deepcopy(VALID[path])
            *way, last = place
            parent = functools.reduce(operator.getitem, way, body)
            if odd is ...:
                del parent[last]
            else:
                parent[last] = copy.deepcopy(odd)
            try:
                read += bool(wire.read(body, LIMITS).texts)
            except Refusal as refusal:
                status, said = wire.error(refusal)
                assert 400 <= status < 500
                assert json.dumps(said)
    assert read
