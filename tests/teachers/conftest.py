from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
    PreTrainedTokenizerFast,
)

from tutelage.models import LanguageModel
from tutelage.types import Example

CORPUS = [
    "Text: the camera works and the pictures are good Label: positive",
    "Text: the battery died after two days, bad product Label: negative",
    "Text: it arrived on a monday in a box Label: neutral",
    "Classify each text. Answer with one of these labels: negative, neutral or positive.",
    "very positive very negative somewhat positive pos neg great terrible",
] * 4

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    "good",
    "the pictures are bad and the battery died",
    "it arrived",
    "a box on a monday, a box on a tuesday and two days after that a very good camera in another "
    "box",
    "!",
    "works",
]
LABELS = ("negative", "neutral", "positive")
WORDS = ("bad terrible", "box monday", "good great")


@pytest.fixture(autouse=True)
def _one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet),
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>", pad_token="<|end|>")
    fast.add_special_tokens({"additional_special_tokens": special[1:]})
    return fast


def tiny_config(vocabulary: int, **changes) -> LlamaConfig:
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 0,
    }
    return LlamaConfig(**{**settings, **changes})


def tiny_model(tokenizer, model_class=LlamaForCausalLM, **changes) -> LanguageModel:
    torch.manual_seed(0)
    model = model_class(tiny_config(len(tokenizer), **changes)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(6)  # far from uniform, so that a wrong score shows
    return LanguageModel(model, tokenizer, "tiny", "tiny-fingerprint", torch.float32)


@pytest.fixture
def make_model(tokenizer):
    """Makes a tiny Llama; keyword arguments change its configuration."""
    return lambda model_class=LlamaForCausalLM, **changes: tiny_model(
        tokenizer, model_class, **changes
    )


@pytest.fixture
def language_model(tokenizer) -> LanguageModel:
    return tiny_model(tokenizer)


@pytest.fixture
def chat_template() -> str:
    return CHAT_TEMPLATE


@pytest.fixture
def shots() -> list[Example]:
    return [
        Example("the camera works and the pictures are good", 2),
        Example("it arrived on a monday in a box", 1),
        Example("the battery died after two days", 0),
    ]


@pytest.fixture
def examples() -> list[Example]:
    return [Example(text) for text in TEXTS]


@pytest.fixture
def labelled() -> list[Example]:
    rng = np.random.default_rng(0)
    rows = []
    for index in range(45):
        label = index % 3
        words = [*WORDS[label].split(), "it", "the", "and", "days", str(index)]
        rows.append(Example(" ".join(rng.permutation(words)), label))
    return rows


@pytest.fixture
def backbone(make_model) -> LanguageModel:
    return make_model(LlamaModel)


@pytest.fixture
def sequence_model(make_model) -> LanguageModel:
    return make_model(
        LlamaForSequenceClassification,
        id2label=dict(enumerate(LABELS)),
        label2id={n: i for i, n in enumerate(LABELS)},
    )
