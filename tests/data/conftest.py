"""Tokenizers that tests share."""

from __future__ import annotations

from typing import Any

import pytest
from tests.data.tiny_tokenizer import make_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """With a chat template; leave it as it is."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def base_tokenizer() -> Any:
    """Without a chat template."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    return tokenizer
