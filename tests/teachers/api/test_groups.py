from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.teachers.api.protocol import Answer, Question
from tutelage.teachers.api.protocols.groups import (
    found_groups,
    given_groups,
    group_problems,
)

BANKING = (
    "card_arrival",
    "card_linking",
    "card_not_working",
    "top_up_failed",
    "top_up_limits",
    "top_up_by_card_charge",
    "exchange_rate",
    "exchange_charge",
    "exchange_via_app",
)
QUESTION = Question(BANKING, {"card_arrival": "When will my card come?"}, "Which topic?")


def members(groups) -> list[list[str]]:
    return [[groups.question.labels[place] for place in places] for places in groups.members]


def test_groups_hold_what_says_similar_things():
    assert members(found_groups(QUESTION, 4)) == [
        ["card_arrival", "card_linking", "card_not_working"],
        ["top_up_failed", "top_up_limits", "top_up_by_card_charge"],
        ["exchange_rate", "exchange_charge", "exchange_via_app"],
    ]


@given(
    st.lists(st.text("abcd _é", min_size=1, max_size=12), min_size=4, max_size=60, unique=True),
    st.integers(2, 9),
)
@settings(max_examples=60, deadline=None)
def test_every_label_is_in_one_group_that_is_not_too_large(labels, most):
    labels = labels[: most * most]
    groups = found_groups(Question(tuple(labels)), most)
    assert sorted(place for places in groups.members for place in places) == list(
        range(len(labels))
    )
    assert max(len(places) for places in groups.members) <= most
    assert 1 <= len(groups.members) <= most
    assert len(set(groups.names)) == len(groups.names)
    assert groups == found_groups(Question(tuple(labels)), most)


def test_questions_name_groups_and_what_is_in_them():
    groups = given_groups(
        Question(("a", "b", "c"), {"a": "first", "c": "third"}),
        {"ab": ("b", "a"), "alone": ("c",)},
    )
    first, within = groups.questions
    assert first.labels == ("ab", "c")
    assert first.descriptions == {"ab": "one of these: b; a (first)", "c": "third"}
    assert within.labels == ("b", "a")
    assert "Suppose" in (within.instruction or "")


def test_answers_multiply_by_the_chain_rule():
    groups = given_groups(Question(("a", "b", "c")), {"ab": ("b", "a"), "alone": ("c",)})
    first = Answer(np.array([0.8, 0.2]), label_mass=0.9, unlisted=0.1, votes=0)
    within = Answer(np.array([0.75, 0.25]), label_mass=0.5, unlisted=0.2, votes=0)
    answer = groups.combined([first, within])
    np.testing.assert_allclose(answer.probs, [0.2, 0.6, 0.2])
    assert answer.label_mass == pytest.approx(0.9 * (0.8 * 0.5 + 0.2))
    assert answer.unlisted == pytest.approx(0.1 + 0.8 * 0.2)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"x": ("a", "b"), "y": ()}, "'y' has no labels"),
        ({"x": ("a", "b"), "y": ("d",)}, "'d', which is not one of the labels"),
        ({"x": ("a", "b"), "y": ("b", "c")}, "'b' stands in the groups 'x' and 'y'"),
        ({"x": ("a",), "y": ("b",)}, "no group has 'c'"),
        ({"c": ("a", "b"), "y": ("c",)}, "has the name of a label"),
    ],
)
def test_groups_that_do_not_fit_the_labels_are_told(groups, message):
    assert any(message in text for text in group_problems(Question(("a", "b", "c")), groups))
    assert not group_problems(Question(("a", "b", "c")), {"x": ("a", "b"), "y": ("c",)})
