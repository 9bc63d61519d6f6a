"""Whatever JSON a server sends, it is an answer or a bad answer, never another error."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.teachers.api.protocol import BadAnswer, Question
from tutelage.teachers.api.protocols import chat, classify, decisions, systemone
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


def shaped(names: st.SearchStrategy) -> st.SearchStrategy:
    """Replies that are nearly right."""
    numbers = NUMBERS | st.sampled_from([0.25, 0.5, -0.5, -1.0])
    listed = st.fixed_dictionaries({"token": WORDS | ANYTHING, "logprob": numbers})
    place = st.fixed_dictionaries(
        {"token": WORDS, "logprob": numbers, "top_logprobs": st.lists(listed, max_size=4)}
    )
    told = st.lists(
        st.fixed_dictionaries({"value": names, "probability": numbers}), min_size=1, max_size=4
    )
    kind = st.sampled_from(["choice", "refusal", "predicate", "noul", "score"])
    tokens = st.lists(WORDS, min_size=1, max_size=4)
    logprobs = st.one_of(
        st.fixed_dictionaries({"content": st.lists(place, max_size=3)}),
        st.fixed_dictionaries(
            {"tokens": tokens, "token_logprobs": st.lists(numbers | st.none(), max_size=4)}
        ),
        ANYTHING,
    )
    entry = st.none() | st.dictionaries(
        st.sampled_from("123"), st.fixed_dictionaries({"logprob": numbers}), max_size=2
    )
    choice = st.fixed_dictionaries(
        {
            "message": st.fixed_dictionaries({"content": WORDS | ANYTHING}),
            "logprobs": logprobs,
            "finish_reason": WORDS,
            "prompt_logprobs": st.lists(entry, max_size=4),
        }
    )
    return st.one_of(
        st.fixed_dictionaries(
            {
                "answers": st.lists(
                    st.fixed_dictionaries(
                        {"type": kind, "probabilities": told, "probability": numbers}
                    ),
                    max_size=2,
                )
            }
        ),
        st.fixed_dictionaries(
            {
                "answers": st.dictionaries(
                    KEYS,
                    st.fixed_dictionaries(
                        {
                            "type": kind,
                            "noul": numbers,
                            "probabilities": st.dictionaries(names, numbers, max_size=4),
                        }
                    ),
                    max_size=2,
                ),
                "diagnostics": ANYTHING,
            }
        ),
        st.fixed_dictionaries(
            {
                "data": st.lists(
                    st.fixed_dictionaries(
                        {"probs": st.lists(numbers, max_size=4), "label": WORDS | st.none()}
                    ),
                    min_size=1,
                    max_size=2,
                )
            }
        ),
        st.fixed_dictionaries({"choices": st.lists(choice, max_size=2), "usage": ANYTHING}),
        st.dictionaries(KEYS, ANYTHING, max_size=4),
    )


BODIES = shaped(st.sampled_from(LABELS) | WORDS | st.booleans().map(str))
QUESTION, PAIR = Question(LABELS), Question(LABELS[:2])
PROTOCOLS = [
    protocol_named(name, question, model="m", options=AskingOptions(**options))
    for name, question, options in [
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
]


def require_sound(read) -> None:
    try:
        answer = read()
    except BadAnswer:
        return
    assert np.isfinite(answer.probs).all()
    assert (answer.probs >= 0).all()
    assert abs(answer.probs.sum() - 1.0) < 1e-9
    assert 0.0 <= answer.unlisted <= 1.0
    assert answer.label_mass is None or 0.0 <= answer.label_mass <= 1.0 + 1e-9


@given(st.lists(BODIES, min_size=4, max_size=4))
@settings(max_examples=300, deadline=None)
def test_replies_to_every_protocol(bodies):
    for protocol in PROTOCOLS:
        require_sound(lambda one=protocol: one.read(bodies[: len(one.requests("x"))]))


@given(BODIES)
@settings(max_examples=300, deadline=None)
def test_replies_to_requests_that_are_not_known(body):
    for module in (decisions, systemone, classify, chat):
        require_sound(lambda one=module: one.read_reply(body, LABELS))
    for module in (decisions, systemone):
        require_sound(lambda one=module: one.read_reply(body, LABELS[:2], yes="good"))
