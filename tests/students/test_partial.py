"""Students that exist already and are trained in part: frozen layers, adapters, a head with a
learning rate of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertModel,
    AutoModelForSequenceClassification,
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    ModernBertConfig,
    ModernBertModel,
    OPTConfig,
    OPTModel,
    RobertaConfig,
    RobertaModel,
)

from tutelage.data.examples.collate import EncodedSet
from tutelage.errors import ModelError
from tutelage.losses import ForwardKL
from tutelage.students import Predictor, Pretrained, save, train_tokenizer
from tutelage.students.classifier.partial import head_weights
from tutelage.students.language.lora import Lora
from tutelage.train import TrainSettings, train_classifier

WIDE: Any = {"vocab_size": 400, "hidden_size": 16, "intermediate_size": 24, "pad_token_id": 0}
DEEP: Any = {"num_hidden_layers": 3, "num_attention_heads": 2}
MODERN: Any = {"global_attn_every_n_layers": 2, "bos_token_id": 2, "cls_token_id": 2}
ENDS: Any = {"eos_token_id": 3, "sep_token_id": 3}
KINDS: dict[str, Any] = {
    "bert": lambda: BertModel(BertConfig(**WIDE, **DEEP)),
    "roberta": lambda: RobertaModel(RobertaConfig(**WIDE, **DEEP), add_pooling_layer=False),
    "llama": lambda: LlamaModel(LlamaConfig(**WIDE, **DEEP)),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=400, dim=16, n_layers=3, n_heads=2, hidden_dim=24)
    ),
    "modernbert": lambda: ModernBertModel(ModernBertConfig(**WIDE, **DEEP, **MODERN, **ENDS)),
    "gpt2": lambda: GPT2Model(
        GPT2Config(vocab_size=400, n_embd=16, n_layer=3, n_head=2, pad_token_id=0)
    ),
    "opt": lambda: OPTModel(
        OPTConfig(vocab_size=400, hidden_size=16, ffn_dim=24, word_embed_proj_dim=8, **DEEP)
    ),
    "deberta": lambda: DebertaV2Model(
        DebertaV2Config(**WIDE, **DEEP, relative_attention=True, position_buckets=4)
    ),
}
MANY = ["bert", "roberta", "llama"]


@pytest.fixture(scope="module")
def folders(texts, tmp_path_factory) -> Any:
    """Makes the folder of a kind of model, once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            train_tokenizer(texts, vocabulary_size=400, boundaries=True).save_pretrained(made[kind])
            with torch.random.fork_rng():
                torch.manual_seed(0)
                KINDS[kind]().save_pretrained(made[kind])
        return made[kind]

    return folder


def encoded(tokenizer: Any, texts: list[str]) -> EncodedSet:
    ids = tokenizer(texts, truncation=True)["input_ids"]
    labels = np.arange(len(texts)) % 3
    probs = np.full((len(texts), 3), 0.1, dtype=np.float32)
    probs[np.arange(len(texts)), labels] = 0.8
    return EncodedSet(ids, labels, probs)


def trained(spec: Pretrained, texts: list[str], out: Path, **settings: Any) -> Any:
    """The student after a few steps, with all weights as they were before them."""
    model, tokenizer = spec.build(seed=1)
    before = {name: value.clone() for name, value in spec.build(seed=1)[0].state_dict().items()}
    train_classifier(
        model,
        tokenizer.pad_token_id,
        encoded(tokenizer, texts[:24]),
        encoded(tokenizer, texts[24:36]),
        objective=ForwardKL(),
        settings=TrainSettings(
            **{"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "weight_decay": 0.5} | settings
        ),
        out=out,
        learning_rates=spec.learning_rates(model),
    )
    return model, tokenizer, before


def moved(model: Any, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}


EMBEDDINGS = {
    "bert": ("bert.embeddings.",),
    "roberta": ("roberta.embeddings.",),
    "llama": ("model.embed_tokens.",),
    "distilbert": ("distilbert.embeddings.",),
    "modernbert": ("model.embeddings.",),
    "gpt2": ("transformer.wte.", "transformer.wpe."),
    "opt": ("model.decoder.embed_tokens.", "model.decoder.embed_pos", "model.decoder.project_in."),
    "deberta": ("deberta.embeddings.", "deberta.encoder.rel_emb", "deberta.encoder.LayerNorm."),
}
LAYERS = {
    "bert": "bert.encoder.layer.",
    "roberta": "roberta.encoder.layer.",
    "llama": "model.layers.",
    "distilbert": "distilbert.transformer.layer.",
    "modernbert": "model.layers.",
    "gpt2": "transformer.h.",
    "opt": "model.decoder.layers.",
    "deberta": "deberta.encoder.layer.",
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_embeddings_and_the_first_layers_get_no_gradient(kind, folders, labels):
    model, _ = Pretrained(labels=labels, model=folders(kind), freeze=2).build()
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    below = (*EMBEDDINGS[kind], f"{LAYERS[kind]}0.", f"{LAYERS[kind]}1.")
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith(below)}
    assert any(name.startswith(f"{LAYERS[kind]}2.") for name, _ in model.named_parameters())


@pytest.mark.parametrize("kind", MANY)
def test_frozen_weights_stay_bit_for_bit_and_have_no_state(kind, folders, labels, texts, tmp_path):
    spec = Pretrained(labels=labels, model=folders(kind), freeze=2)
    # A checkpoint at the end of the last epoch is what `distill` would remove.
    model, _, before = trained(spec, texts, tmp_path, ema_decay=0.5)
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    changed = moved(model, before)
    assert frozen
    assert not changed & frozen
    assert {name.split(".")[0] for name in changed} >= {kind if kind != "llama" else "model"}
    assert any(not name.startswith(("bert", "roberta", "model")) for name in changed)  # the head
    assert all(weight.requires_grad for weight in spec.finished(model).parameters())


def test_a_checkpoint_holds_no_moments_of_frozen_weights(folders, labels, texts, tmp_path):
    from safetensors.torch import load_file

    model, *_ = trained(
        Pretrained(labels=labels, model=folders("bert"), freeze=3, head_learning_rate=0.1),
        texts,
        tmp_path,
    )
    (checkpoint,) = sorted((tmp_path / "checkpoints").glob("step-*/*.safetensors"))[-1:]
    names = {name.removeprefix("optimizer.exp_avg.") for name in load_file(checkpoint)}
    told = {name for name in names if name in dict(model.named_parameters())}
    assert told == {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_head_is_what_reads_the_encoder(kind, folders, labels):
    model, _ = Pretrained(labels=labels, model=folders(kind)).build()
    heads = set(head_weights(model))
    assert {name for name in heads if ".layer" in name or "embed" in name} == set()
    outside = {n for n, _ in model.named_parameters() if not n.startswith(model.base_model_prefix)}
    pooler = {name for name, _ in model.named_parameters() if ".pooler." in name}
    assert heads == outside | pooler
    assert any(heads)


def test_the_head_learns_at_its_own_rate(folders, labels, texts, tmp_path):
    """At a rate next to nothing the encoder hardly moves, and the head does."""
    spec = Pretrained(labels=labels, model=folders("bert"), head_learning_rate=0.1)
    model, _, before = trained(spec, texts, tmp_path, learning_rate=1e-7, weight_decay=0.0)
    change = {
        name: float((weight.detach() - before[name]).abs().max())
        for name, weight in model.named_parameters()
    }
    heads = head_weights(model)
    assert min(change[name] for name in heads) > 1e-2
    assert max(change[name] for name in change.keys() - heads) < 1e-5


@pytest.mark.parametrize("kind", [*MANY, "gpt2"])
def test_adapters_are_merged_into_a_stock_model(kind, folders, labels, texts, tmp_path):
    spec = Pretrained(
        labels=labels, model=folders(kind), freeze=1, lora=Lora(rank=2), head_learning_rate=0.05
    )
    plain, _ = Pretrained(labels=labels, model=folders(kind)).build(seed=1)
    model, tokenizer, _ = trained(spec, texts, tmp_path / "run")
    adapted = {
        name
        for name, weight in model.named_parameters()
        if weight.requires_grad and "lora_" in name
    }
    assert adapted
    assert not [name for name in adapted if f"{LAYERS[kind]}0." in name]
    expected = model.eval()(input_ids=torch.tensor([[2, 9, 8, 3]])).logits
    stock = spec.finished(model).eval()
    assert type(stock) is type(plain)
    got = stock(input_ids=torch.tensor([[2, 9, 8, 3]])).logits
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    changed = moved(stock, plain.state_dict())
    heads = set(head_weights(stock))
    assert heads <= changed
    assert all(
        name.startswith((f"{LAYERS[kind]}1.", f"{LAYERS[kind]}2.")) for name in changed - heads
    )
    assert changed - heads
    save(stock, tokenizer, tmp_path / "saved")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    torch.testing.assert_close(again(input_ids=torch.tensor([[2, 9, 8, 3]])).logits, got)


def test_adapters_change_nothing_at_first(folders, labels, texts):
    plain, adapted = (
        Predictor(*Pretrained(labels=labels, model=folders("bert"), lora=lora).build(seed=3))
        for lora in (None, Lora())
    )
    np.testing.assert_array_equal(plain.probs(texts[:2]), adapted.probs(texts[:2]))


def found(spec: Pretrained) -> list[tuple[str, str]]:
    return list(spec.problems(None, lambda: None))


def test_layers_that_are_not_there_are_refused_with_the_depth(folders, labels):
    folder = folders("bert")
    spec = Pretrained(labels=labels, model=folder, freeze=4)
    message = f"freeze is 4, but {folder} has 3 layers: give 0 (the embeddings alone) to 3, or"
    ((option, told),) = found(spec)
    assert option == "freeze"
    assert told.startswith(message)
    with pytest.raises(ModelError) as error:
        spec.build()
    assert str(error.value) == told
    for fine in (None, 0, 3):
        assert found(Pretrained(labels=labels, model=folder, freeze=fine)) == []
    ((option, told),) = found(Pretrained(labels=labels, model=folder, freeze=3, lora=Lora()))
    assert (option, told.count("leaves none for lora")) == ("lora", 1)


@pytest.mark.parametrize("key", ["freeze", "lora"])
@pytest.mark.parametrize(
    "model",
    [
        lambda: AlbertModel(AlbertConfig(**WIDE, **DEEP, embedding_size=8)),
        lambda: BartModel(
            BartConfig(
                vocab_size=400,
                d_model=16,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                pad_token_id=0,
                eos_token_id=3,
            )
        ),
    ],
)
def test_layers_that_cannot_be_told_are_refused(key, model, folders, labels, tmp_path):
    for path in folders("bert").glob("*token*"):
        shutil.copy(path, tmp_path)
    model().save_pretrained(tmp_path)
    parts: Any = {"freeze": 1} if key == "freeze" else {"lora": Lora()}
    ((option, told),) = found(Pretrained(labels=labels, model=tmp_path, **parts))
    assert option == key
    assert "whose layers are not one list" in told


def test_a_student_is_trained_in_float32_whatever_its_folder_holds(folders, labels, tmp_path):
    shutil.copytree(folders("llama"), tmp_path, dirs_exist_ok=True)
    LlamaModel.from_pretrained(tmp_path).bfloat16().save_pretrained(tmp_path)
    model, _ = Pretrained(labels=labels, model=tmp_path).build()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_a_table_of_tokens_is_looked_up_and_not_multiplied(folders, labels):
    spec = Pretrained(labels=labels, model=folders("bert"))
    encoder = KINDS["bert"]()
    whole = sum(weight.numel() for weight in encoder.parameters())
    assert spec.weights() == (whole - encoder.get_input_embeddings().weight.numel(), whole)
