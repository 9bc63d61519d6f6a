"""Tiny causal language models of several families."""

import torch
from transformers import (
    DogeConfig,
    DogeForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SLIDING = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
MODELS = {
    "llama sdpa": (LlamaForCausalLM, LlamaConfig(**SIZES), "sdpa"),
    "llama eager": (LlamaForCausalLM, LlamaConfig(**SIZES), "eager"),
    "one window, sdpa": (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=4), "sdpa"),
    "some layers with a window, eager": (
        Qwen2ForCausalLM,
        Qwen2Config(**SIZES, **SLIDING),
        "eager",
    ),
    "some layers with a window, sdpa": (Qwen2ForCausalLM, Qwen2Config(**SIZES, **SLIDING), "sdpa"),
    "gemma": (Gemma2ForCausalLM, Gemma2Config(**SIZES, head_dim=8, sliding_window=4), "eager"),
    "a mask of its own": (DogeForCausalLM, DogeConfig(**SIZES, sliding_window=None), "sdpa"),
    "learned positions": (
        GPT2LMHeadModel,
        GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4),
        "sdpa",
    ),
}


def built(kind, config, attention="sdpa"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind._from_config(config, attn_implementation=attention).eval()
    for weight in model.parameters():
        weight.data.mul_(3)  # attention that prefers some tokens to others
    return model
