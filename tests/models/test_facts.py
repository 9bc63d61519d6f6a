"""Facts told from a configuration alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from transformers import (
    BartConfig,
    BertConfig,
    Gemma3Config,
    LlamaConfig,
    T5Config,
    ViTConfig,
    WhisperConfig,
)

from tutelage.models import context_tokens, continues_text
from tutelage.students import RecurrentConfig, RecurrentLanguageConfig


@pytest.mark.parametrize(
    ("config", "causal"),
    [
        (LlamaConfig(), True),
        (Gemma3Config(), True),
        (RecurrentLanguageConfig(vocab_size=9), True),
        (BertConfig(is_decoder=True), True),
        (BertConfig(), False),
        (BartConfig(), False),
        (T5Config(), False),
        (ViTConfig(), False),
        (WhisperConfig(), False),
        (RecurrentConfig(vocabulary_size=9), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_causal_language_models_are_told_from_others(config, causal):
    assert continues_text(config) == causal


def test_code_of_its_own_says_what_it_can_do():
    own = SimpleNamespace(auto_map={"AutoModelForCausalLM": "code.Model"})
    own.get_text_config = lambda: own
    assert continues_text(own)
    own.auto_map = {"AutoModel": "code.Model"}
    assert not continues_text(own)


def test_how_much_a_model_reads():
    assert context_tokens(LlamaConfig(max_position_embeddings=64)) == 64
    assert context_tokens(RecurrentLanguageConfig(vocab_size=9)) is None
