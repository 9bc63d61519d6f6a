"""Whatever JSON a server sends, it is an answer or a bad answer, never another error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tutelage.teachers.api.protocol import BadAnswer, Question
from tutelage.teachers.api.protocols import chat, classify, decisions, responses, systemone
from tutelage.teachers.api.protocols.making import AskingOptions, protocol_named

LABELS = ("good", "bad", "great")
NUMBERS = st.one_of(
    st.floats(),
    st.floats(0, 1),
    st.floats(-20, 0),
    st.sampled_from([0, 1, 1e-320, -9999.0, 10**400, -(10**400), True]),
)
WORDS = st.sampled_from(
    [
        *(
            "label",
            "good",
            "bad",
            "great",
            "go",
            "A",
            "B",
            "\n",
            " ",
            "",
            " good",
            " bad",
            " great",
        ),
        *("choice", "refusal", "noul", "predicate", "length", "token_id:1", "yes", "\ud800", "Ġ"),
    ]
)
KEYS = st.sampled_from(
    [
        *("answers", "label", "type", "name", "probabilities", "probability", "value", "noul"),
        *("diagnostics", "label_mass", "data", "probs", "choices", "message", "content"),
        *("logprobs", "top_logprobs", "token", "logprob", "tokens", "token_logprobs"),
        *("prompt_logprobs", "usage", "finish_reason", "refusal", "good", "bad", "great", "1"),
    ]
)
ANYTHING = st.recursive(
    st.none() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


NAMES = st.permutations(LABELS) | st.permutations(LABELS[:2]) | st.lists(WORDS, max_size=3)
RARELY = st.integers(0, 9).map(lambda drawn: drawn == 0)
LOGS = RARELY.flatmap(lambda odd: NUMBERS if odd else st.floats(-20, 0))
KINDS = st.sampled_from(["choice", "choice", "refusal", "predicate", "noul", "score"])


@st.composite
def shares(draw) -> list[tuple]:
    """Names with numbers that are often a distribution."""
    names = draw(NAMES)
    odd = draw(RARELY)
    return [(name, draw(NUMBERS) if odd else 1 / len(names)) for name in names]


def plain(**parts: st.SearchStrategy) -> st.SearchStrategy:
    return st.fixed_dictionaries(parts)


ENTRIES = shares().map(lambda told: [{"value": n, "probability": p} for n, p in told])
PLACE = plain(
    token=WORDS, logprob=LOGS, top_logprobs=st.lists(plain(token=WORDS, logprob=LOGS), max_size=5)
)
CHAT = plain(
    message=plain(content=RARELY.flatmap(lambda odd: ANYTHING if odd else WORDS)),
    logprobs=plain(content=st.lists(PLACE, min_size=1, max_size=3)),
    finish_reason=WORDS,
)
ECHO = st.lists(st.tuples(WORDS, LOGS), min_size=1, max_size=3)
TOLD = plain(**{"1": plain(logprob=LOGS)})
SCORED = plain(
    logprobs=ECHO.map(
        lambda told: {"tokens": [t for t, _ in told], "token_logprobs": [p for _, p in told]}
    ),
    prompt_logprobs=st.lists(TOLD | st.none(), max_size=3),
)
NEARLY_RIGHT = {
    "decisions": plain(
        answers=st.lists(
            plain(type=KINDS, probabilities=ENTRIES, probability=NUMBERS), min_size=1, max_size=2
        )
    ),
    "systemone": plain(
        answers=st.dictionaries(
            st.just("label") | KEYS,
            plain(type=KINDS, noul=NUMBERS, probabilities=shares().map(dict)),
            max_size=2,
        ),
        diagnostics=st.dictionaries(KEYS, ANYTHING, max_size=2) | ANYTHING,
    ),
    "classify": plain(
        data=st.lists(
            plain(probs=shares().map(lambda told: [p for _, p in told]), label=WORDS | st.none()),
            min_size=1,
            max_size=2,
        )
    ),
    "chat": plain(choices=st.lists(CHAT, min_size=1, max_size=2)),
    "completions": plain(
        choices=st.lists(SCORED, min_size=1, max_size=1), usage=st.none() | ANYTHING
    ),
}


def bodies(name: str) -> st.SearchStrategy:
    anything = st.dictionaries(KEYS, ANYTHING, max_size=4)
    return RARELY.flatmap(lambda odd: anything if odd else NEARLY_RIGHT[name])


QUESTION, PAIR = Question(LABELS), Question(LABELS[:2])
PROTOCOLS = [
    ("decisions", QUESTION, {}),
    ("decisions", PAIR, {"ask_as": "predicate", "yes": "bad"}),
    ("systemone", QUESTION, {}),
    ("systemone", PAIR, {"ask_as": "predicate", "yes": "bad"}),
    ("classify", QUESTION, {}),
    ("chat", QUESTION, {}),
    ("chat", QUESTION, {"answer_with": "labels"}),
    ("chat", QUESTION, {"votes": 2}),
    ("chat", PAIR, {"logprob_token_ids": {"good": 1, "bad": 2}}),
    ("chat", QUESTION, {"groups": {"g": ("good", "great"), "b": ("bad",)}}),
    ("completions", QUESTION, {}),
    ("completions", PAIR, {"scores": "prompt_logprobs"}),
]


def require_sound(read) -> str:
    """What came of a reply, in a word."""
    try:
        answer = read()
    except BadAnswer as error:
        return error.reason
    assert np.isfinite(answer.probs).all()
    assert (answer.probs >= 0).all()
    assert abs(answer.probs.sum() - 1.0) < 1e-9
    assert 0.0 <= answer.unlisted <= 1.0
    assert answer.label_mass is None or 0.0 <= answer.label_mass <= 1.0 + 1e-9
    return "answer"


@pytest.mark.parametrize(("name", "question", "options"), PROTOCOLS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_replies_to_every_protocol(name, question, options, data):
    protocol = protocol_named(name, question, model="m", options=AskingOptions(**options))
    asked = len(protocol.requests("x"))
    replies = data.draw(st.lists(bodies(name), min_size=asked, max_size=asked))
    event(require_sound(lambda: protocol.read(replies)))


@pytest.mark.parametrize("module", [decisions, systemone, classify, chat])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_replies_to_requests_that_are_not_known(module, data):
    body = data.draw(bodies(module.__name__.rpartition(".")[2]))
    event(require_sound(lambda: module.read_reply(body, LABELS)))
    if module in (decisions, systemone):
        event(require_sound(lambda: module.read_reply(body, LABELS[:2], yes="good")))


PART = plain(
    type=st.sampled_from(["output_text", "output_text", "refusal", "image"]) | ANYTHING,
    text=WORDS | ANYTHING,
    logprobs=st.lists(PLACE, max_size=3) | ANYTHING,
    refusal=ANYTHING,
)
ITEM = plain(type=st.just("message") | WORDS, content=st.lists(PART, max_size=2) | ANYTHING)
RESPONSE = plain(
    status=st.sampled_from(["completed", "completed", "incomplete", None]) | ANYTHING,
    incomplete_details=plain(reason=st.just("max_output_tokens") | ANYTHING) | ANYTHING,
    output=st.lists(ITEM, min_size=1, max_size=2) | ANYTHING,
)


@given(body=RESPONSE)
@settings(max_examples=100, deadline=None)
def test_responses_of_any_shape(body):
    event(require_sound(lambda: chat.read_reply(responses.as_chat(body), LABELS)))
