"""Tiny models that cap, scale or divide their logits."""

from __future__ import annotations

from typing import Any

import torch
from tests.train.tiny_language import PAD, VOCABULARY
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, GraniteConfig

SIZES = {
    "vocab_size": VOCABULARY + 13,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS = {
    "gemma2": Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=2.0, attn_implementation="eager"),
    "granite": GraniteConfig(**SIZES, logits_scaling=0.25),
    "cohere": CohereConfig(**SIZES, logit_scale=3.0),
}


def tiny_model(kind: str, *, seed: int) -> Any:
    """A model whose logits are not just states times matrix, far from uniform."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIGS[kind]).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.5)
    return model
