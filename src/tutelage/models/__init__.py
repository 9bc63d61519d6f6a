"""Models by name: found, loaded, read without their weights, and asked for final states and logits.

In: a folder, a .gguf file, a hub id or `package:NAME`. Out: a model with its tokenizer, facts about
it, and the two halves of what it computes: final states, and the output matrix that makes logits of
them. Names are resolved when first used: what names a model by its files needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.models.facts import ModelFacts, model_facts
    from tutelage.models.final_states import OutputLayer, load_language_student, packs
    from tutelage.models.identity import model_fingerprint
    from tutelage.models.loading import LanguageModel, has_fast_bfloat16, load_language_model
    from tutelage.models.tokenizers import (
        load_tokenizer,
        model_config,
        require_same_tokenizer,
        tokenizer_fingerprint,
    )

__all__ = [
    "LanguageModel",
    "ModelFacts",
    "OutputLayer",
    "has_fast_bfloat16",
    "load_language_model",
    "load_language_student",
    "load_tokenizer",
    "model_config",
    "model_facts",
    "model_fingerprint",
    "packs",
    "require_same_tokenizer",
    "tokenizer_fingerprint",
]

_FILES = {
    "LanguageModel": "loading",
    "ModelFacts": "facts",
    "OutputLayer": "final_states",
    "has_fast_bfloat16": "loading",
    "load_language_model": "loading",
    "load_language_student": "final_states",
    "load_tokenizer": "tokenizers",
    "model_config": "tokenizers",
    "model_facts": "facts",
    "model_fingerprint": "identity",
    "packs": "final_states",
    "require_same_tokenizer": "tokenizers",
    "tokenizer_fingerprint": "tokenizers",
}


def __getattr__(name: str) -> Any:
    """A name of this room, imported when it is first asked for."""
    if name not in _FILES:
        raise AttributeError(f"module 'tutelage.models' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tutelage.models.{_FILES[name]}"), name)
    globals()[name] = value
    return value
