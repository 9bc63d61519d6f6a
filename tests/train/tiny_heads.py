"""Tiny models that cap, scale or divide their logits."""

from __future__ import annotations

from typing import Any

import torch
from tests.train.tiny_language import SIZES
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, GraniteConfig

CONFIGS = {
    "gemma2": Gemma2Config(
        **SIZES, head_dim=8, final_logit_softcapping=2.0, attn_implementation="eager"
    ),
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
