"""Texts as tokens: which of them are trained, and how many bytes of text each spells.

In: texts with the spans that train. Out: arrays over tokens. Every text is tokenized once and as a
whole, so the tokens are exactly those that the teacher would make of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.data.documents.control_tokens import ControlTokens, LiteralEncoder, Span
from tutelage.errors import DataError

LongDocuments = Literal["refuse", "split", "truncate"]
"""What becomes of a document with too many tokens."""

_TEXTS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Trainable:
    """A text and what of it trains."""

    text: str
    """As it is tokenized."""

    spans: tuple[Span, ...] | None = None
    """Start and end, in characters, of what trains; None: all of it."""

    enclosed: bool = False
    """Whether the tokenizer's begin-of-text token goes before it, its end-of-text token after
    it."""

    literal: tuple[Span, ...] = ()
    """Where control tokens are spelled that are text, in order."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """One text as T tokens."""

    ids: NDArray[np.int32]
    """The tokens, [T]."""

    trained: NDArray[np.bool_]
    """Which of them train, [T]; the first never does."""

    num_bytes: NDArray[np.int32]
    """UTF-8 bytes of the text that each of them spells, [T]; 0 for control tokens."""

    num_control: int = 0
    """Control tokens that the tokenizer makes of a text that spells them, though it is to stay
    text."""

    def piece(self, start: int, stop: int) -> Tokens:
        """A stretch of the tokens as a text of its own, whose first token does not train."""
        trained = self.trained[start:stop].copy()
        trained[:1] = False
        return Tokens(self.ids[start:stop], trained, self.num_bytes[start:stop])


def tokenize(tokenizer: Any, texts: Sequence[Trainable]) -> Iterator[Tokens]:
    """Tokenize texts and lay their spans over the tokens.

    A token trains if any of its characters lies in a span: where the last character of a prompt and
    the first of a response are one token, the response begins with that token.

    Args:
        tokenizer: A fast tokenizer of transformers.
        texts: Non-empty texts.

    Yields:
        The tokens of each text, in order.

    Raises:
        DataError: The tokenizer cannot say where in a text its tokens stand.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise DataError(
            f"{type(tokenizer).__name__} does not tell where in a text its tokens stand; expected "
            "a fast tokenizer: "
            "save the model with a tokenizer.json"
        )
    special = np.array(sorted(tokenizer.all_special_ids), dtype=np.int64)
    encode = _Encoder(tokenizer)
    first, last = tokenizer.bos_token_id, tokenizer.eos_token_id
    before, after = first if first is not None else last, last
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        batch = texts[start : start + _TEXTS_AT_ONCE]
        for one, (ids, offsets) in zip(batch, encode(batch), strict=True):
            tokens = _tokens(one, ids, np.array(offsets, dtype=np.int64).reshape(-1, 2), special)
            whole = _enclosed(tokens, before, after) if one.enclosed else tokens
            made = encode.made_control(one, ids, offsets) if one.literal else 0
            yield replace(whole.piece(0, len(whole.ids)), num_control=made)


class _Encoder:
    """Texts as ids with the characters each stands for. State: what is needed for texts that spell
    control tokens, made when the first one comes.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._control: ControlTokens | None = None
        self._literal: LiteralEncoder | None = None

    def __call__(self, texts: Sequence[Trainable]) -> list[tuple[list[int], list[Span]]]:
        encoded = self._tokenizer(
            [one.text for one in texts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [
            self._as_text(one) or pair if one.literal else pair
            for one, pair in zip(texts, pairs, strict=True)
        ]

    def _as_text(self, one: Trainable) -> tuple[list[int], list[Span]] | None:
        if self._control is None:
            self._control = ControlTokens(self._tokenizer)
            with suppress(DataError):  # what is read as tokens then is counted
                self._literal = LiteralEncoder(self._tokenizer, self._control)
        return None if self._literal is None else self._literal.encode(one.text, one.literal)

    def made_control(self, one: Trainable, ids: Sequence[int], offsets: Sequence[Span]) -> int:
        """How many control tokens stand where the text is literal."""
        assert self._control is not None  # from the call before
        control = set(self._control.ids(self._tokenizer))
        return sum(
            token in control and any(start < stop and end > begin for begin, stop in one.literal)
            for token, (start, end) in zip(ids, offsets, strict=True)
        )


def cut(tokens: Tokens, sequence_length: int, *, long_documents: LongDocuments) -> list[Tokens]:
    """Make tokens fit.

    Args:
        tokens: T tokens.
        sequence_length: The most tokens, at least 2.
        long_documents: `truncate` keeps the beginning; `split` makes pieces of `sequence_length`
            tokens, the last of them shorter, or dropped where it would be a single token. `refuse`
            leaves longer texts as they are.

    Returns:
        What is left, in order. The first token of a piece does not train, since nothing comes
        before it.
    """
    length = len(tokens.ids)
    if length <= sequence_length or long_documents == "refuse":
        return [tokens]
    if long_documents == "truncate":
        return [tokens.piece(0, sequence_length)]
    starts = range(0, length - 1, sequence_length)
    return [tokens.piece(start, start + sequence_length) for start in starts]


def _tokens(
    one: Trainable, ids: Sequence[int], offsets: NDArray[np.int64], special: NDArray[np.int64]
) -> Tokens:
    """Tokens of a text alone; the first is still taken for trained, for something may come before
    it.
    """
    ids_T = np.array(ids, dtype=np.int32)
    starts_T, ends_T = offsets[:, 0], offsets[:, 1]
    if one.spans is None:
        trained = np.ones(len(ids_T), dtype=np.bool_)
    else:
        trained = np.zeros(len(ids_T), dtype=np.bool_)
        for start, end in one.spans:
            trained |= (starts_T < end) & (ends_T > start)
    # Some tokenizers leave space out of their offsets: a token reaches from where the one before it
    # ends.
    bytes_before = _bytes_before(one.text)
    reached = np.maximum.accumulate(ends_T) if len(ids_T) else ends_T
    num_bytes = np.diff(bytes_before[reached], prepend=0).astype(np.int32)
    num_bytes[-1:] += np.int32(bytes_before[-1]) - num_bytes.sum(dtype=np.int32)
    num_bytes[np.isin(ids_T, special)] = 0
    return Tokens(ids_T, trained, num_bytes)


def _bytes_before(text: str) -> NDArray[np.int64]:
    """UTF-8 bytes of the first n characters, for n = 0 ... the length of the text."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    sizes = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    return np.concatenate([[0], np.cumsum(sizes)])


def _enclosed(tokens: Tokens, before: int | None, after: int | None) -> Tokens:
    """With a token at each end, where the tokenizer has such; the one at the end trains."""
    head, tail = ([] if token is None else [token] for token in (before, after))
    return Tokens(
        np.concatenate([head, tokens.ids, tail]).astype(np.int32),
        np.concatenate([np.zeros(len(head)), tokens.trained, np.ones(len(tail))]).astype(np.bool_),
        np.concatenate([np.zeros(len(head)), tokens.num_bytes, np.zeros(len(tail))]).astype(
            np.int32
        ),
    )
