"""Tokenizers as labelling and training see them: named by their rules, and wider than the model's
matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.recipes.language_job import KNOWN, texts, tiny_teacher
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from tutelage.models import load_language_model, load_tokenizer, tokenizer_fingerprint
from tutelage.students import prune, save_model
from tutelage.students.vocabulary.training import train_tokenizer
from tutelage.teachers import CausalTeacher
from tutelage.types import Document


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizers") / "teacher"
    save_model(*tiny_teacher(texts(KNOWN, 100, seed=9)), folder)
    return folder


def test_how_batches_were_padded_and_cut_is_no_part_of_the_fingerprint(
    folder: Path, tmp_path: Path
) -> None:
    plain = load_tokenizer(str(folder))
    used: Any = AutoTokenizer.from_pretrained(folder)
    used(
        ["the film", "a"], truncation=True, max_length=4, padding="max_length"
    )  # as scripts of fine-tuning do
    save_model(tiny_teacher(texts(KNOWN, 100, seed=9))[0], used, tmp_path / "used")
    assert '"max_length": 4' in (tmp_path / "used" / "tokenizer.json").read_text("utf-8")
    fresh = load_tokenizer(str(tmp_path / "used"))
    name = tokenizer_fingerprint(fresh)
    assert fresh.backend_tokenizer.truncation is not None  # which naming it has not changed
    fresh("the film", add_special_tokens=False)
    assert tokenizer_fingerprint(fresh) == name == tokenizer_fingerprint(plain)
    fresh.add_tokens(["boring film"])
    assert tokenizer_fingerprint(fresh) != name


def test_a_padding_token_without_a_row_is_never_looked_up(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = tiny_teacher(texts(KNOWN, 100, seed=9))
    model.resize_token_embeddings(len(tokenizer))
    rows = len(tokenizer)
    plain = CausalTeacher(
        load_language_model(str(save_model(model, tokenizer, tmp_path / "plain")))
    )
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    padded = CausalTeacher(
        load_language_model(str(save_model(model, tokenizer, tmp_path / "padded")))
    )
    assert (padded.tokenizer.pad_token_id, padded.vocabulary) == (rows, rows)
    documents = [
        Document(np.arange(1, length, dtype=np.int32), np.arange(1, length) > 1, num_bytes=1)
        for length in (9, 5)
    ]
    assert (
        prune(padded.language_model.model, layers=1).config.pad_token_id is None
    )  # which would index no row
    for one, other in zip(
        plain.hidden_states(documents), padded.hidden_states(documents), strict=True
    ):
        assert np.allclose(one, other, atol=1e-5)


def test_a_tokenizer_is_read_as_it_was_saved_whatever_the_model(tmp_path: Path) -> None:
    """transformers builds Qwen's splitting around the vocabulary of any tokenizer beside a Qwen 2."""
    tokenizer = train_tokenizer(
        ["a very fine film", "an awful plot"], kind="wordpiece", vocabulary_size=80
    )
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = Qwen2Config(vocab_size=len(tokenizer), **sizes, **heads)
    save_model(Qwen2ForCausalLM(config), tokenizer, tmp_path / "qwen")
    found = load_tokenizer(str(tmp_path / "qwen"))
    assert found.tokenize("a very awful film") == tokenizer.tokenize("a very awful film")
