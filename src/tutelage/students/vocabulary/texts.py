"""What the tokens of a vocabulary say, as plain text.

In: a fast tokenizer. Out: one text per token, with a leading space where the token starts a word.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tokenizers import pre_tokenizers


def token_texts(tokenizer: Any) -> list[str | None]:
    """The text of every token.

    Args:
        tokenizer: A fast tokenizer: WordPiece, word-level, or byte-level BPE.

    Returns:
        V texts in the order of ids. A token that starts a word has a leading space, a continuing
        piece has none, neither has a punctuation mark, which usually stands behind a word. None for
        special tokens and for bytes that are no whole character.

    Raises:
        ValueError: The tokenizer is of another kind.
    """
    backend = tokenizer.backend_tokenizer
    state = json.loads(backend.to_str())
    kind = state["model"]["type"]
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids) | {token["id"] for token in state["added_tokens"]}
    match kind:
        case "WordPiece":
            prefix = state["model"]["continuing_subword_prefix"]
            texts = [_word_text(name, prefix) for name in names]
        case "WordLevel":
            texts = [_word_text(name, None) for name in names]
        case "BPE" if '"ByteLevel"' in json.dumps(state["pre_tokenizer"]):
            texts = [_byte_text(name) for name in names]
        case _:
            raise ValueError(
                f"a {kind} tokenizer was given: expected WordPiece, WordLevel or byte-level BPE"
            )
    return [None if index in special else text for index, text in enumerate(texts)]


def _word_text(name: str, prefix: str | None) -> str:
    if prefix and name.startswith(prefix) and len(name) > len(prefix):
        return name[len(prefix) :]
    return f" {name}" if any(letter.isalnum() for letter in name) else name


def _byte_text(name: str) -> str | None:
    table = _byte_of_letter()
    try:
        return bytes(table[letter] for letter in name).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return None


@cache
def _byte_of_letter() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for: printable ones for
    themselves, others beyond.
    """
    letters = set(pre_tokenizers.ByteLevel.alphabet())
    themselves = {letter: ord(letter) for letter in letters if ord(letter) < 256}
    others = (byte for byte in range(256) if byte not in set(themselves.values()))
    return themselves | dict(zip(sorted(letters - set(themselves)), others, strict=True))
