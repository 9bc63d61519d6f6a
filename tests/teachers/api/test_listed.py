from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.teachers.api.protocol import BadAnswer
from tutelage.teachers.api.protocols.listed import read_listed, read_places


def place(taken: str, probs: dict[str, float]) -> dict:
    """One place of `logprobs.content`, the taken token in the list or not."""
    top = [{"token": token, "logprob": math.log(prob)} for token, prob in probs.items()]
    return {"token": taken, "logprob": math.log(probs[taken]), "top_logprobs": top}


def read(content: list[dict], labels, **more):
    return read_listed(read_places(content), [(label,) for label in labels], **more)


def test_labels_of_one_token_are_read_at_the_first_place():
    answer = read([place("B", {"B": 0.6, "A": 0.3, "C": 0.1})], "ABC", case=True)
    np.testing.assert_allclose(answer.probs, [0.3, 0.6, 0.1])
    assert answer.label_mass == pytest.approx(1.0)
    assert answer.unlisted == pytest.approx(0.0)


def test_variants_of_a_word_are_added():
    content = [place(" Good", {" Good": 0.5, "good": 0.2, "**good": 0.1, "bad": 0.1, "The": 0.1})]
    answer = read(content, ["good", "bad"])
    np.testing.assert_allclose(answer.probs, [0.8 / 0.9, 0.1 / 0.9])
    assert answer.label_mass == pytest.approx(0.9)
    with_case = read(content, ["good", "bad"], case=True)
    np.testing.assert_allclose(with_case.probs, [0.3 / 0.4, 0.1 / 0.4])


def test_a_letter_is_not_the_beginning_of_a_word():
    answer = read([place("A", {"A": 0.4, "Apple": 0.3, "B)": 0.3})], "AB", case=True)
    np.testing.assert_allclose(answer.probs, [0.4 / 0.7, 0.3 / 0.7])


def test_a_missing_label_is_bounded_by_the_least_that_is_listed_and_counts_half():
    answer = read([place("A", {"A": 0.8, "x": 0.05})], "ABC", case=True)
    assert answer.unlisted == pytest.approx(0.1)  # two labels of at most 0.05
    np.testing.assert_allclose(answer.probs, np.array([0.8, 0.025, 0.025]) / 0.85)
    assert answer.label_mass == pytest.approx(0.8)


def test_missing_labels_have_no_more_than_the_list_leaves():
    answer = read([place("A", {"A": 0.9, "x": 0.08})], "ABC", case=True)
    assert answer.unlisted == pytest.approx(0.02)


def test_9999_is_a_token_that_is_not_listed():
    content = [place("A", {"A": 0.9})]
    content[0]["top_logprobs"].append({"token": "B", "logprob": -9999.0})
    answer = read(content, "AB", case=True)
    assert answer.unlisted == pytest.approx(0.1)
    np.testing.assert_allclose(answer.probs, [0.9 / 0.95, 0.05 / 0.95])


def test_labels_with_a_common_beginning_are_told_apart_at_the_next_place():
    labels = ["card arrival", "card linking", "top up"]
    content = [
        place("card", {"card": 0.8, "top": 0.2}),
        place(" arrival", {" arrival": 0.75, " linking": 0.25}),
    ]
    answer = read(content, labels)
    np.testing.assert_allclose(answer.probs, [0.6, 0.2, 0.2])
    assert answer.unlisted == pytest.approx(0.0)


def test_a_common_beginning_that_was_not_taken_is_divided_and_counts_as_bound():
    labels = ["card arrival", "card linking", "top up"]
    answer = read([place("top", {"card": 0.4, "top": 0.6})], labels)
    np.testing.assert_allclose(answer.probs, [0.2, 0.2, 0.6])
    assert answer.unlisted == pytest.approx(0.4)


def test_a_label_that_begins_another_is_the_one_that_is_spelled_in_full():
    answer = read([place("neg", {"neg": 0.4, "pos": 0.6})], ["pos", "positive", "neg"])
    np.testing.assert_allclose(answer.probs, [0.6, 0.0, 0.4])
    assert answer.unlisted == pytest.approx(0.6)
    content = [place("pos", {"neg": 0.4, "pos": 0.6}), place("\n", {"\n": 0.5, "itive": 0.5})]
    answer = read(content, ["pos", "positive", "neg"])
    np.testing.assert_allclose(answer.probs, [0.3, 0.3, 0.4])
    assert answer.unlisted == pytest.approx(0.0)


def test_white_space_before_a_label_is_walked_over():
    content = [place("\n", {"\n": 0.9, "good": 0.1}), place("bad", {"bad": 0.5, "good": 0.5})]
    answer = read(content, ["good", "bad"])
    np.testing.assert_allclose(answer.probs, [0.55, 0.45])


def test_a_word_that_only_began_like_a_label_is_not_taken_for_it():
    content = [place("I", {"I": 0.9, "sports": 0.1}), place(" think", {" think": 1.0})]
    answer = read(content, ["irrelevant", "sports"])
    np.testing.assert_allclose(answer.probs, [0.0, 1.0])
    assert answer.label_mass == pytest.approx(0.1)


def test_a_list_without_a_label_is_unparsable():
    with pytest.raises(BadAnswer, match="the first are 'The', 'I'") as caught:
        read([place("The", {"The": 0.9, "I": 0.1})], ["good", "bad"])
    assert caught.value.reason == "unparsable"
    with pytest.raises(BadAnswer, match="the first are nothing"):
        read([], ["good", "bad"])


@pytest.mark.parametrize("wrong", [True, "0", None, 0.5, math.nan])
def test_a_logprob_is_a_number_that_is_not_above_0(wrong):
    with pytest.raises(BadAnswer, match="expected a log-probability"):
        read_places([{"token": "A", "logprob": wrong, "top_logprobs": []}])


LABELS = ("card arrival", "card linking", "card", "top up", "transfer", "cash back")


@st.composite
def models(draw):
    """A model that answers one of the labels, in pieces of words: its truth, and what a server
    lists of it."""
    weights = draw(
        st.lists(st.floats(0.01, 1.0), min_size=len(LABELS), max_size=len(LABELS)).map(np.array)
    )
    cuts = [draw(st.integers(1, len(label))) for label in LABELS]
    return weights / weights.sum(), cuts, draw(st.integers(1, 8))


@given(models())
@settings(max_examples=200, deadline=None)
def test_estimates_are_off_by_no_more_than_the_bound(model):
    truth, cuts, listed = model
    pieces = [[label[:cut], label[cut:] + "<end>"] for label, cut in zip(LABELS, cuts, strict=True)]
    content, before = [], ""
    while not before.endswith("<end>") and len(content) < 3:
        following: dict[str, float] = {}
        for prob, parts in zip(truth, pieces, strict=True):
            if before and before != parts[0]:
                continue
            token = parts[1] if before else parts[0]
            following[token] = following.get(token, 0.0) + prob
        total = sum(following.values())
        ranked = sorted(following.items(), key=lambda one: -one[1])
        content.append(place(ranked[0][0], {t: p / total for t, p in ranked[:listed]}))
        before += ranked[0][0]
    answer = read(content, LABELS)
    assert answer.probs.sum() == pytest.approx(1.0)
    assert np.abs(answer.probs - truth).max() <= answer.unlisted + 1e-9
