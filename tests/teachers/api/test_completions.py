from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest

from tutelage.errors import ModelError
from tutelage.teachers.api.protocol import BadAnswer, Question, Request
from tutelage.teachers.api.protocols.completions import Completions

LABELS = ("top up", "card")
QUESTION = Question(LABELS)
WORDS = (("top up",), ("card",))


def asking(**more) -> Completions:
    return Completions(QUESTION, "base", words=more.pop("words", WORDS), **more)


def echoed(tokens: list[str], probs: list[float | None], *, drawn: int = 1) -> dict:
    """A completion with its prompt in it, as OpenAI's own types accept it."""
    completion = pytest.importorskip("openai.types.completion")
    offsets = np.cumsum([0, *(len(token) for token in tokens)])[:-1].tolist()
    logprobs = {
        "tokens": tokens,
        "token_logprobs": [None if prob is None else math.log(prob) for prob in probs],
        "text_offset": offsets,
        "top_logprobs": None,
    }
    body = {
        "id": "1",
        "object": "text_completion",
        "created": 1,
        "model": "base",
        "choices": [
            {"index": 0, "finish_reason": "length", "text": "".join(tokens), "logprobs": logprobs}
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": drawn, "total_tokens": 5 + drawn},
    }
    logprobs["token_logprobs"] = [
        0.0 if value is None else value for value in logprobs["token_logprobs"]
    ]
    completion.Completion.model_validate(body)
    logprobs["token_logprobs"] = [None, *logprobs["token_logprobs"][1:]]
    return body


def test_words_follow_one_prompt_that_begins_with_what_all_texts_share():
    one, other = asking().requests("Hi there")
    assert one.path == "completions"
    prompt = one.body["prompt"].removesuffix(" top up")
    assert prompt.endswith("Text: Hi there\nLabel:")
    assert other.body["prompt"] == prompt + " card"
    assert asking().prompt("Bye").startswith(prompt.removesuffix("Text: Hi there\nLabel:"))
    assert (one.body["echo"], one.body["logprobs"], one.body["max_tokens"]) == (True, 1, 1)


def test_tokens_of_a_word_are_multiplied_and_what_was_drawn_is_not_looked_at():
    replies = [
        echoed(["<s>", "Label", ":", " top", " up", " top up"], [None, 0.1, 0.1, 0.3, 0.5, 0.9]),
        echoed(["<s>", "Label", ":", " card", " card"], [None, 0.1, 0.1, 0.05, 0.9]),
    ]
    answer = asking().read(replies)
    np.testing.assert_allclose(answer.probs, [0.75, 0.25])
    assert answer.label_mass == pytest.approx(0.2)


def test_an_answer_that_ended_at_once_shows_no_drawn_token():
    replies = [
        echoed([":", " top", " up"], [None, 0.3, 0.5], drawn=0),
        echoed([":", " card"], [None, 0.05], drawn=1),  # counted, not shown
    ]
    np.testing.assert_allclose(asking().read(replies).probs, [0.75, 0.25])


def test_a_text_that_ends_with_a_label_is_not_the_label():
    protocol = asking(template="{text}", words=(("card",), ("cash",)))
    replies = [
        echoed(["A", " card", " card"], [None, 0.9, 0.3], drawn=0),
        echoed(["A", " card", " cash"], [None, 0.9, 0.1], drawn=0),
    ]
    np.testing.assert_allclose(protocol.read(replies).probs, [0.75, 0.25])


def test_words_of_a_label_are_added():
    protocol = asking(words=(("top up", "money in"), ("card",)))
    assert len(protocol.requests("x")) == 3
    replies = [
        echoed([":", " top up", "!"], [None, 0.2, 1.0]),
        echoed([":", " money in", "!"], [None, 0.2, 1.0]),
        echoed([":", " card", "!"], [None, 0.1, 1.0]),
    ]
    np.testing.assert_allclose(protocol.read(replies).probs, [0.8, 0.2])


def test_a_word_that_begins_another_is_scored_with_its_end():
    protocol = asking(words=(("card",), ("cardinal",)))
    assert [word[-1] for word in protocol.spelled] == ["\n", "\n"]
    assert asking().spelled == (" top up", " card")


def test_prompt_logprobs_are_those_by_which_the_prompt_is_longer():
    def told(*tokens: tuple[int, float]) -> dict:
        rest = [
            {str(number): {"logprob": math.log(prob), "rank": 1, "decoded_token": "x"}}
            for number, prob in tokens
        ]
        return {"choices": [{"index": 0, "text": "!", "prompt_logprobs": [None, *rest]}]}

    protocol = asking(scores="prompt_logprobs")
    requests = protocol.requests("x")
    assert requests[0].body["prompt"] == protocol.prompt("x")
    assert requests[1].body["prompt_logprobs"] == 0
    alone = told((7, 0.5))
    replies = [alone, told((7, 0.5), (8, 0.3), (9, 0.5)), told((7, 0.5), (6, 0.05))]
    answer = protocol.read(replies)
    np.testing.assert_allclose(answer.probs, [0.75, 0.25])
    assert answer.label_mass == pytest.approx(0.2)
    with pytest.raises(BadAnswer, match="tokens of the prompt are others"):
        protocol.read([alone, told((5, 0.5), (8, 0.3)), replies[2]])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (echoed(["Label", ": top", " up", "!"], [None, 0.1, 0.1, 1.0]), "': top' holds the end"),
        (echoed(["Label:", " bottom", "!"], [None, 0.1, 1.0]), "expected the word ' top up'"),
        ({"choices": [{"text": "x", "logprobs": None}]}, "try `scores: prompt_logprobs`"),
        ({"choices": [{"logprobs": {"tokens": [" top up"], "token_logprobs": []}}]}, "is 0; exp"),
        (
            {"choices": [{"logprobs": {"tokens": [" top up"], "token_logprobs": [None]}}]},
            "is None; expected a log-probability",
        ),
    ],
)
def test_what_cannot_be_scored_is_said(body, message):
    with pytest.raises(BadAnswer, match=message) as caught:
        asking().read([body, body])
    assert caught.value.reason == "wrong_shape"


def test_labels_that_are_all_impossible_are_no_answer():
    body = echoed([":", " top up", "!"], [None, 1.0, 1.0])
    other = echoed([":", " card", "!"], [None, 1.0, 1.0])
    for one in (body, other):
        one["choices"][0]["logprobs"]["token_logprobs"][1] = -9999.0
    with pytest.raises(BadAnswer, match="impossible") as caught:
        asking().read([body, other])
    assert caught.value.reason == "unparsable"


def _server(*, shift: int) -> Any:
    """A server that writes " Paris" with -0.25, and tells echoed values so many places late."""
    logs = [None, -7.0, -3.0, -2.0, -1.0, -0.25, -9.0]
    tokens = ["The", " capital", " of", " France", " is", " Paris", "."]

    async def ask(request: Request) -> dict[str, Any]:
        if "echo" not in request.body:
            told = {"tokens": [" Paris"], "token_logprobs": [-0.25]}
        else:
            assert request.body["prompt"] == "The capital of France is Paris"
            told = {"tokens": tokens, "token_logprobs": logs[shift:] + logs[:shift]}
        return {"choices": [{"logprobs": told}], "usage": {"completion_tokens": 1}}

    return ask


def test_a_server_whose_echo_is_right_passes_the_probe() -> None:
    asyncio.run(_probing().probe(_server(shift=0)))


def test_a_server_whose_echo_is_one_place_late_is_refused() -> None:
    with pytest.raises(ModelError, match=r"-0\.25 where it writes it, and -9\.00"):
        asyncio.run(_probing().probe(_server(shift=1)))


def _probing() -> Completions:
    return Completions(Question(("bad", "good")), "m", words=(("bad",), ("good",)))
