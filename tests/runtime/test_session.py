import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.runtime.tiny_bundles import LABELS, describe, write_ngrams, write_tokens

from tutelage_runtime import BundleError, TextError, load
from tutelage_runtime.encoding import Encoded, feed
from tutelage_runtime.ngrams import NGrams
from tutelage_runtime.session import MOST_PLACES, softmax

MANY = [" ".join(["a fine film"] * (place % 9)) for place in range(40)]


def test_a_student_tells_what_it_is(bundle):
    student = load(bundle)
    assert student.labels == LABELS
    assert student.question.descriptions == {"yes": "It is so."}
    assert student.version == json.loads((bundle / "student.json").read_text())["version"]


def test_probabilities_are_those_of_logits_at_the_temperature(tokenizer, tmp_path):
    student = load(write_tokens(tmp_path, tokenizer, temperature=2.5))
    answers, (logits, features) = student.answer(MANY), student.logits(MANY)
    wide = np.exp(logits.astype(np.float64) / 2.5)
    np.testing.assert_allclose(answers.probs, wide / wide.sum(1, keepdims=True), atol=1e-6)
    assert answers.probs.dtype == answers.features.dtype == np.float32
    np.testing.assert_array_equal(answers.features, features)
    np.testing.assert_array_equal(student.probs(MANY), answers.probs)


def test_neither_order_nor_company_changes_an_answer(bundle):
    student = load(bundle)
    alone = np.concatenate([student.logits([text])[0] for text in MANY])
    together, backwards = student.logits(MANY)[0], student.logits(MANY[::-1])[0]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(backwards[::-1], alone, atol=1e-5)
    assert np.ptp(alone, axis=0).min() > 0.01


def test_batches_are_bounded_by_their_places(bundle, monkeypatch):
    student = load(bundle)
    shapes = []
    graph = student._graph

    class Watched:
        def run(self, names, arrays):
            shapes.append(arrays["input_ids"].shape)
            return graph.run(names, arrays)

    monkeypatch.setattr(student, "_graph", Watched())
    student.logits(["film"] * 500 + ["a fine film " * 6] * 700)
    assert sum(texts for texts, _ in shapes) == 1200
    assert all(texts * places <= MOST_PLACES for texts, places in shapes)
    assert max(texts for texts, _ in shapes) > 100
    assert shapes[-1][1] < 16


@pytest.mark.parametrize("inputs", ["tokens", "rows", "ngrams"])
def test_texts_with_nothing_to_read_are_answered(inputs, tokenizer, tmp_path):
    if inputs == "ngrams":
        grams = NGrams(["fine"], [], longest_words=1, longest_characters=0)
        student = load(write_ngrams(tmp_path, grams))
    else:
        student = load(write_tokens(tmp_path, tokenizer, pairs=[] if inputs == "rows" else None))
    alone, together = student.answer([""]), student.answer(["a fine film", " ", ""])
    np.testing.assert_array_equal(alone.features, np.zeros((1, 4)))
    np.testing.assert_allclose(together.probs[1:], np.repeat(alone.probs, 2, 0), atol=1e-6)
    assert np.ptp(together.probs, axis=0).min() > 1e-3


def test_a_text_with_nothing_to_read_takes_one_place_that_does_not_count():
    arrays = feed("tokens", [Encoded([])], pad_id=7)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "input_ids": [[7]],
        "attention_mask": [[0]],
    }
    arrays = feed("ngrams", [Encoded([], 1.0), Encoded([3, 4], 0.5)], pad_id=7)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "rows": [[0, 0], [3, 4]],
        "mask": [[0.0, 0.0], [1.0, 1.0]],
        "scale": [[1.0], [0.5]],
    }


def test_no_texts_give_no_answers(bundle):
    answers = load(bundle).answer([])
    assert answers.probs.shape == (0, 3)
    assert answers.features.shape == (0, 4)


def test_many_threads_get_the_answers_of_one(bundle):
    student = load(bundle)
    expected = [student.probs([text]) for text in MANY]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: student.probs([text]), MANY * 5))
    for place, one in enumerate(found):
        np.testing.assert_array_equal(one, expected[place % len(MANY)])


def test_longer_texts_are_cut_at_max_length(bundle):
    student = load(bundle)
    [long] = student.encode(["a fine film " * 50])
    assert len(long.ids) == 16
    assert student.encode(["a fine film " * 3]) != [long]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a film", "one text was given where several are expected: put it into a list"),
        (["a", 5], "text 1 is of type int; expected str"),
        (["a", b"b"], "text 1 is of type bytes"),
        (["é \ud83d!"], r"text 0 has a lone surrogate (U+D83D) as character 2"),
    ],
)
def test_what_is_no_text_is_refused(bundle, given, message):
    with pytest.raises(TextError, match=re.escape(message)):
        load(bundle).answer(given)


def test_a_damaged_graph_is_refused_in_one_line(tokenizer, tmp_path):
    write_tokens(tmp_path, tokenizer)
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(BundleError, match=r"model\.onnx is not what was exported"):
        load(tmp_path)
    with pytest.raises(BundleError, match=r"cannot be run by onnxruntime .*: export the student"):
        load(tmp_path, verify=False)


def test_a_damaged_tokenizer_is_refused(tokenizer, tmp_path):
    write_tokens(tmp_path, tokenizer)
    (tmp_path / "tokenizer.json").write_text("{}")
    describe(tmp_path)
    with pytest.raises(BundleError, match=r"cannot be read \(ValueError: .*export the student"):
        load(tmp_path)


def test_softmax_stays_finite():
    probs = softmax(np.array([[1e4, -1e4, 0.0], [-1e30, 0.0, 0.0]]))
    np.testing.assert_allclose(probs, [[1, 0, 0], [0, 0.5, 0.5]])


def test_importing_brings_no_library_that_only_answering_needs():
    code = (
        "import sys, tutelage_runtime\n"
        "print(sorted({'onnxruntime', 'tokenizers', 'csv', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
