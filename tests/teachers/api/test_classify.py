from __future__ import annotations

import numpy as np
import pytest

from tutelage.teachers.api.protocol import BadAnswer, Question
from tutelage.teachers.api.protocols.classify import Classify

LABELS = ("negative", "positive")


def reply(probs, label=None, **more) -> dict:
    told = {"index": 0, "label": label, "probs": probs, "num_classes": len(probs)}
    return {"id": "classify-1", "object": "list", "model": "m", "data": [told], **more}


def read(body, *, labels=LABELS, **more) -> np.ndarray:
    return Classify(Question(labels), "m", **more).read([body]).probs


def test_a_text_is_asked_about_below_the_servers_root():
    (request,) = Classify(Question(LABELS), "bert").requests("Good film")
    assert request.path == "/classify"
    assert request.body == {"model": "bert", "input": "Good film"}


@pytest.mark.parametrize("label", [None, "", "positive", "POSITIVE", "LABEL_1"])
def test_probabilities_stand_in_the_servers_order(label):
    np.testing.assert_allclose(read(reply([0.2, 0.8], label)), [0.2, 0.8])


def test_the_servers_own_order_and_its_other_classes_can_be_given():
    protocol = Classify(Question(LABELS), "m", label_names=("positive", "neutral", "negative"))
    answer = protocol.read([reply([0.6, 0.2, 0.2], "good")])
    np.testing.assert_allclose(answer.probs, [0.25, 0.75])
    assert answer.label_mass == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (reply([0.2, 0.8], "negative"), "its classes have another order"),
        (reply([0.2, 0.8], "joy"), "calls a class 'joy', which is none of the labels"),
        (reply([0.2, 0.3, 0.5]), "classes is 3; expected 2; list its classes"),
        (reply([0.2, 0.2]), "sum to 0.4"),
        (reply([True, False]), "negative is True"),
        ({"data": []}, "answers in `data` is 0"),
        ({"data": {"probs": [0.2, 0.8]}}, "`data` is {'probs'"),
        ({"error": "no"}, "`data` is None"),
    ],
)
def test_what_is_no_answer_about_these_labels_is_said(body, message):
    with pytest.raises(BadAnswer, match=message) as caught:
        read(body)
    assert caught.value.reason == "wrong_shape"


def test_probability_on_other_classes_only_is_no_answer():
    with pytest.raises(BadAnswer, match="none of the labels") as caught:
        read(reply([0.0, 1.0, 0.0]), label_names=("positive", "neutral", "negative"))
    assert caught.value.reason == "unparsable"
