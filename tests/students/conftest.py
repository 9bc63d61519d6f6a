"""Small things to test students with: texts, labels, a random teacher."""

import random
from types import SimpleNamespace

import pytest
import torch
from tests.students.tiny_causal_models import MODELS, built
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tutelage.models.computing import one_thread

SENTENCE = (
    "good bad film movie it's don't awful great the a plot acting very not boring wonderful , . ! "
    "naïve"
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="session")
def texts():
    rng = random.Random(0)
    return [
        " ".join(rng.choices(SENTENCE.split(), k=rng.randint(1, 12))).capitalize()
        for _ in range(80)
    ]


@pytest.fixture(scope="session")
def labels():
    return ["negative", "neutral", "positive"]


@pytest.fixture(scope="session")
def teacher(texts):
    """A tiny byte-level language model with random weights."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>", "<|begin|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(
        [*texts, "Other words that the student's corpus never uses, again and again."] * 2, trainer
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|begin|>", eos_token="<|end|>"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
    return SimpleNamespace(model=model, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def llama():
    return built(*MODELS["llama sdpa"][:2])
