"""What networks and sums say of their words: complete, in place, and of the answers that they
give."""

from __future__ import annotations

import numpy as np
import pytest
from tests.students.linear_rows import LABELS as THREE
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from tutelage.models.contributions import word_spans
from tutelage.models.gradients import RELATIVE_TOLERANCE, TOLERANCE
from tutelage.students import RNN, Predictor, Transformer, train_tokenizer
from tutelage.students.classifier.answering import Differentiable, Explained
from tutelage.students.classifier.linear.model import LinearClassifier
from tutelage.students.classifier.linear.ngrams import NGrams, find_ngrams
from tutelage.students.classifier.pooled import PooledForSequenceClassification
from tutelage.students.configurations import PooledConfig

TEXTS = ["It's not a good film, naïve and boring!", "great", "  awful\tplot  "]


def names(labels):
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {name: i for i, name in enumerate(labels)},
    }


def predictor_of(kind, texts, labels, teacher):
    """A tiny network whose weights are large enough for words to matter."""
    if kind in ("gru", "transformer"):
        spec = (
            RNN(labels=labels, cell="gru", hidden_size=8, embedding_size=8, embeddings="random")
            if kind == "gru"
            else Transformer(labels=labels, layers=2, hidden_size=16, embeddings="random")
        )
        model, tokenizer = spec.build(texts, language_model=teacher)
    elif kind == "bert":
        tokenizer = train_tokenizer(texts, vocabulary_size=400, boundaries=True)
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = BertConfig(vocab_size=400, intermediate_size=16, **shape, **names(labels))
        model = BertForSequenceClassification(config)
    else:
        tokenizer = teacher.tokenizer
        tokenizer.pad_token = tokenizer.eos_token
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        shape |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        config = LlamaConfig(intermediate_size=16, **shape, **names(labels))
        if kind == "llama":  # pools the last token that is no padding, which it finds by its id
            model = LlamaForSequenceClassification(config)
        else:  # and this leaves the begin token out of the mean, which it finds by its id
            begin = tokenizer.convert_tokens_to_ids("film")
            more = {"pooling": ["mean", "last"], "begin_token_id": begin}
            settings = PooledConfig(text_config=config, **more, **names(labels))
            model = PooledForSequenceClassification(settings)
    generator = np.random.default_rng(0)
    for weight in model.parameters():
        noise = generator.normal(0, 0.3, weight.shape)
        weight.data += weight.data.new_tensor(noise)
    return Predictor(model, tokenizer)


@pytest.mark.parametrize("kind", ["gru", "transformer", "bert", "llama", "pooled"])
def test_integrated_gradients_are_complete(kind, texts, labels, teacher):
    pytest.importorskip("captum", reason="captum is not installed")
    student = predictor_of(kind, texts, labels, teacher)
    assert isinstance(student, Differentiable)
    assert student.integrated is not None
    for text in TEXTS:
        found = student.integrated(text)
        assert found.spans == word_spans(text)
        difference = np.abs(found.logits - found.baseline)
        allowed = np.maximum(TOLERANCE, RELATIVE_TOLERANCE * difference)
        assert (np.abs(found.residual) <= allowed).all()
        assert difference.max() > 0.05
        assert (np.abs(found.words).max(axis=1) > 0).all()
        odds = np.exp(found.logits - found.logits.max())
        np.testing.assert_allclose(odds / odds.sum(), student.probs([text])[0], atol=1e-5)


def test_weights_of_few_digits_have_no_gradients(texts, labels, teacher):
    student = predictor_of("bert", texts, labels, teacher)
    student.model.bfloat16()
    assert student.integrated is None


def ngrams_of(texts, **more):
    reading = {"longest_words": 3, "longest_characters": 4, "max_length": 9, "lowercase": True}
    return find_ngrams(texts, reading | more, fewest_texts=1, most=1000)


@pytest.mark.parametrize("lowercase", [True, False])
def test_words_of_a_sum_are_exact(texts, lowercase):
    ngrams = ngrams_of([*texts, *TEXTS], lowercase=lowercase)
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(len(ngrams), 3))
    weights[0] = 0
    student = LinearClassifier(ngrams, weights, generator.normal(size=3), labels=THREE)
    assert isinstance(student, Explained)
    for text in [*texts[:20], *TEXTS, "İstanbul İS GOOD", "unknown", "a " * 30]:
        found = student.by_word(text)
        np.testing.assert_allclose(found.residual, 0, atol=1e-4)
        np.testing.assert_allclose(found.logits, student.logits([text])[0], atol=1e-6)
    assert (found.words[9:] == 0).all()  # behind the longest text that is read


def test_an_ngram_of_several_words_counts_for_each_alike():
    ngrams = NGrams(["not good"], [], longest_words=2, longest_characters=0)
    weights = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, -3.0]])
    student = LinearClassifier(ngrams, weights, np.zeros(3), labels=THREE)
    found = student.by_word("so not good")
    root = np.sqrt(3)
    np.testing.assert_allclose(found.words[:, 0], [0, 1.5 / root, 1.5 / root], rtol=1e-6)


def test_places_are_those_of_the_words_as_written():
    ngrams = NGrams(["x"], [], longest_words=1, longest_characters=0)
    for text in ("It's İstanbul, naïve!", "ΟΔΟΣ ok", "  a  b "):
        words = ngrams.split(text)
        places = ngrams.places(text)
        assert len(words) == len(places)
        for word, (begin, end) in zip(words, places, strict=True):
            assert word in text[begin:end].lower()


def test_the_strongest_words_count_what_is_inside_them():
    ngrams = NGrams(["bad", "good", "good film"], ["goo"], longest_words=2, longest_characters=3)
    weights = np.zeros((5, 3))
    weights[1, 0], weights[2, 2], weights[3, 2], weights[4, 2] = 1.0, 0.5, 0.6, 1.0
    student = LinearClassifier(ngrams, weights, np.zeros(3), labels=THREE)
    strongest = student.strongest(2)
    assert [gram for gram, _ in strongest[THREE[2]]] == ["good", "good film"]
    assert strongest[THREE[2]][0][1] == pytest.approx(1.5 - 0.5)
    assert strongest[THREE[0]] == [("bad", pytest.approx(2 / 3))]
