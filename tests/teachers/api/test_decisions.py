from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.teachers.api.protocol import BadAnswer, Question
from tutelage.teachers.api.protocols.decisions import Decisions, read_reply
from tutelage.teachers.api.protocols.groups import given_groups

LABELS = ("billing", "delivery", "other")
QUESTION = Question(LABELS, {"billing": "Charges, invoices, refunds"})
USAGE = {
    "input_tokens": 9,
    "output_tokens": 1,
    "total_tokens": 10,
    "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def choice(probs: dict, name: str | None = "label", **more) -> dict:
    told = [{"value": value, "probability": prob} for value, prob in probs.items()]
    return {
        "type": "choice",
        "name": name,
        "choice": next(iter(probs)),
        "confidence": 0.123,
        "probabilities": told,
        **more,
    }


def reply(*answers: dict) -> dict:
    """A reply that OpenAI's own types accept."""
    decision = pytest.importorskip("openai.types.decision")
    body = {"answers": list(answers), "model": "gpt-6-luna-2026", "usage": USAGE}
    decision.Decision.model_validate(body)
    return body


def test_labels_are_one_choice_question_with_what_they_mean():
    (request,) = Decisions(QUESTION, "gpt-6-luna").requests("Where is my parcel?")
    assert request.path == "decisions"
    assert request.body["input"] == "Where is my parcel?"
    (question,) = request.body["questions"]
    assert question["type"] == "choice"
    assert question["choices"] == [
        {"value": "billing", "description": "Charges, invoices, refunds"},
        {"value": "delivery"},
        {"value": "other"},
    ]


def test_probabilities_come_in_the_order_of_labels_and_confidence_is_not_one():
    body = reply(choice({"other": 0.2, "billing": 0.7, "delivery": 0.1}))
    answer = Decisions(QUESTION, "m").read([body])
    np.testing.assert_allclose(answer.probs, [0.7, 0.1, 0.2])
    assert answer.label_mass is None
    np.testing.assert_allclose(read_reply(body, LABELS).probs, [0.7, 0.1, 0.2])


def test_a_predicate_asks_about_the_label_that_a_yes_means():
    protocol = Decisions(Question(("spam", "ham"), {"spam": "Unwanted"}), "m", yes="spam")
    (question,) = protocol.requests("Buy now")[0].body["questions"]
    assert question["type"] == "predicate"
    assert "spam (Unwanted)" in question["instructions"]
    body = reply({"type": "predicate", "name": "label", "probability": 0.9})
    np.testing.assert_allclose(protocol.read([body]).probs, [0.9, 0.1])
    np.testing.assert_allclose(read_reply(body, ("ham", "spam"), yes="spam").probs, [0.1, 0.9])


def test_a_refusal_is_an_answer_of_its_own():
    body = reply({"type": "refusal", "name": "label"})
    for read in (lambda: Decisions(QUESTION, "m").read([body]), lambda: read_reply(body, LABELS)):
        with pytest.raises(BadAnswer, match="declined") as caught:
            read()
        assert caught.value.reason == "refused"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (choice({"billing": 0.5, "other": 0.5}), "no probability for 'delivery'"),
        (
            choice({"billing": 0.5, "delivery": 0.3, "other": 0.1, "x": 0.1}),
            "unknown options 'x'",
        ),
        (choice({"billing": 0.5, "delivery": 0.3, "other": 0.1}), "sum to 0.9"),
        (choice({"billing": math.nan, "delivery": 0.5, "other": 0.5}), "billing is nan"),
        (choice({"billing": True, "delivery": 0.0, "other": 0.0}), "billing is True"),
        (choice({True: 0.5, "delivery": 0.3, "other": 0.2}), "value of an option is True"),
        ({"type": "score", "name": "label", "score": 1.0}, "type of an answer is 'score'"),
        ({"type": "predicate", "name": "label", "probability": 1}, "is 'predicate'; expected 'ch"),
        (choice({"billing": 1.0, "delivery": 0.0, "other": 0.0}, name="mood"), "'mood'; expected"),
        ({"type": "choice"}, "probabilities` is None"),
        ("yes", "answer to label is 'yes'"),
    ],
)
def test_what_is_no_distribution_over_the_labels_is_said(answer, message):
    with pytest.raises(BadAnswer, match=message) as caught:
        Decisions(QUESTION, "m").read([{"answers": [answer]}])
    assert caught.value.reason == "wrong_shape"


def test_an_option_that_is_answered_twice_is_refused():
    twice = choice({"billing": 0.4, "delivery": 0.2, "other": 0.0})
    twice["probabilities"].append({"value": "billing", "probability": 0.4})
    with pytest.raises(BadAnswer, match="answered twice"):
        Decisions(QUESTION, "m").read([{"answers": [twice]}])


def test_groups_are_asked_in_the_same_request_and_multiply():
    groups = given_groups(QUESTION, {"money": ("billing",), "rest": ("delivery", "other")})
    protocol = Decisions(QUESTION, "m", groups=groups)
    (request,) = protocol.requests("text")
    assert [one["name"] for one in request.body["questions"]] == ["group", "label_1"]
    body = reply(
        choice({"billing": 0.4, "rest": 0.6}, "group"),
        choice({"delivery": 0.5, "other": 0.5}, "label_1"),
    )
    np.testing.assert_allclose(protocol.read([body]).probs, [0.4, 0.3, 0.3])
    with pytest.raises(BadAnswer, match="number of `answers` is 1; expected 2"):
        protocol.read([{"answers": body["answers"][:1]}])
