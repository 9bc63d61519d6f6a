"""Students that are their teacher with fewer layers: what stays is what it was, whole ones answer as
their teacher, and hidden states are drawn to the teacher's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.students.test_partial import DEEP, KINDS, WIDE
from transformers import (
    AlbertConfig,
    AlbertModel,
    AutoModelForSequenceClassification,
    Gemma2Config,
    Gemma2Model,
    Qwen2Config,
    Qwen2Model,
    pipeline,
)

from tutelage.errors import ModelError
from tutelage.losses import ForwardKL
from tutelage.models import load_language_model, register
from tutelage.students import Predictor, PrunedClassifier, save, train_tokenizer
from tutelage.students.classifier.matching import HiddenMatching
from tutelage.students.pruning.classifiers import prune_classifier
from tutelage.teachers.classifier.teacher import ClassifierTeacher
from tutelage.train import TrainSettings, train_classifier
from tutelage.types import Example

LABELS = ("bad", "fair", "good")
CAUSAL: dict[str, Any] = {
    "qwen": lambda: Qwen2Model(Qwen2Config(**WIDE, **DEEP, num_key_value_heads=2)),
    "gemma": lambda: Gemma2Model(
        Gemma2Config(**WIDE, **DEEP, num_key_value_heads=2, head_dim=8, sliding_window=4)
    ),
}
ALL = {name: KINDS[name] for name in ("bert", "roberta", "distilbert", "modernbert", "llama")}
ALL |= CAUSAL


@pytest.fixture(scope="module")
def folders(texts, tmp_path_factory) -> Any:
    """Makes the folder of a kind of model without a head, once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            tokenizer = train_tokenizer(texts, vocabulary_size=400, boundaries=True)
            if kind in ("llama", *CAUSAL):
                tokenizer.bos_token = "[CLS]"
            tokenizer.save_pretrained(made[kind])
            with torch.random.fork_rng():
                torch.manual_seed(0)
                ALL[kind]().save_pretrained(made[kind])
        return made[kind]

    return folder


@pytest.fixture(scope="module")
def fitted(folders, texts) -> Any:
    """A teacher with a linear head on layers of a model."""

    def fit(kind: str, *, layers: tuple[int, ...]) -> ClassifierTeacher:
        model = load_language_model(str(folders(kind)), head="backbone", dtype="float32")
        rows = [Example(text, place % 3) for place, text in enumerate(texts[:30])]
        return ClassifierTeacher.fit(model, LABELS, rows, layers=layers, cross_fit=0)

    return fit


def classifier(folder: Path) -> Any:
    return load_language_model(str(folder), head="sequence", labels=LABELS, dtype="float32")


@pytest.mark.parametrize("deepest", [2, 3])
@pytest.mark.parametrize("kind", ALL)
def test_with_all_layers_under_its_head_it_answers_as_its_teacher(
    kind, deepest, fitted, texts, tmp_path
):
    teacher = fitted(kind, layers=(deepest,))
    expected = teacher.for_new_texts().label([Example(text) for text in texts[30:36]])
    for trims in (False, True):
        model, tokenizer = prune_classifier(
            teacher.with_words(),
            labels=LABELS,
            layers=deepest,
            texts=texts,
            trims_vocabulary=trims,
        )
        np.testing.assert_allclose(
            Predictor(model, tokenizer).probs(texts[30:36]), expected, atol=2e-5
        )
        save(model, tokenizer, tmp_path / str(trims))
        loaded = Predictor.load(tmp_path / str(trims))
        np.testing.assert_allclose(loaded.probs(texts[30:36]), expected, atol=2e-5)
        np.testing.assert_allclose(loaded.probs(texts[30:31]), expected[:1], atol=2e-5)
    assert loaded.parameters < sum(
        weight.numel() for weight in teacher.language_model.model.parameters()
    )


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert", "llama"])
def test_a_classifier_stays_of_its_class(kind, folders, texts, tmp_path):
    teacher = classifier(folders(kind))
    model, tokenizer = prune_classifier(
        teacher, labels=LABELS, layers=2, choice="even", texts=texts
    )
    assert type(model) is type(teacher.model)
    assert model.config.kept_layers == [0, 2]
    kept = dict(model.named_parameters())
    for name, weight in teacher.model.named_parameters():
        parts = name.split(".")
        if "1" in parts:  # the layer that goes
            continue
        new = ".".join("1" if part == "2" else part for part in parts)
        assert torch.equal(kept.pop(new), weight), name
    assert not kept
    save(model, tokenizer, tmp_path)
    answers = pipeline("text-classification", str(tmp_path), top_k=None)(texts[0])
    found = {answer["label"]: answer["score"] for answer in answers[0]}
    expected = Predictor(model, tokenizer).probs(texts[:1])[0]
    np.testing.assert_allclose([found[label] for label in LABELS], expected, atol=1e-5)


def test_what_lora_added_is_in_the_weights(folders, texts):
    rows = [Example(text, place % 3) for place, text in enumerate(texts[:18])]
    teacher = ClassifierTeacher.fit(
        classifier(folders("bert")), LABELS, rows, method="lora", cross_fit=2, learning_rate=5e-2
    )
    model, tokenizer = prune_classifier(teacher.with_words(), labels=LABELS, layers=3)
    expected = teacher.for_new_texts().label([Example(text) for text in texts[30:36]])
    own = np.log(Predictor(model, tokenizer).probs(texts[30:36])) / teacher.description.temperature
    found = np.exp(own) / np.exp(own).sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_a_pipeline_loads_one_that_pools_once_it_is_told_of(fitted, texts, tmp_path):
    model, tokenizer = prune_classifier(
        fitted("llama", layers=(2,)).with_words(), labels=LABELS, layers=1
    )
    save(model, tokenizer, tmp_path)
    register()
    answers = pipeline("text-classification", str(tmp_path), top_k=None)(texts[0])
    found = {answer["label"]: answer["score"] for answer in answers[0]}
    expected = Predictor(model, tokenizer).probs(texts[:1])[0]
    np.testing.assert_allclose([found[label] for label in LABELS], expected, atol=1e-5)


def test_classes_of_a_teacher_in_another_order_are_put_in_the_order_of_the_labels(folders, texts):
    teacher = classifier(folders("bert"))
    straight, tokenizer = prune_classifier(teacher, labels=LABELS, layers=3)
    turned, _ = prune_classifier(teacher, labels=LABELS[::-1], layers=3)
    np.testing.assert_allclose(
        Predictor(turned, tokenizer).probs(texts[:4])[:, ::-1],
        Predictor(straight, tokenizer).probs(texts[:4]),
        atol=1e-6,
    )


def test_influence_drops_the_layer_that_does_nothing(folders, texts):
    teacher = classifier(folders("bert"))
    idle = teacher.model.bert.encoder.layer[1]
    with torch.no_grad():
        for linear in (idle.attention.output.dense, idle.output.dense):
            linear.weight.zero_()
            linear.bias.zero_()
    model, _ = prune_classifier(teacher, labels=LABELS, layers=2, choice="influence", texts=texts)
    assert model.config.kept_layers == [0, 2]
    with pytest.raises(ModelError, match="no text was given"):
        prune_classifier(teacher, labels=LABELS, layers=2, choice="influence")


def test_a_corpus_keeps_its_tokens_and_every_letter(folders, texts):
    teacher = classifier(folders("bert"))
    model, tokenizer = prune_classifier(
        teacher, labels=LABELS, layers=3, texts=texts[:3], trims_vocabulary=True
    )
    whole, own = teacher.tokenizer, tokenizer
    assert len(own) < len(whole)
    assert model.get_input_embeddings().weight.shape[0] == len(own)
    for text in texts[:3]:
        assert own.tokenize(text) == whole.tokenize(text)
    for text in texts:  # no word is lost that was none before
        assert own.tokenize(text).count("[UNK]") == whole.tokenize(text).count("[UNK]")


def test_the_distance_is_zero_to_itself_and_not_to_others(fitted, texts):
    reader = fitted("llama", layers=(2,)).with_words()
    for distance in ("cosine", "mse"):
        for layers in ("last", "all"):
            options = {"weight": 2.0, "distance": distance, "layers": layers}
            model, tokenizer = prune_classifier(reader, labels=LABELS, layers=2)
            batch = tokenizer(texts[:5], padding=True, return_tensors="pt")
            same = HiddenMatching(model, tokenizer, reader, **options)
            with torch.no_grad():
                logits, apart = same(model.eval(), batch)
                np.testing.assert_allclose(logits, model(**batch).logits, atol=1e-5)
            assert apart.shape == (5,)
            assert float(apart.abs().max()) < 1e-5
            with torch.no_grad():
                model.model.layers[-1].mlp.down_proj.weight.add_(2.0)
                assert float(same(model, batch)[1].min()) > 1e-5


def test_the_distance_is_that_of_its_definition(fitted, texts):
    reader = fitted("bert", layers=(3,)).with_words()
    model, tokenizer = prune_classifier(reader, labels=LABELS, layers=2, choice="even", texts=texts)
    model.eval()
    batch = tokenizer(texts[:3], padding=True, return_tensors="pt")
    asked = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        own = model(**asked, output_hidden_states=True).hidden_states
        theirs = reader.model.eval()(**asked, output_hidden_states=True).hidden_states
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        last = [
            1 - torch.cosine_similarity(own[2][row, t], theirs[3][row, t], 0) for t in range(length)
        ]
        squares = [
            (own[i][row, :length] - theirs[j][row, :length]).square().mean()
            for i, j in ((1, 1), (2, 3))
        ]
        whole: Any = {"weight": 3.0, "distance": "mse", "layers": "all"}
        with torch.no_grad():
            cosine = HiddenMatching(model, tokenizer, reader, weight=1.0)(model, batch)[1][row]
            mse = HiddenMatching(model, tokenizer, reader, **whole)(model, batch)[1][row]
        assert float(cosine) == pytest.approx(float(torch.stack(last).mean()), abs=1e-5)
        assert float(mse) == pytest.approx(3 * float(torch.stack(squares).mean()), rel=1e-4)


def test_training_with_it_draws_the_states_to_the_teacher(fitted, texts, tmp_path):
    from tests.students.test_partial import encoded

    reader = fitted("bert", layers=(3,)).with_words()
    ends: dict[float, float] = {}
    for weight in (0.0, 5.0):
        spec = PrunedClassifier(labels=LABELS, layers=1, hidden_weight=weight)
        model, tokenizer = spec.build(texts, language_model=reader)
        measure = HiddenMatching(model, tokenizer, reader, weight=1.0)
        train_classifier(
            model,
            tokenizer.pad_token_id,
            encoded(tokenizer, texts[:24]),
            encoded(tokenizer, texts[24:36]),
            objective=ForwardKL(),
            settings=TrainSettings(epochs=6, batch_size=8, learning_rate=1e-2),
            out=tmp_path / str(weight),
            matching=spec.matching(model, tokenizer, language_model=reader),
        )
        batch = tokenizer(texts[36:50], padding=True, return_tensors="pt")
        with torch.no_grad():
            ends[weight] = float(measure(model.eval(), batch)[1].mean())
    assert ends[5.0] < 0.8 * ends[0.0]


def test_what_cannot_be_pruned_is_refused_in_a_line(folders, fitted, texts, tmp_path):
    with pytest.raises(ModelError, match=r"layers is 4, but .* has 3 layers: give 1 to 3"):
        prune_classifier(classifier(folders("bert")), labels=LABELS, layers=4)
    reader = fitted("llama", layers=(2,)).with_words()
    with pytest.raises(ModelError, match=r"has 3 layers, of which its head reads the first 2"):
        prune_classifier(reader, labels=LABELS, layers=3)
    albert = AlbertModel(
        AlbertConfig(vocab_size=400, embedding_size=8, hidden_size=16, num_attention_heads=2)
    )
    shared = SimpleNamespace(model=albert, tokenizer=None, name="shared")
    with pytest.raises(ModelError, match=r"shared is of the kind albert.*not one list.*another"):
        prune_classifier(shared, labels=LABELS, layers=1)
    with pytest.raises(ModelError, match="no language model was given"):
        PrunedClassifier(labels=LABELS, layers=1).build(texts)


def test_auto_classes_know_the_network(fitted, tmp_path):
    model, tokenizer = prune_classifier(
        fitted("bert", layers=(2,)).with_words(), labels=LABELS, layers=1
    )
    save(model, tokenizer, tmp_path)
    register()
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.num_hidden_layers == 1
    assert str(tmp_path.parent) not in (tmp_path / "config.json").read_text()
