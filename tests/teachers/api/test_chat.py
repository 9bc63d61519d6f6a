from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.teachers.api.protocol import BadAnswer, Question
from tutelage.teachers.api.protocols.chat import Chat, read_reply

LABELS = ("billing", "delivery")
QUESTION = Question(LABELS, {"billing": "Charges, invoices, refunds"})
WORDS = (("billing",), ("delivery",))


def chat(**more) -> Chat:
    return Chat(QUESTION, "gpt", words=WORDS, **more)


def reply(content: str | None, probs: dict[str, float] | None = None, **more) -> dict:
    """A chat completion that OpenAI's own types accept."""
    completion = pytest.importorskip("openai.types.chat")
    logprobs = None
    if probs is not None:
        top = [{"token": token, "logprob": math.log(prob)} for token, prob in probs.items()]
        logprobs = {"content": [{**top[0], "top_logprobs": top}], "refusal": None}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-2026",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content, "refusal": None},
                "logprobs": logprobs,
                **more,
            }
        ],
    }
    completion.ChatCompletion.model_validate(body)
    return body


def test_options_have_letters_and_what_is_the_same_for_all_texts_comes_first():
    (one,), (other,) = chat().requests("Where is it?"), chat().requests("I paid twice")
    assert one.path == "chat/completions"
    content = one.body["messages"][0]["content"]
    assert "A. billing: Charges, invoices, refunds\nB. delivery\n" in content
    assert content.endswith("Text: Where is it?")
    lead = content.removesuffix("Where is it?")
    assert other.body["messages"][0]["content"] == lead + "I paid twice"
    assert (one.body["logprobs"], one.body["top_logprobs"]) == (True, 20)


def test_a_text_with_braces_stays_as_it_is():
    (request,) = chat().requests("{text} {label}")
    assert request.body["messages"][-1]["content"].endswith("Text: {text} {label}")


def test_shots_are_turns_answered_as_the_text_shall_be():
    shots = (("Refund me", "billing"), ("Parcel?", "delivery"))
    turns = chat(shots=shots, letters=False).requests("x")[0].body["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2 + ["user"]
    assert [turn["content"] for turn in turns[1::2]] == ["billing", "delivery"]
    turns = chat(shots=shots).requests("x")[0].body["messages"]
    assert [turn["content"] for turn in turns[1::2]] == ["A", "B"]
    assert turns[0]["content"].endswith("Text: Refund me")


def test_letters_and_words_are_read_from_the_listed_tokens():
    np.testing.assert_allclose(chat().read([reply("A", {"A": 0.7, "B": 0.3})]).probs, [0.7, 0.3])
    body = reply("delivery", {"delivery": 0.6, "bill": 0.4})
    np.testing.assert_allclose(chat(letters=False).read([body]).probs, [0.4, 0.6])
    np.testing.assert_allclose(read_reply(body, LABELS).probs, [0.4, 0.6])


def test_extra_is_added_and_null_takes_out():
    extra = {"max_tokens": None, "max_completion_tokens": 4, "temperature": None}
    body = chat(extra=extra).requests("x")[0].body
    assert body["max_completion_tokens"] == 4
    assert not {"max_tokens", "temperature"} & set(body)


def test_named_tokens_are_exact():
    protocol = chat(logprob_token_ids={"billing": 32, "delivery": 33})
    body = protocol.requests("x")[0].body
    assert body["logprob_token_ids"] == [32, 33]
    assert body["return_tokens_as_token_ids"] is True
    assert "top_logprobs" not in body
    told = reply("C", {"token_id:34": 0.5, "token_id:33": 0.1, "token_id:32": 0.3})
    answer = protocol.read([told])
    np.testing.assert_allclose(answer.probs, [0.75, 0.25])
    assert answer.label_mass == pytest.approx(0.4)
    assert answer.unlisted == 0.0
    with pytest.raises(BadAnswer, match="token_id:32 in it; this server does not know"):
        protocol.read([reply("A", {"A": 0.5, "B": 0.5})])


def test_votes_are_told_apart_by_seed_and_smoothed():
    protocol = chat(votes=4, sampling_temperature=0.7)
    bodies = [request.body for request in protocol.requests("x")]
    assert [body["seed"] for body in bodies] == [0, 1, 2, 3]
    assert {body["temperature"] for body in bodies} == {0.7}
    assert "logprobs" not in bodies[0]
    answer = protocol.read([reply("A"), reply(" A."), reply("(billing)"), reply("I cannot say")])
    np.testing.assert_allclose(answer.probs, [3.5 / 4, 0.5 / 4])  # (3 + 1/2) / (3 + 2/2)
    assert answer.votes == 3
    assert answer.label_mass == 0.75
    with pytest.raises(BadAnswer) as caught:
        protocol.read([reply(""), reply("hm"), reply("so"), reply("well")])
    assert caught.value.reason == "unparsable"


def test_choices_without_logprobs_are_votes_to_whoever_does_not_know_the_request():
    answer = read_reply(reply("Delivery."), LABELS)
    np.testing.assert_allclose(answer.probs, [0.25, 0.75])
    assert answer.votes == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (reply(None), "empty"),
        (reply(""), "empty"),
        (reply(None, finish_reason="length"), "truncated"),
        (reply("The an", {"The": 0.9, "I": 0.1}, finish_reason="length"), "truncated"),
        (reply("The an", {"The": 0.9, "I": 0.1}), "unparsable"),
        (reply("", finish_reason="content_filter"), "refused"),
        (reply("A"), "wrong_shape"),
        ({"choices": []}, "empty"),
        ({"choices": None}, "wrong_shape"),
        ({"choices": [{"message": {"content": 3}}]}, "wrong_shape"),
    ],
)
def test_what_is_no_answer_is_sorted(body, reason):
    with pytest.raises(BadAnswer) as caught:
        chat().read([body])
    assert caught.value.reason == reason


def test_a_refusal_is_not_a_vote():
    body = reply(None, message={"role": "assistant", "content": None, "refusal": "I can't"})
    for read in (lambda: chat(votes=1).read([body]), lambda: read_reply(body, LABELS)):
        with pytest.raises(BadAnswer, match="I can't") as caught:
            read()
        assert caught.value.reason == "refused"


def test_settings_name_what_is_sent_and_how_it_is_read():
    plain = chat().settings
    assert plain == chat().settings
    assert plain != chat(letters=False).settings
    assert plain != chat(match_case=True).settings
    assert plain != chat(shots=(("a", "billing"),)).settings
    assert plain != chat(extra={"seed": 1}).settings
