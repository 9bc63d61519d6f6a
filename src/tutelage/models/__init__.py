"""Models by name: found, loaded, read without their weights, and asked for final states and logits.

In: a folder, a .gguf file, a hub id or `package:NAME`. Out: a model with its tokenizer, facts about
it, and the two halves of what it computes: final states, and the output layer that makes logits of
them. Names are resolved when first used, so that facts are had without waiting for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.models.computing import choose_dtype, has_fast_bfloat16
    from tutelage.models.facts import (
        ModelFacts,
        context_tokens,
        continues_text,
        model_facts,
        model_fingerprint,
    )
    from tutelage.models.final_states import packs
    from tutelage.models.loading import (
        LanguageModel,
        check_model,
        load_language_model,
        load_language_student,
    )
    from tutelage.models.output import OutputLayer, below_adapters, output_layer
    from tutelage.models.reading import (
        load_tokenizer,
        model_config,
        read_config,
        read_tokenizer,
        require_same_tokenizer,
        tokenizer_fingerprint,
    )
    from tutelage.models.registration import register

__all__ = [
    "LanguageModel",
    "ModelFacts",
    "OutputLayer",
    "below_adapters",
    "check_model",
    "choose_dtype",
    "context_tokens",
    "continues_text",
    "has_fast_bfloat16",
    "load_language_model",
    "load_language_student",
    "load_tokenizer",
    "model_config",
    "model_facts",
    "model_fingerprint",
    "output_layer",
    "packs",
    "read_config",
    "read_tokenizer",
    "register",
    "require_same_tokenizer",
    "tokenizer_fingerprint",
]

_NAMES = {
    "LanguageModel": "loading",
    "ModelFacts": "facts",
    "OutputLayer": "output",
    "below_adapters": "output",
    "check_model": "loading",
    "choose_dtype": "computing",
    "context_tokens": "facts",
    "continues_text": "facts",
    "has_fast_bfloat16": "computing",
    "load_language_model": "loading",
    "load_language_student": "loading",
    "load_tokenizer": "reading",
    "model_config": "reading",
    "model_facts": "facts",
    "model_fingerprint": "facts",
    "output_layer": "output",
    "packs": "final_states",
    "read_config": "reading",
    "read_tokenizer": "reading",
    "register": "registration",
    "require_same_tokenizer": "reading",
    "tokenizer_fingerprint": "reading",
}


def __getattr__(name: str) -> Any:
    """A name of this room, imported when it is first asked for."""
    if name not in _NAMES:
        raise AttributeError(
            f"module 'tutelage.models' has no attribute {name!r}; names: {', '.join(__all__)}"
        )
    value = getattr(importlib.import_module(f"tutelage.models.{_NAMES[name]}"), name)
    globals()[name] = value
    return value
