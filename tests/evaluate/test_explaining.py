"""Why a classifier answers as it does, and whether that is what its answers hang on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tutelage.errors import DataError, ModelError
from tutelage.evaluate.classes.explaining import (
    Subject,
    as_record,
    explain,
    method_for,
    teacher_subject,
)
from tutelage.evaluate.classes.faithfulness import faithfulness
from tutelage.models.contributions import Contributions

LABELS = ["no", "yes"]
WEIGHTS = {"good": 2.0, "fine": 1.0, "bad": -1.5}


def probs(texts: Sequence[str]) -> NDArray[np.float64]:
    """A sum of words, in log-odds."""
    odds = np.array([sum(WEIGHTS.get(word, 0.0) for word in text.split()) for text in texts])
    yes = 1 / (1 + np.exp(-odds))
    return np.stack([1 - yes, yes], axis=1)


BAG = Subject("bag", LABELS, probs)


def drawn(rows: int, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    words = [*WEIGHTS, "the", "film", "was", "a"]
    return [" ".join(generator.choice(words, size=generator.integers(4, 12))) for _ in range(rows)]


def test_leaving_words_out_of_a_sum_gives_its_parts() -> None:
    (found,) = explain(BAG, ["good film bad"], method="occlusion")
    np.testing.assert_allclose(found.words[:, 1], [1.0, 0, -0.75], atol=1e-12)
    np.testing.assert_allclose(found.words.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(found.residual, 0, atol=1e-12)


def test_what_only_several_words_do_is_a_residual() -> None:
    def both(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([[0.1, 0.9] if text == "good film" else [0.5, 0.5] for text in texts])

    (found,) = explain(replace(BAG, probs=both), ["good film"], method="occlusion")
    np.testing.assert_allclose(found.residual, -found.words[0])


def test_probabilities_of_zero_have_a_logarithm() -> None:
    (found,) = explain(
        replace(BAG, probs=lambda texts: np.array([[0.0, 1.0]] * len(texts))),
        ["a b"],
        method="occlusion",
    )
    assert np.isfinite(found.logits).all()


def test_the_method_is_the_best_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(_: str) -> Any:
        return None

    where = "tutelage.evaluate.classes.explaining.find_spec"
    monkeypatch.setattr(where, lambda name: object())
    network, both = replace(BAG, integrated=told), replace(BAG, integrated=told, exact=told)
    assert [method_for(one) for one in (BAG, network, both)] == ["occlusion", "gradients", "exact"]
    assert method_for(both, "occlusion") == "occlusion"
    monkeypatch.setattr(where, lambda name: None)
    assert method_for(network) == "occlusion"
    with pytest.raises(ModelError, match=r"bag is no sum.*kind: linear.*--method occlusion"):
        method_for(network, "exact")
    with pytest.raises(ModelError, match=r"bag has no gradients.*--method occlusion"):
        method_for(BAG, "gradients")


def test_a_record_has_words_in_order_and_sums_by_label() -> None:
    text = " good  bad"
    (found,) = explain(BAG, [text], method="occlusion")
    record = as_record(text, found, LABELS, "occlusion")
    assert [(one["word"], one["start"], one["end"]) for one in record["words"]] == [
        ("good", 1, 5),
        ("bad", 7, 10),
    ]
    assert "steps" not in record
    for label in LABELS:
        total = sum(one["logits"][label] for one in record["words"])
        total += record["baseline"][label] + record["residual"][label]
        assert total == pytest.approx(record["logits"][label])


class Recorded:
    """A teacher that has answers, and may have another side for new texts."""

    fingerprint = "recorded"
    labels = ("no", "yes")

    def label(self, examples: Sequence[Any]) -> NDArray[np.float32]:
        return probs([example.text for example in examples]).astype(np.float32)


def test_any_teacher_that_answers_is_explained() -> None:
    subject = teacher_subject(Recorded())
    assert method_for(subject) == "occlusion"
    (found,) = explain(subject, ["good bad"], method="occlusion")
    np.testing.assert_allclose(found.words[:, 1], [1.0, -0.75], atol=1e-5)


def test_explanations_of_a_sum_are_faithful() -> None:
    texts = drawn(60)
    found = list(explain(BAG, texts, method="occlusion"))
    measured = faithfulness(BAG, texts, found, samples=200)
    assert measured["texts"] == 60
    assert measured["difference"]["low"] > 0.1
    assert measured["shares"][0] == 0
    assert measured["by_contribution"][0] == pytest.approx(measured["random"][0])
    assert measured["by_contribution"][-1] == pytest.approx(0.5)
    areas = [
        np.trapezoid(measured[key], measured["shares"]) for key in ("random", "by_contribution")
    ]
    assert areas[0] - areas[1] == pytest.approx(measured["difference"]["value"])


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_explanations_are_not_faithful(seed: int) -> None:
    texts = drawn(60)
    generator = np.random.default_rng(seed)
    shuffled = [
        replace(one, words=generator.permutation(one.words))
        for one in explain(BAG, texts, method="occlusion")
    ]
    measured = faithfulness(BAG, texts, shuffled, samples=200)
    assert abs(measured["difference"]["value"]) < 0.06
    assert measured["difference"]["low"] < 0.03


def test_explanations_turned_round_are_worse_than_chance() -> None:
    texts = drawn(60)
    turned = [replace(one, words=-one.words) for one in explain(BAG, texts, method="occlusion")]
    assert faithfulness(BAG, texts, turned, samples=200)["difference"]["high"] < -0.1


def test_texts_of_one_word_have_no_order() -> None:
    found = list(explain(BAG, ["good", "good bad"], method="occlusion"))
    assert faithfulness(BAG, ["good", "good bad"], found, samples=10)["texts"] == 1
    with pytest.raises(DataError, match="no text has two words"):
        faithfulness(BAG, ["good"], found[:1])


def test_a_contribution_without_a_path_has_no_steps() -> None:
    one = Contributions([(0, 1)], np.zeros((1, 2)), np.zeros(2), np.zeros(2), steps=32)
    assert as_record("a", one, LABELS, "gradients")["steps"] == 32
