"""Tiny students of every kind, in folders as training leaves them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tests.students.linear_rows import encoded, texts_of
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    Qwen2Config,
    RobertaConfig,
)

from tutelage.losses import Objective
from tutelage.students import RNN, Linear, Static, Transformer, save, train_tokenizer
from tutelage.students.classifier.pooled import PooledForSequenceClassification
from tutelage.students.configurations import PooledConfig, label_names

LABELS = ("bad", "fair", "good")
WORDS = [
    "good",
    "bad",
    "film",
    "movie",
    "it's",
    "don't",
    "awful",
    "great",
    "the",
    "a",
    "plot",
    "acting",
    "very",
    "not",
    "naïve",
    ",",
    ".",
    "!",
]
SMALL: Any = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
              "num_attention_heads": 2, "pad_token_id": 0}  # fmt: skip
NETWORKS: dict[str, Callable[[int], Any]] = {
    "bert": lambda rows: BertConfig(vocab_size=rows, **SMALL),
    "roberta": lambda rows: RobertaConfig(vocab_size=rows, **SMALL),
    "distilbert": lambda rows: DistilBertConfig(vocab_size=rows, dim=16, n_layers=2, n_heads=2, hidden_dim=24),
    "modernbert": lambda rows: ModernBertConfig(vocab_size=rows, **SMALL, local_attention=6, cls_token_id=2, bos_token_id=2, sep_token_id=3, eos_token_id=3),
    "llama": lambda rows: LlamaConfig(vocab_size=rows, **SMALL),
    "qwen": lambda rows: Qwen2Config(vocab_size=rows, **SMALL, num_key_value_heads=2),
    "gpt2": lambda rows: GPT2Config(vocab_size=rows, n_embd=16, n_layer=2, n_head=2, pad_token_id=0),
}  # fmt: skip
RECURRENT = {
    f"{cell} {pooling} {'both ways' if both else 'one way'} {layers}": {
        "cell": cell, "pooling": pooling, "bidirectional": both, "layers": layers
    }
    for cell, pooling, both, layers in (
        ("gru", "mean_max", True, 1),
        ("gru", "last", True, 2),
        ("gru", "attention", False, 2),
        ("lstm", "mean_max", True, 1),
        ("lstm", "last", True, 2),
        ("lstm", "max", False, 1),
        ("lstm", "mean", True, 2),
        ("lstm", "attention", True, 1),
    )
}  # fmt: skip


def reviews(count: int, *, seed: int = 0, longest: int = 12) -> list[str]:
    """Distinct texts of one word and more."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(draw.choices(WORDS, k=draw.randint(1, longest))).capitalize()] = None
    return list(found)


def lively(model: Any) -> Any:
    """The model with weights that all matter, so that classes are far apart."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.15)
    return model.eval()


def student_folder(kind: str, folder: Path) -> Path:
    """Write a student of a kind: a key of `RECURRENT` or `NETWORKS`, or `transformer`, `pooled
    llama`, `pooled bert`, `linear`, `static` or `static sum`.
    """
    texts = reviews(80)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind in RECURRENT:
            settings: Any = {"hidden_size": 10, "embedding_size": 8, **RECURRENT[kind]}
            model, tokenizer = RNN(labels=LABELS, **settings, **_fresh()).build(texts)
        elif kind == "transformer":
            settings = {"hidden_size": 32, "layers": 2, **_fresh()}
            model, tokenizer = Transformer(labels=LABELS, **settings).build(texts)
        elif kind == "linear":
            return _linear(folder)
        elif kind.startswith("static"):
            settings = {"size": 8, "hidden": 0 if "sum" in kind else 6, **_fresh()}
            model, tokenizer = Static(labels=LABELS, **settings).build(texts * 3)
        else:
            model, tokenizer = _network(kind, texts)
    return save(lively(model), tokenizer, folder)


def _fresh() -> dict[str, Any]:
    return {"embeddings": "random", "max_length": 20, "tokenizer": "wordpiece"}


def _network(kind: str, texts: Sequence[str]) -> tuple[Any, Any]:
    tokenizer = train_tokenizer(texts, vocabulary_size=400, boundaries=True, max_length=20)
    id2label, label2id = label_names(LABELS)
    names: Any = {"id2label": id2label, "label2id": label2id}
    config = NETWORKS[kind.removeprefix("pooled ")](len(tokenizer))
    if kind.startswith("pooled"):
        pooled = PooledConfig(
            text_config=config, pooling=["mean", "last"], plain_norm=True, begin_token_id=2, **names
        )
        return PooledForSequenceClassification(pooled), tokenizer
    config.id2label, config.label2id, config.pad_token_id = id2label, label2id, 0
    return AutoModelForSequenceClassification.from_config(config), tokenizer


def _linear(folder: Path) -> Path:
    student = Linear(labels=LABELS, strength=1e-4, max_length=20)
    start, ngrams = student.build(texts_of(120, seed=0))
    rows = (encoded(ngrams, texts_of(120, seed=0)), encoded(ngrams, texts_of(40, seed=1)))
    folder.mkdir(parents=True, exist_ok=True)
    return student.fit(start, *rows, objective=Objective(), record=lambda _: None).model.save(
        folder
    )
