from __future__ import annotations

import pytest

from tutelage.teachers.api.protocols.wording import named_label, plainly_different

WORDS = [("billing", "money"), ("billing issue",), ("delivery",), ("Übergabe",)]


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ("billing", 0),
        (" **Billing**.\n", 0),
        ("money", 0),
        ("billing issue", 1),
        ("Billing issue, because", 1),
        ("billing, because of an issue", 0),
        ("deliv", 2),
        ("delivery_time", None),
        ("U\u0308bergabe", 3),
        ("bill", None),
        ("The label is billing", None),
        ("", None),
        ("...", None),
    ],
)
def test_an_answer_names_a_label_exactly_or_as_its_only_beginning(answer, place):
    assert named_label(answer, WORDS) == place


@pytest.mark.parametrize(
    ("answer", "place"),
    [("B", 1), ("b", 1), ("(B)", 1), ("B. delivery", 1), ("A problem", None), ("delivery", 1)],
)
def test_a_letter_counts_alone_or_before_a_sign(answer, place):
    assert named_label(answer, [("A", "money"), ("B", "delivery")]) == place


def test_case_can_be_told_apart():
    words = [("US",), ("us",)]
    assert named_label("us", words, case=True) == 1
    assert named_label("us", words) is None


def test_first_characters_tell_labels_apart_or_do_not():
    assert plainly_different([("good",), ("bad", "Bad")])
    assert not plainly_different([("billing",), ("Business",)])
