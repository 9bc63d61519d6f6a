"""A tiny language model with a tokenizer of its own, and texts of a few words."""

from __future__ import annotations

import random
from typing import Any

KNOWN = ["the", "a", "good", "bad", "film", "movie", "plot", "was", "very", "not", "boring", "and"]
UNSEEN = ["wonderful", "acting"]
"""Words that the tokenizer has tokens for, and that training documents can be made without."""


def texts(words: list[str], count: int, seed: int) -> list[str]:
    """Texts of four to ten words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=draw.randint(4, 10))) for _ in range(count)]


def tiny_teacher(corpus: list[str]) -> tuple[Any, Any]:
    """A random Llama whose matrix has a few rows more than its byte-level tokenizer has tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=["<|end|>"], initial_alphabet=alphabet
    )
    backend.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|end|>", bos_token="<|end|>", pad_token="<|end|>"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 6, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval(), tokenizer
