"""Models by name: found, loaded, read without their weights, and asked for final states and logits.

In: a folder, a .gguf file, a hub id or `package:NAME`. Out: a model with its tokenizer, facts about
it, and the two halves of what it computes: final states, and the output matrix that makes logits of
them.
"""

from tutelage.models.facts import ModelFacts, model_facts
from tutelage.models.final_states import (
    OutputLayer,
    final_states,
    load_language_student,
    output_layer,
    packs,
)
from tutelage.models.loading import (
    LanguageModel,
    has_fast_bfloat16,
    load_language_model,
    model_fingerprint,
)
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
    "final_states",
    "has_fast_bfloat16",
    "load_language_model",
    "load_language_student",
    "load_tokenizer",
    "model_config",
    "model_facts",
    "model_fingerprint",
    "output_layer",
    "packs",
    "require_same_tokenizer",
    "tokenizer_fingerprint",
]
