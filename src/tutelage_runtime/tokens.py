"""Texts as tokens, the way that training read them, and as pairs of neighbouring tokens.

In: a `tokenizer.json`. Out: ids. Students in tutelage read texts with these same functions, so that
an exported one cannot read them otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def tokenizer_from(text: str, *, max_length: int) -> Tokenizer:
    """A tokenizer as students are trained and asked with it: without padding, and a text that
    spells a special token stays text.

    Args:
        text: What stands in `tokenizer.json`.
        max_length: Tokens after which a text is cut, special tokens among them.

    Raises:
        ValueError: It is no tokenizer, or `max_length` leaves no room for its special tokens.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)
    except Exception as error:  # of the library's own, which has no narrower class
        raise ValueError(str(error)) from error
    tokenizer.encode_special_tokens = True
    return tokenizer


def with_pairs(ids: Sequence[int], rows: Mapping[tuple[int, int], int]) -> list[int]:
    """Rows of the tokens of a text, then of the pairs of neighbours among them that are known.

    Args:
        ids: Tokens of a text, each its own row.
        rows: Of known pairs.

    Example:
        >>> with_pairs([5, 6, 7], {(6, 7): 10})
        [5, 6, 7, 10]
    """
    return [*ids, *(rows[pair] for pair in pairwise(ids) if pair in rows)]


def pair_rows(keys: Iterable[int], *, tokens: int) -> dict[tuple[int, int], int]:
    """The row of every pair in a table of tokens with the pairs behind them.

    Args:
        keys: Of pairs in the order of their rows: the first token times `tokens` plus the second.
        tokens: Rows of tokens.
    """
    return {divmod(key, tokens): row for row, key in enumerate(keys, tokens)}
