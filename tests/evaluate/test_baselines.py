import numpy as np
import pytest

from tutelage.errors import DataError
from tutelage.evaluate.classes import predictions


def test_majority_answers_with_the_shares_of_train():
    probs = predictions.majority([0, 2, 2, 2, -100], 3, num_classes=3)
    assert probs.shape == (3, 3)
    assert (probs.argmax(axis=1) == 2).all()
    np.testing.assert_allclose(probs[0], [2 / 7, 1 / 7, 4 / 7], rtol=1e-6)


def test_tfidf_learns_a_plain_word_and_leaves_unlabelled_rows_out():
    texts = ["a good thing", "good indeed", "bad thing", "so bad", "good good good"]
    probs = predictions.tfidf_logistic_regression(texts, [2, 2, 0, 0, -1], ["good", "bad", "👍"], 3)
    assert probs[:2].argmax(axis=1).tolist() == [2, 0]
    assert (probs[:, 1] == 0).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, rtol=1e-5)


def test_tfidf_takes_texts_of_signs_alone():
    probs = predictions.tfidf_logistic_regression(["👍", "👎", "👍", "👎"], [1, 0, 1, 0], ["👍"], 2)
    assert probs.argmax() == 1


def test_one_label_is_refused():
    with pytest.raises(DataError, match="2 labelled rows with 1 different labels"):
        predictions.tfidf_logistic_regression(["a", "b"], [1, 1], ["a"], 2)


def test_a_label_out_of_range_is_refused():
    with pytest.raises(DataError, match="label index 3 was given but the task has 3 labels"):
        predictions.majority([3], 1, num_classes=3)
