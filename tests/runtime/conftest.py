"""Tiny exported students."""

import pytest
from tests.runtime.tiny_bundles import write_tokens

from tutelage.students.vocabulary.training import train_tokenizer

TEXTS = [
    "A fine film, and a fine evening.",
    "The plot is thin; the acting thinner!",
    "I laughed, I cried: naïve, but good.",
    "Nobody will see this twice.",
]


@pytest.fixture(scope="session")
def texts():
    return TEXTS


@pytest.fixture(scope="session")
def tokenizer(texts):
    return train_tokenizer(texts, kind="wordpiece", vocabulary_size=120).backend_tokenizer


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, tokenizer):
    return write_tokens(tmp_path_factory.mktemp("bundles") / "tiny", tokenizer)
