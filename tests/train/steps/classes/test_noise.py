"""Word dropout: how often, where, and always the same."""

import numpy as np
import pytest

from tutelage.data.examples.collate import EncodedSet
from tutelage.errors import DataError
from tutelage.train.steps.classes.rows import WordDropout

LENGTHS = np.array([3, 50, 1, 20])


def test_step_and_seed_decide():
    noise = WordDropout(0.3, 1, 0)
    assert (noise.hidden(LENGTHS, step=5) == noise.hidden(LENGTHS, step=5)).all()
    assert (noise.hidden(LENGTHS, step=5) != noise.hidden(LENGTHS, step=6)).any()
    assert (noise.hidden(LENGTHS, step=5) != WordDropout(0.3, 1, 1).hidden(LENGTHS, step=5)).any()


def test_the_share_is_met_and_padding_left_alone():
    hidden = np.concatenate(
        [WordDropout(0.3, 1, 0).hidden(LENGTHS, step=step).ravel() for step in range(300)]
    )
    words = np.tile((np.arange(50) < LENGTHS[:, None]).ravel(), 300)
    assert not hidden[~words].any()
    assert abs(hidden[words].mean() - 0.3) < 0.01


def test_marks_at_the_ends_stay():
    hidden = np.any(
        [WordDropout(0.5, 1, 0, True, True).hidden(LENGTHS, step=step) for step in range(50)],
        axis=0,
    )
    assert not hidden[:, 0].any()
    assert not hidden[np.arange(4), LENGTHS - 1].any()
    assert hidden[1, 1:49].all()


@pytest.mark.parametrize(
    ("rows", "first", "last"),
    [
        ([[5, 1, 6], [5, 2, 6]], True, True),
        ([[5, 1, 6], [5, 2, 7]], True, False),
        ([[1, 2], [3, 4]], False, False),
    ],
)
def test_a_token_that_every_row_starts_or_ends_with_is_a_mark(rows, first, last):
    noise = WordDropout.for_rows(
        EncodedSet(rows, np.zeros(len(rows), dtype=int)), share=0.1, unknown_id=1, seed=0
    )
    assert (noise.keep_first, noise.keep_last) == (first, last)


def test_dropping_words_needs_something_in_their_place():
    rows = EncodedSet([[1]], np.array([0]))
    with pytest.raises(
        DataError,
        match=r"word_dropout=0.1 given, but the tokenizer has neither .* set word_dropout: 0",
    ):
        WordDropout.for_rows(rows, share=0.1, unknown_id=None, seed=0)
    assert WordDropout.for_rows(rows, share=0.0, unknown_id=None, seed=0).share == 0
