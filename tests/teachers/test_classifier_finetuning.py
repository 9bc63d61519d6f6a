"""Classifier teachers whose weights are fine-tuned: number types, adapters by fold, long texts,
weights counted."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.teachers.conftest import LABELS
from transformers import LlamaForSequenceClassification, LlamaModel

from tutelage.errors import ModelError
from tutelage.models import LanguageModel, load_language_model
from tutelage.models.computing import readable_tokens
from tutelage.teachers import ClassifierTeacher
from tutelage.teachers.classifier.finetuning import fine_tune, sequence_logprobs, with_lora
from tutelage.types import Example


@pytest.mark.parametrize(("method", "rate"), [("lora", 2e-2), ("full", 2e-3)])
def test_gradient_methods_lower_the_loss_and_survive_saving(
    sequence_model, labelled, tmp_path, monkeypatch, method, rate
):
    base = tmp_path / "base"
    sequence_model.model.save_pretrained(base)
    sequence_model.tokenizer.save_pretrained(base)
    given = load_language_model(str(base), dtype="float32", head="sequence", labels=LABELS)
    frozen = given.model.model.layers[0].mlp.up_proj.weight.detach().clone()
    teacher = ClassifierTeacher.fit(
        given, LABELS, labelled, method=method, epochs=6, learning_rate=rate, batch_size=8, rank=4
    )
    losses = teacher.fitted.losses
    assert len(losses) == 36
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])
    weights = dict(teacher.language_model.model.named_parameters())
    moved = next(
        value
        for name, value in weights.items()
        if "layers.0.mlp.up_proj" in name and "lora" not in name
    )
    assert torch.equal(moved, frozen) == (method == "lora")
    rows = [*labelled[:5], Example("something else")]
    expected = teacher.label(rows)
    teacher.save(tmp_path / "teacher")
    assert not list((tmp_path / "teacher").rglob("*.bin"))
    loaded = ClassifierTeacher.load(tmp_path / "teacher")
    np.testing.assert_allclose(loaded.label(rows), expected, atol=1e-5)
    assert loaded.fingerprint == teacher.fingerprint


def in_bfloat16(language_model: LanguageModel) -> LanguageModel:
    for parameter in language_model.model.parameters():
        parameter.data = parameter.data.bfloat16()
    return replace(language_model, dtype=torch.bfloat16)


def test_every_weight_of_a_bfloat16_model_is_fitted_in_float32(make_model, labelled):
    texts, gold = [row.text for row in labelled], [row.label for row in labelled]
    low, high = (
        in_bfloat16(make_model(LlamaForSequenceClassification, num_labels=3)) for _ in range(2)
    )
    start = {name: weight.detach().clone() for name, weight in low.model.named_parameters()}
    high.model.float()
    losses = [
        fine_tune(given.model, given.tokenizer, texts, gold, epochs=2, learning_rate=2e-5)
        for given in (low, high)
    ]
    assert losses[0] == losses[1]
    for (name, weight), exact in zip(
        low.model.named_parameters(), high.model.parameters(), strict=True
    ):
        assert torch.equal(weight, exact.bfloat16()), name
    assert any(
        not torch.equal(weight, start[name]) for name, weight in low.model.named_parameters()
    )


def test_adapters_and_head_of_a_bfloat16_model_are_fitted_in_float32(make_model, labelled):
    model = with_lora(
        in_bfloat16(make_model(LlamaForSequenceClassification, num_labels=3)).model,
        rank=4,
        adapters=["one"],
    )
    head = model.base_model.model.score.modules_to_save["one"].weight
    before, seen = head.detach().clone(), set()

    @contextmanager
    def bar(title, *, total, unit):
        yield lambda _: seen.update((p.requires_grad, p.dtype) for p in model.parameters())

    texts, gold = [row.text for row in labelled], [row.label for row in labelled]
    tokenizer = make_model().tokenizer
    fine_tune(
        model,
        tokenizer,
        texts,
        gold,
        epochs=1,
        learning_rate=1e-3,
        progress=SimpleNamespace(bar=bar),
    )
    assert seen == {(True, torch.float32), (False, torch.bfloat16)}
    assert head.dtype == torch.bfloat16  # as it is when it is loaded again
    assert not torch.equal(head, before)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_bfloat16_teacher_saved_and_loaded_is_the_same(
    sequence_model, labelled, tmp_path, method
):
    sequence_model.model.save_pretrained(tmp_path / "base")
    sequence_model.tokenizer.save_pretrained(tmp_path / "base")
    given = load_language_model(
        str(tmp_path / "base"), dtype="bfloat16", head="sequence", labels=LABELS
    )
    teacher = ClassifierTeacher.fit(given, LABELS, labelled, method=method, epochs=1, rank=4)
    teacher.save(tmp_path / "teacher")
    loaded = ClassifierTeacher.load(tmp_path / "teacher")
    np.testing.assert_array_equal(loaded.label(labelled[:5]), teacher.label(labelled[:5]))
    assert loaded.fingerprint == teacher.fingerprint
    assert loaded.language_model.dtype == torch.bfloat16


def test_lora_cross_fits_with_an_adapter_per_fold(sequence_model, labelled):
    teacher = ClassifierTeacher.fit(
        sequence_model,
        LABELS,
        labelled,
        method="lora",
        epochs=1,
        learning_rate=2e-2,
        batch_size=8,
        cross_fit=2,
    )
    assert teacher.description.folds == 2
    assert teacher.fitted.held_out_logprobs is not None
    got = teacher.label(labelled)
    np.testing.assert_allclose(got, np.exp(teacher.fitted.held_out_logprobs), atol=1e-4)
    fresh = teacher.label([Example(labelled[0].text + " now")])
    assert np.isfinite(fresh).all()
    with pytest.raises(ModelError, match="cross_fit is not available for method full"):
        ClassifierTeacher.fit(sequence_model, LABELS, labelled, method="full", cross_fit=2)


def test_what_is_measured_runs_every_text_with_merged_adapters(sequence_model, backbone, labelled):
    options = {"epochs": 1, "learning_rate": 2e-2, "batch_size": 8, "cross_fit": 2}
    teacher = ClassifierTeacher.fit(sequence_model, LABELS, labelled, method="lora", **options)
    fresh, known = Example("good box and a monday"), labelled[0]
    deployed = teacher.for_new_texts()
    assert not [name for name, _ in deployed.language_model.model.named_modules() if "lora" in name]
    np.testing.assert_allclose(deployed.label([fresh]), teacher.label([fresh]), atol=1e-5)
    assert (
        np.abs(deployed.label([known]) - teacher.label([known])).max() > 1e-4
    )  # the fold answers for the teacher
    assert [name for name, _ in teacher.language_model.model.named_modules() if "lora" in name]
    head = ClassifierTeacher.fit(backbone, LABELS, labelled, layers=[1], cross_fit=2)
    assert not head.for_new_texts().fitted.answers
    np.testing.assert_allclose(head.for_new_texts().label([fresh]), head.label([fresh]), atol=1e-6)


def encoder(tokenizer, kind: str) -> LanguageModel:
    """A tiny BERT or RoBERTa with 16 positions; RoBERTa cannot use those up to its padding id."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        RobertaConfig,
        RobertaForSequenceClassification,
    )

    made, config = {
        "bert": (BertForSequenceClassification, BertConfig),
        "roberta": (RobertaForSequenceClassification, RobertaConfig),
    }[kind]
    torch.manual_seed(0)
    settings = config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16, pad_token_id=0, num_labels=3, id2label=dict(enumerate(LABELS)),
        label2id={name: index for index, name in enumerate(LABELS)},
    )  # fmt: skip
    return LanguageModel(made(settings).eval(), tokenizer, kind, kind, torch.float32)


@pytest.mark.parametrize(("kind", "longest"), [("bert", 16), ("roberta", 15)])
def test_texts_longer_than_the_context_are_cut(tokenizer, labelled, kind, longest):
    model = encoder(tokenizer, kind)
    assert readable_tokens(model.model, 512) == longest
    assert readable_tokens(model.model, 4) == 4
    long = [replace(example, text=f"{example.text} and more of it " * 9) for example in labelled]
    none = ClassifierTeacher.fit(model, LABELS, method="none").label(long[:2])
    one_more = tokenizer(long[0].text)["input_ids"][: longest + 1]
    with pytest.raises((RuntimeError, IndexError)):
        model.model(torch.tensor([one_more]))
    with torch.no_grad():
        logits = model.model(torch.tensor([one_more[:-1]])).logits[0]
    np.testing.assert_allclose(none[0], torch.softmax(logits, -1).numpy(), atol=1e-5)
    for method in ("head", "lora", "full"):
        options = {"layers": [1], "cross_fit": 2} if method == "head" else {"epochs": 1}
        teacher = ClassifierTeacher.fit(
            encoder(tokenizer, kind), LABELS, long, method=method, **options
        )
        assert np.isfinite(teacher.label(long[:2])).all()


def test_a_fitted_classifier_is_used_as_it_is_in_the_order_of_the_labels(sequence_model, examples):
    order = ("positive", "negative", "neutral")
    teacher = ClassifierTeacher.fit(sequence_model, order, method="none")
    model, tokenizer = sequence_model.model, sequence_model.tokenizer
    for example, probs in zip(examples, teacher.label(examples), strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(example.text, return_tensors="pt")).logits[0]
        np.testing.assert_allclose(probs, torch.softmax(logits, -1)[[2, 0, 1]].numpy(), atol=1e-5)
    with pytest.raises(ModelError, match=r"classifies as .*but the labels here are"):
        ClassifierTeacher.fit(sequence_model, ("a", "b", "c"), method="none")


def test_fine_tuning_repeats_and_leaves_the_random_state_alone(make_model, labelled):
    def run():
        language_model = make_model(
            LlamaForSequenceClassification, num_labels=3, attention_dropout=0.1
        )
        texts, gold = [row.text for row in labelled], [row.label for row in labelled]
        torch.manual_seed(5)
        losses = fine_tune(
            language_model.model,
            language_model.tokenizer,
            texts,
            gold,
            epochs=1,
            learning_rate=1e-3,
            seed=3,
        )
        return losses, float(torch.rand(()))

    torch.manual_seed(5)
    untouched = float(torch.rand(()))
    assert run() == run()
    assert run()[1] == untouched


def test_texts_are_fitted_with_others_of_their_length(make_model):
    language_model = make_model(LlamaForSequenceClassification, num_labels=3)
    texts = ["good", "bad film " * 12] * 32
    masks = []
    language_model.model.register_forward_pre_hook(
        lambda _, __, inputs: masks.append(inputs["attention_mask"]), with_kwargs=True
    )
    fine_tune(
        language_model.model,
        language_model.tokenizer,
        texts,
        [0, 1] * 32,
        epochs=2,
        learning_rate=1e-3,
        batch_size=8,
    )
    encoded = language_model.tokenizer(texts)["input_ids"]
    read = sum(map(len, encoded))
    assert sum(int(mask.sum()) for mask in masks) == 2 * read  # each text once an epoch
    assert sum(mask.numel() for mask in masks) == 2 * read  # nothing is padding
    assert [mask.shape[1] for mask in masks[:8]] != [mask.shape[1] for mask in masks[8:]]


def test_sequence_logprobs_do_not_depend_on_batches(sequence_model, examples):
    texts = [example.text for example in examples]
    model, tokenizer = sequence_model.model, sequence_model.tokenizer
    wide = sequence_logprobs(model, tokenizer, texts)
    np.testing.assert_allclose(
        sequence_logprobs(model, tokenizer, texts[::-1], batch_tokens=1)[::-1], wide, atol=1e-5
    )
    assert sequence_logprobs(model, tokenizer, []).shape == (0, 3)


def numel(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("kind", [LlamaModel, LlamaForSequenceClassification])
def test_only_weights_that_run_are_counted_under_a_head(make_model, labelled, kind):
    language_model = make_model(kind)
    backbone = language_model.model.base_model
    sizes = {}
    for deepest in (0, 1, 2):
        teacher = ClassifierTeacher.fit(
            language_model, LABELS, labelled, layers=[0, deepest], pooling=["last"]
        )
        head = 3 * 64 + 3  # whatever the number of folds
        sizes[deepest] = teacher.parameters - head
        assert teacher.disk_bytes == 4 * sizes[deepest] + 8 * head
    layer = numel(backbone.layers[0])
    assert sizes[2] == numel(backbone)
    assert sizes[1] == sizes[2] - layer - numel(backbone.norm)
    assert sizes[0] == sizes[1] - layer == numel(backbone.embed_tokens)


def test_only_the_adapter_that_answers_is_counted(make_model, labelled):
    sizes = []
    for folds in (0, 2):
        given = make_model(LlamaForSequenceClassification, num_labels=3)
        whole = numel(given.model)
        teacher = ClassifierTeacher.fit(
            given, LABELS, labelled, method="lora", epochs=1, rank=2, cross_fit=folds
        )
        sizes.append((teacher.parameters, teacher.disk_bytes))
    adapters = 2 * 2 * ((32 + 32) * 2 + (32 + 16) * 2 + (32 + 48) * 3)
    assert sizes == [(whole + adapters, 4 * (whole + adapters))] * 2


@pytest.mark.parametrize("method", ["lora", "full", "none"])
def test_gradients_of_a_fine_tuned_teacher_are_of_the_text_alone(sequence_model, labelled, method):
    pytest.importorskip("captum", reason="captum is not installed")
    order = LABELS[::-1] if method == "none" else LABELS
    options = {} if method == "none" else {"epochs": 1, "template": "Review: {text} Label:"}
    teacher = ClassifierTeacher.fit(sequence_model, order, labelled, method=method, **options)
    text = "the pictures are bad"
    assert teacher.integrated is not None
    found = teacher.for_new_texts().integrated(text)
    assert [text[begin:end] for begin, end in found.spans] == text.split()
    odds = np.exp(found.logits - found.logits.max())
    expected = teacher.for_new_texts().label([Example(text)])[0]
    np.testing.assert_allclose(odds / odds.sum(), expected, atol=1e-5)
    difference = np.abs(found.logits - found.baseline)
    assert (np.abs(found.residual) <= np.maximum(0.011, 0.011 * difference)).all()


def test_a_head_on_features_has_no_gradients(backbone, labelled):
    teacher = ClassifierTeacher.fit(backbone, LABELS, labelled, method="head", cross_fit=2)
    assert teacher.integrated is None
