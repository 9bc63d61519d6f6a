"""Exported students read every text as training did, and answer as the student that was trained."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.conftest import TEXTS
from tests.runtime.tiny_bundles import write_ngrams, write_tokens
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tutelage.export import Subject, export
from tutelage.students import RNN, Static, load_classifier, save
from tutelage.students.classifier.linear.model import LinearClassifier
from tutelage.students.classifier.linear.ngrams import UNKNOWN, find_ngrams
from tutelage.students.vocabulary.training import train_tokenizer
from tutelage_runtime import load

ODD = (
    "\0", "e\u0301\u0327\u0489", "\u0301", "👩\u200d👩\u200d👧\u200d👦", "🏳\ufe0f\u200d🌈", "שלום \u202eabc",
    "مرحبا", "x" * 3000, "   ", "\u3000\u00a0", "[PAD]", "[UNK] [MASK]", "[CLS]a[SEP]", "<s></s>",
    "<unk>", "##ing", "▁", "İSTANBUL", "ﬁne ǅ", "\ufeff", "\U0010ffff", "don’t", "漢字かな", "\r\n\t",
    "a fine film", "naïve",
)  # fmt: skip
ANY = st.characters(exclude_categories=["Cs"])
WRITTEN = st.lists(st.one_of(st.text(ANY, max_size=30), st.sampled_from(ODD)), max_size=8)
UNICODE = st.tuples(WRITTEN, st.sampled_from(["", " "])).map(lambda found: found[1].join(found[0]))


def unigram():
    """As those of students that start from sentencepiece models."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90,
        special_tokens=["<pad>", "<unk>", "<s>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        model_max_length=24,
    )


def trained(kind, *, boundaries):
    if kind == "unigram":
        return unigram()
    size = 400 if kind == "bpe" else 120
    return train_tokenizer(
        TEXTS, kind=kind, vocabulary_size=size, max_length=24, boundaries=boundaries
    )


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "word", "unigram"])
def kind(request):
    return request.param


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "boundaries"])
def reading(request, kind, tmp_path_factory):
    """A tokenizer of training, and the exported student that reads with it."""
    tokenizer = trained(kind, boundaries=request.param)
    folder = tmp_path_factory.mktemp(kind)
    tokenizer.save_pretrained(folder / "student")
    saved = AutoTokenizer.from_pretrained(folder / "student").backend_tokenizer
    return tokenizer, load(write_tokens(folder / "onnx", saved, max_length=24))


@settings(max_examples=80, deadline=None)
@given(texts=st.lists(UNICODE, min_size=1, max_size=5))
def test_tokens_are_those_of_training(reading, texts):
    tokenizer, student = reading
    expected = tokenizer(texts, truncation=True, split_special_tokens=True)["input_ids"]
    assert [one.ids for one in student.encode(texts)] == expected


def test_odd_texts_are_cut_and_none_is_a_special_token(reading):
    tokenizer, student = reading
    found = student.encode(ODD)
    expected = tokenizer(list(ODD), truncation=True, split_special_tokens=True)["input_ids"]
    assert [one.ids for one in found] == expected
    assert tokenizer(list(ODD), truncation=True)["input_ids"] != expected
    assert len({tuple(ids) for ids in expected}) > 5


def probabilities(logits):
    odds = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A linear student of words and characters, as trained and as exported."""
    reading = {"longest_words": 2, "longest_characters": 4, "max_length": 24, "lowercase": True}
    ngrams = find_ngrams([*TEXTS, *TEXTS], reading, fewest_texts=2, most=500)
    draw = np.random.default_rng(0).normal
    weights, bias = draw(size=(len(ngrams), 3)), draw(size=3)
    weights[UNKNOWN] = 0
    folder = write_ngrams(
        tmp_path_factory.mktemp("linear"), ngrams, weights=(weights, np.eye(3), bias)
    )
    return LinearClassifier(ngrams, weights, bias, labels=["a", "b", "c"]), load(folder)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(UNICODE, min_size=1, max_size=5))
def test_ngrams_and_answers_are_those_of_the_linear_student(linear, texts):
    classifier, student = linear
    for text, found in zip(texts, student.encode(texts), strict=True):
        expected = [place for place in classifier.ngrams.ids(text) if place != UNKNOWN]
        assert sorted(found.ids) == sorted(expected)
    np.testing.assert_allclose(student.probs(texts), classifier.probs(texts), atol=1e-4)


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "word"])
def static(request, tmp_path_factory):
    """A static student of tokens and pairs, as torch trains it and as exported."""
    texts = TEXTS * 4
    model, tokenizer = Static(
        labels=("a", "b", "c"), size=8, hidden=0, max_length=24, embeddings="random",
        tokenizer=request.param, vocabulary_size=400, bigrams=50,
    ).build(texts)  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.log_weights.zero_()  # the graph of these tests knows the plain mean
        model.embedding.weight.copy_(torch.randn(model.embedding.weight.shape, generator=generator))
    tokens = model.config.vocabulary_size
    pairs = [(*divmod(key, tokens), row) for row, key in enumerate(model.pairs.tolist(), tokens)]
    weights = [
        model.embedding.weight.detach().numpy(),
        model.classifier.weight.detach().numpy().T,
        model.classifier.bias.detach().numpy(),
    ]
    folder = write_tokens(
        tmp_path_factory.mktemp("static"),
        tokenizer.backend_tokenizer,
        pairs=pairs,
        weights=weights,
        max_length=24,
    )
    return model.eval(), tokenizer, load(folder), {row for *_, row in pairs}


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(UNICODE, min_size=1, max_size=5))
def test_pairs_and_answers_are_those_of_the_torch_student(static, texts):
    model, tokenizer, student, _ = static
    batch = tokenizer(texts, padding=True, truncation=True, split_special_tokens=True)
    ids = torch.tensor(batch["input_ids"], dtype=torch.long)
    if ids.shape[1]:
        with torch.inference_mode():
            logits = model(ids, torch.tensor(batch["attention_mask"])).logits.numpy()
    else:
        logits = model.classifier.bias.detach().numpy()[None].repeat(len(texts), 0)
    np.testing.assert_allclose(student.probs(texts), probabilities(logits), atol=1e-4)


def test_known_pairs_are_read(static):
    *_, student, known = static
    rows = [row for one in student.encode(TEXTS) for row in one.ids]
    assert len(known & set(rows)) > 10


@pytest.fixture(scope="module", params=["lstm", "gru"])
def recurrent(request, tmp_path_factory):
    """A recurrent student of torch, and its export."""
    student = RNN(
        labels=("a", "b", "c"), cell=request.param, hidden_size=8, embedding_size=8, max_length=24,
        embeddings="random", tokenizer="bpe", vocabulary_size=300,
    )  # fmt: skip
    model, tokenizer = student.build(TEXTS * 4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.5)
    folder = save(model, tokenizer, tmp_path_factory.mktemp(request.param) / "student")
    export("onnx", Subject(folder, "tiny"), folder.with_name("onnx"))
    return load_classifier(folder), load(folder.with_name("onnx"))


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(UNICODE, min_size=1, max_size=5))
def test_answers_are_those_of_the_recurrent_student(recurrent, texts):
    trained, exported = recurrent
    np.testing.assert_allclose(exported.probs(texts), trained.probs(texts), atol=1e-4)


def test_a_recurrent_student_tells_odd_texts_apart(recurrent):
    assert np.ptp(recurrent[1].probs(ODD), axis=0).min() > 0.05
