"""Numbers of parts of a text, by word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.models.contributions import Contributions, by_word, without, word_spans


def test_words_are_runs_without_space_and_signs_of_scripts_without_spaces() -> None:
    text = " It's fun!\n很好 ok"
    words = [text[begin:end] for begin, end in word_spans(text)]
    assert words == ["It's", "fun!", "很", "好", "ok"]


@pytest.mark.parametrize(
    ("place", "word"),
    [((0, 3), 0), ((1, 3), 0), ((3, 7), 1), ((4, 8), 1), ((7, 8), 2), ((0, 10), 2), ((11, 12), 2)],
)
def test_a_part_belongs_to_the_word_that_it_ends_in(place: tuple[int, int], word: int) -> None:
    text = "not bad  at "
    expected = np.zeros((3, 2))
    expected[word] = [1, 2]
    assert by_word(text, [place], np.array([[1.0, 2.0]])).tolist() == expected.tolist()


@given(st.text(min_size=1), st.data())
def test_nothing_gets_lost_by_words(text: str, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.integers(1, len(text)), min_size=1))
    places = [(data.draw(st.integers(0, end - 1)), end) for end in ends]
    parts = np.arange(1.0, len(places) + 1)[:, None]
    sums = by_word(text, [*places, (0, 0)], np.append(parts, [[99.0]], axis=0))
    assert sums.sum() == (parts.sum() if word_spans(text) else 0)


def test_leaving_out_words_takes_the_space_before_them() -> None:
    text = "So,  not bad!"
    spans = word_spans(text)
    assert without(text, spans, set()) == text
    assert without(text, spans, {0}) == "not bad!"
    assert without(text, spans, {1, 2}) == "So,"
    assert without(text, spans, {0, 1, 2}) == ""


def test_a_push_is_against_the_mean_and_a_residual_is_what_is_left() -> None:
    words = np.array([[3.0, 0, 0], [0, 1, 2]])
    found = Contributions([(0, 1), (2, 3)], words, np.array([4.0, 1, 1]), np.array([1.0, 0, 0]))
    assert found.pushes(0).tolist() == [2, -1]
    assert found.residual.tolist() == [0, 0, -1]
