from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.teachers.api.protocol import BadAnswer, Question
from tutelage.teachers.api.protocols.groups import given_groups
from tutelage.teachers.api.protocols.systemone import SystemOne, read_reply

LABELS = ("billing", "delivery", "other")
QUESTION = Question(LABELS, {"billing": "Charges, invoices, refunds"})


def choice(probs: dict) -> dict:
    return {
        "type": "choice",
        "choice": next(iter(probs)),
        "confidence": 0.01,
        "probabilities": probs,
    }


def reply(**answers: dict) -> dict:
    """A reply that TypeSafe's own types accept."""
    models = pytest.importorskip("typesafe_sdk._schemas.models")
    body = {
        "model": "jev",
        "answers": answers,
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }
    models.SystemOneResponse.model_validate(body)
    return body


def test_labels_are_the_criteria_of_one_choice_question():
    models = pytest.importorskip("typesafe_sdk._schemas.models")
    (request,) = SystemOne(QUESTION, "jev-latest").requests("Where is my parcel?")
    assert request.path == "systemone"
    models.SystemOneRequest.model_validate(request.body)
    assert request.body["state"] == "Where is my parcel?"
    asked = request.body["questions"]["label"]
    assert asked["criteria"] == {
        "billing": "Charges, invoices, refunds",
        "delivery": None,
        "other": None,
    }
    assert set(asked) == {"type", "instructions", "criteria"}  # vLLM refuses any other


def test_probabilities_and_the_share_on_labels_are_read_confidence_is_not():
    body = reply(label=choice({"other": 0.2, "billing": 0.7, "delivery": 0.1}))
    assert SystemOne(QUESTION, "m").read([body]).label_mass is None
    body["diagnostics"] = {"label": {"label_mass": 0.93, "argmax_is_label": True}}
    answer = SystemOne(QUESTION, "m").read([body])
    np.testing.assert_allclose(answer.probs, [0.7, 0.1, 0.2])
    assert answer.label_mass == 0.93
    other = {**body, "answers": {"mood": body["answers"]["label"]}, "diagnostics": None}
    np.testing.assert_allclose(read_reply(other, LABELS).probs, [0.7, 0.1, 0.2])


def test_two_labels_are_asked_as_noul():
    models = pytest.importorskip("typesafe_sdk._schemas.models")
    protocol = SystemOne(Question(("ham", "spam"), {"spam": "Unwanted"}), "m", yes="spam")
    (request,) = protocol.requests("Buy now")
    models.SystemOneRequest.model_validate(request.body)
    assert request.body["questions"]["label"]["criteria"] == {"true": "Unwanted"}
    body = reply(label={"type": "noul", "noul": 0.9})
    np.testing.assert_allclose(protocol.read([body]).probs, [0.1, 0.9])
    np.testing.assert_allclose(read_reply(body, ("spam", "ham"), yes="spam").probs, [0.9, 0.1])


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "ids of `answers` is \\[\\]; expected 'label'"),
        ({"label": {"type": "noul", "noul": 0.5}}, "type of an answer is 'noul'"),
        ({"label": choice({"billing": 1.0})}, "no probability for 'delivery', 'other'"),
        ({"label": choice({"billing": 1, "delivery": math.nan, "other": 0})}, "delivery is nan"),
        ({"label": choice({"billing": "1", "delivery": 0, "other": 0})}, "billing is '1'"),
        ({"label": choice({"billing": 0.4, "delivery": 0.1, "other": 0.1})}, "sum to 0.6"),
        ({"label": {"type": "choice", "probabilities": [0.1]}}, "`probabilities` is \\[0.1\\]"),
        ([], "`answers` is \\[\\]; expected an object"),
    ],
)
def test_what_is_no_distribution_over_the_labels_is_said(answers, message):
    with pytest.raises(BadAnswer, match=message) as caught:
        SystemOne(QUESTION, "m").read([{"answers": answers}])
    assert caught.value.reason == "wrong_shape"


def test_a_refusal_is_an_answer_of_its_own():
    with pytest.raises(BadAnswer, match="declined") as caught:
        SystemOne(QUESTION, "m").read([{"answers": {"label": {"type": "refusal"}}}])
    assert caught.value.reason == "refused"


def test_a_noul_is_a_probability():
    protocol = SystemOne(Question(("ham", "spam")), "m", yes="spam")
    for wrong in (True, "0.5", None, 1.5, math.nan):
        with pytest.raises(BadAnswer, match="`noul` is"):
            protocol.read([{"answers": {"label": {"type": "noul", "noul": wrong}}}])


def test_groups_are_several_ids_and_shares_on_labels_multiply():
    groups = given_groups(QUESTION, {"money": ("billing",), "rest": ("delivery", "other")})
    protocol = SystemOne(QUESTION, "m", groups=groups)
    assert list(protocol.requests("x")[0].body["questions"]) == ["group", "label_1"]
    body = reply(
        group=choice({"billing": 0.4, "rest": 0.6}), label_1=choice({"delivery": 0.5, "other": 0.5})
    )
    body["diagnostics"] = {"group": {"label_mass": 0.9}, "label_1": {"label_mass": 0.5}}
    answer = protocol.read([body])
    np.testing.assert_allclose(answer.probs, [0.4, 0.3, 0.3])
    assert answer.label_mass == pytest.approx(0.9 * (0.4 + 0.6 * 0.5))
