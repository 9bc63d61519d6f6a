"""Rows of tokens cut into batches: sorted by length, within a budget, with little padding.

In: how many tokens each row has. Out: lists of row indices, longest rows first, each row once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

FULL_ENOUGH_TOKENS = 512
"""Tokens from which a larger batch is hardly faster on a processor, so that it may end early to
save padding."""
MOST_PADDING = 0.02
"""Share of padding from which a batch that is full enough ends."""


def length_batches(
    lengths: Sequence[int],
    *,
    batch_tokens: int,
    device: torch.device,
    fits: Callable[[int, int], bool] = lambda _rows, _width: True,
) -> Iterator[list[int]]:
    """Cut rows into batches.

    Args:
        lengths: Tokens of each row.
        batch_tokens: Rows times the longest row, at most; a row longer than this has a batch of its
            own.
        device: Where the batch will run. An accelerator wants it as full as can be, a processor is
            content with less.
        fits: Another bound, asked for a number of rows and a width.

    Yields:
        Indices into `lengths`.
    """
    enough = FULL_ENOUGH_TOKENS if device.type == "cpu" else batch_tokens
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
