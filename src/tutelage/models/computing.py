"""How models are run on this machine: the number format that is fast here, on how many threads, and
rows of tokens cut into batches of similar length, with little padding.

In: how many tokens each row has. Out: lists of row indices, longest rows first, each row once; the
rows as a tensor; how long a row may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError
from tutelage.models.facts import context_tokens

FULL_ENOUGH_TOKENS = 512
"""Tokens from which a larger batch is hardly faster on a processor, so that it may end early to
save padding."""
MOST_PADDING = 0.02
"""Share of padding from which a batch that is full enough ends."""


def length_batches(
    lengths: Sequence[int],
    *,
    batch_tokens: int,
    device: torch.device | None = None,
    fits: Callable[[int, int], bool] = lambda _rows, _width: True,
) -> Iterator[list[int]]:
    """Cut rows into batches.

    Args:
        lengths: Tokens of each row.
        batch_tokens: Rows times the longest row, at most; a row longer than this has a batch of its
            own.
        device: Where the batch will run. An accelerator wants it as full as can be, a processor is
            content with less. None: as full as can be, wherever.
        fits: Another bound, asked for a number of rows and a width.

    Yields:
        Indices into `lengths`.
    """
    on_processor = device is not None and device.type == "cpu"
    enough = FULL_ENOUGH_TOKENS if on_processor else batch_tokens
    batch: list[int] = []
    width = real = 0
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        rows = len(batch) + 1
        padded = width * rows
        sparse = (
            width * len(batch) >= enough and real + lengths[index] < (1 - MOST_PADDING) * padded
        )
        if batch and (padded > batch_tokens or sparse or not fits(rows, width)):
            yield batch
            batch, width, real = [], 0, 0
        width = width or lengths[index]
        real += lengths[index]
        batch.append(index)
    if batch:
        yield batch


def pad(
    rows: Sequence[Sequence[int]], pad_id: int, *, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Rows of token ids padded on the right, [B, T], and their lengths, [B]; an empty row counts
    one padding token.
    """
    width = max(1, *(len(row) for row in rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
    return ids.to(device), torch.tensor([max(1, len(row)) for row in rows], device=device)


def readable_tokens(model: Any, max_length: int) -> int:
    """`max_length`, or what the model has positions for where that is less.

    Args:
        model: A transformers model, also one that PEFT has wrapped.
        max_length: What was asked for.

    Returns:
        Tokens, special ones included.
    """
    positions = context_tokens(model.config)
    return max_length if positions is None else min(max_length, positions)


def require_embeddings(
    rows: Sequence[Sequence[int]], vocabulary: int | None, *, tokenizer: Any, name: str
) -> None:
    """Refuse tokens that a model has no embedding for: a tokenizer may know more than its model.

    Args:
        rows: Token ids of each text.
        vocabulary: How many tokens the model has embeddings for; None: nobody knows.
        tokenizer: That made the ids.
        name: The model, for the message.

    Raises:
        DataError: A row holds one; both are named.
    """
    if vocabulary is None or len(tokenizer) <= vocabulary:
        return
    for number, ids in enumerate(rows, start=1):
        highest = max(ids, default=0)
        if highest >= vocabulary:
            raise DataError(
                f"text {number} holds {tokenizer.decode([highest])!r}, token {highest:,} of the "
                f"tokenizer of {name}, but its model has embeddings for {vocabulary:,} only: "
                "resize the model's embeddings and save it again, or leave the token out"
            )


def choose_dtype(dtype: str) -> torch.dtype:
    """What to hold weights in: the one asked for, or for `auto` bfloat16 only where hardware
    multiplies it.

    Raises:
        ValueError: A name other than auto, float32, bfloat16.
    """
    match dtype:
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
        case "auto":
            return torch.bfloat16 if has_fast_bfloat16() else torch.float32
    raise ValueError(f"dtype={dtype!r} given; expected auto, float32 or bfloat16")


def has_fast_bfloat16() -> bool:
    """True on a CUDA device with bfloat16, or a processor with AVX512_BF16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch work on one thread inside; afterwards on as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
