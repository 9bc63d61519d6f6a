"""Texts as inputs of an exported graph, for each of the three sorts that `bundle` names.

In: a bundle and texts. Out: ids of each text, and padded arrays of several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tutelage_runtime.bundle import Bundle, BundleError, Inputs
from tutelage_runtime.student import TextError

_MOST_SAID = 300
TOKENIZER, NGRAMS, PAIRS = "tokenizer.json", "ngrams.json", "pairs.npy"


class Encoded(NamedTuple):
    """A text as its graph reads it."""

    ids: list[int]
    """Of tokens, or rows of a table; none for a text in which there is nothing to read."""
    scale: float = 1.0
    """What the sum of n-grams is multiplied by."""


Encode = Callable[[Sequence[str]], list[Encoded]]


def encoder(bundle: Bundle) -> Encode:
    """What encodes texts for a bundle; thread-safe.

    Raises:
        BundleError: A file that it needs is missing, or not what it must be.
    """
    make = {"tokens": _tokens, "rows": _rows, "ngrams": _ngrams}[bundle.inputs]
    try:
        encode = make(bundle)
    except Exception as error:  # numpy's reader alone has a dozen, with no class in common
        said = f"{type(error).__name__}: {error}"[:_MOST_SAID]
        raise BundleError(
            f"{bundle.folder} cannot be read ({said}): export the student again"
        ) from error

    def checked(texts: Sequence[str]) -> list[Encoded]:
        require_texts(texts)
        return encode(texts)

    return checked


def require_texts(texts: Sequence[str]) -> None:
    """Refuse what is no text.

    Raises:
        TextError: Something is no `str`, or holds a lone surrogate, which is half a character.
    """
    if isinstance(texts, str):
        raise TextError("one text was given where several are expected: put it into a list")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TextError(
                f"text {place} is of type {type(text).__name__}; expected str: decode or convert "
                "it first"
            )
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise TextError(
                    f"text {place} has a lone surrogate (U+{ord(text[error.start]):04X}) as "
                    f"character {error.start}, which is half a character: decode the text with the "
                    "right encoding, or with errors='replace'"
                ) from None


def feed(inputs: Inputs, encoded: Sequence[Encoded], *, pad_id: int) -> dict[str, NDArray]:
    """Inputs of a graph.

    Args:
        inputs: Its sort, see `bundle`.
        encoded: B texts; each is padded to the longest, at least to one place.
        pad_id: What `input_ids` are padded with.

    Returns:
        Arrays by the names that `bundle` gives.
    """
    lengths = [len(one.ids) for one in encoded]
    longest = max(1, max(lengths, default=0))
    pad = [pad_id if inputs == "tokens" else 0]
    rows = [one.ids + pad * (longest - len(one.ids)) for one in encoded]
    ids = np.array(rows, dtype=np.int64).reshape(len(encoded), longest)
    counts = np.arange(longest) < np.array(lengths, dtype=np.int64)[:, None]
    if inputs == "tokens":
        return {"input_ids": ids, "attention_mask": counts.astype(np.int64)}
    arrays = {"rows": ids, "mask": counts.astype(np.float32)}
    if inputs == "ngrams":
        arrays["scale"] = np.array([[one.scale] for one in encoded], dtype=np.float32)
    return arrays


def _text_of(path: Path) -> str:
    """What a file says; a device in its place may never end."""
    if not path.is_file():
        raise ValueError(f"{path.name} is no file")
    return path.read_text("utf-8")


def _tokens(bundle: Bundle) -> Encode:
    from tutelage_runtime.tokens import tokenizer_from

    text = _text_of(bundle.folder / TOKENIZER)
    tokenizer = tokenizer_from(text, max_length=bundle.max_length)

    def encode(texts: Sequence[str]) -> list[Encoded]:
        return [Encoded(found.ids) for found in tokenizer.encode_batch_fast(list(texts))]

    return encode


def _rows(bundle: Bundle) -> Encode:
    from tutelage_runtime.tokens import with_pairs

    tokens, pairs = _tokens(bundle), {}
    if (path := bundle.folder / PAIRS).is_file():
        table = np.load(path, allow_pickle=False)
        if table.ndim != 2 or table.shape[1] != 3:
            raise ValueError(f"{PAIRS} is of shape {table.shape}; expected [N, 3]")
        pairs = {(first, second): row for first, second, row in table.tolist()}

    def encode(texts: Sequence[str]) -> list[Encoded]:
        return [Encoded(with_pairs(one.ids, pairs)) for one in tokens(texts)]

    return encode


def _ngrams(bundle: Bundle) -> Encode:
    import json

    from tutelage_runtime.ngrams import NGrams

    values = json.loads(_text_of(bundle.folder / NGRAMS))
    ngrams = NGrams(
        values["words"],
        values["characters"],
        longest_words=int(values["longest_words"]),
        longest_characters=int(values["longest_characters"]),
        max_length=bundle.max_length,
        lowercase=bool(values["lowercase"]),
    )

    def encode(texts: Sequence[str]) -> list[Encoded]:
        split = [ngrams.split(text) for text in texts]
        return [Encoded(ngrams.known(words), 1 / sqrt(len(words) or 1)) for words in split]

    return encode
