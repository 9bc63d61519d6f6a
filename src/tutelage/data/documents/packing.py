"""Which documents share a row, a micro-batch, a step, and their rows as tensors.

Plans are lists of indexes, made from lengths alone, that hold every document exactly once. The same
seed and epoch always give the same plan, so a killed run goes on where it was. `collate_packed`
makes of documents and the rows they share one rectangle of tokens, the positions whose states
predict a trained token, and those tokens: the only place where targets are shifted against the
tokens they belong to, and the only one here that needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tutelage.runs import seed_sequence
from tutelage.types import Document

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Row = list[int]
"""Indexes of the documents that lie behind each other in one row."""

_WINDOW_ROWS = 64
"""Rows filled from one window of documents: enough that few tokens are wasted, few enough that rows
stay mixed."""

_RUN_TOKENS = 2048
"""Without packing, documents of similar length stay together in runs of so many tokens, and a step
is some of them: it needs little padding and yet mixes long and short ones. Not the size of a
micro-batch, which must change nothing."""

_WINDOW_RUNS = 32
"""Such runs cut from one window of documents that was sorted by length, so that they need little
padding."""


def pack(
    lengths: Sequence[int] | NDArray[np.integer], *, sequence_length: int, seed: int
) -> list[Row]:
    """Fill rows with whole documents, first-fit decreasing inside shuffled windows.

    Sorting all documents by length would waste the least but put alike documents together in every
    epoch; windows waste about half a row each and keep the order random.

    Args:
        lengths: Tokens of each document, at least 1.
        sequence_length: The most tokens of a row.
        seed: Of the order of documents and of rows.

    Returns:
        Rows in random order; every index in exactly one of them.

    Raises:
        ValueError: A document is longer than a row, or empty.
    """
    sizes = _checked(lengths, sequence_length)
    return _filled(np.arange(len(sizes)), sizes, sequence_length, np.random.default_rng(seed))


def micro_batches(
    lengths: Sequence[int] | NDArray[np.integer],
    *,
    tokens_per_step: int,
    tokens_per_micro_batch: int,
    sequence_length: int,
    pack: bool,
    seed: int,
    epoch: int,
) -> list[list[list[Row]]]:
    """Lay out one epoch: steps of micro-batches of rows of documents.

    What a step holds is drawn before it is cut into micro-batches, so `tokens_per_micro_batch` is a
    matter of memory alone: the same documents make the same steps whatever it is. Without packing a
    row is one document, and the documents of a micro-batch are of similar length.

    Args:
        lengths: Tokens of each document, at least 1.
        tokens_per_step: The most tokens of one optimizer step.
        tokens_per_micro_batch: The most tokens that go through a model at once, padding included.
        sequence_length: The most tokens of a row.
        pack: Whether several documents may share a row.
        seed: Of all random choices.
        epoch: Its number; every epoch has an order of its own.

    Returns:
        Steps; every document is in exactly one row. A budget is exceeded only by a document that is
        longer than it, which is then alone.

    Raises:
        ValueError: A document is longer than `sequence_length`, or empty, or a budget is below 1.
    """
    if tokens_per_step < 1 or tokens_per_micro_batch < 1:
        raise ValueError(
            f"tokens_per_step={tokens_per_step}, tokens_per_micro_batch={tokens_per_micro_batch}; "
            "expected at least 1"
        )
    sizes = _checked(lengths, sequence_length)
    draw = np.random.default_rng(seed_sequence(seed, "packing", epoch))
    if pack:
        width = min(sequence_length, tokens_per_step)
        short, long = np.flatnonzero(sizes <= width), np.flatnonzero(sizes > width)
        rows = [*_filled(short, sizes, width, draw), *([int(index)] for index in long)]
        rows = [rows[place] for place in draw.permutation(len(rows))]
        steps = _grouped(rows, sizes, tokens_per_step)
    else:
        run = min(tokens_per_step, _RUN_TOKENS)
        runs = []
        for window in _windows(draw.permutation(len(sizes)), sizes, tokens=_WINDOW_RUNS * run):
            runs += _grouped(_alone(window[np.argsort(-sizes[window], kind="stable")]), sizes, run)
        steps = _steps(
            [runs[place] for place in draw.permutation(len(runs))], sizes, tokens_per_step
        )
    return [_cut(step, sizes, tokens_per_micro_batch) for step in steps]


def _checked(
    lengths: Sequence[int] | NDArray[np.integer], sequence_length: int
) -> NDArray[np.int64]:
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) and not 1 <= sizes.min() <= sizes.max() <= sequence_length:
        raise ValueError(
            f"documents of {sizes.min():,} to {sizes.max():,} tokens were given for rows of "
            f"{sequence_length:,}; "
            "expected at least 1 and at most a row: split or truncate long documents first"
        )
    return sizes


def _windows(
    order: NDArray[np.int64], sizes: NDArray[np.int64], *, tokens: int
) -> list[NDArray[np.int64]]:
    """Stretches of the order with about so many tokens each."""
    if not len(order):
        return []
    before = np.cumsum(sizes[order]) - sizes[order]
    starts = np.flatnonzero(np.diff(before // tokens)) + 1
    return np.split(order, starts)


def _filled(
    indexes: NDArray[np.int64],
    sizes: NDArray[np.int64],
    sequence_length: int,
    draw: np.random.Generator,
) -> list[Row]:
    """Rows that hold these documents, in random order."""
    order = draw.permutation(indexes)
    rows = [
        row
        for window in _windows(order, sizes, tokens=_WINDOW_ROWS * sequence_length)
        for row in _first_fit(
            window[np.argsort(-sizes[window], kind="stable")], sizes, sequence_length
        )
    ]
    return [rows[place] for place in draw.permutation(len(rows))]


def _first_fit(
    order: NDArray[np.int64], sizes: NDArray[np.int64], sequence_length: int
) -> list[Row]:
    rows: list[Row] = []
    free = np.zeros(len(order), dtype=np.int64)
    for index in order:
        size = sizes[index]
        fits = free[: len(rows)] >= size
        place = int(fits.argmax()) if fits.any() else len(rows)
        if place == len(rows):
            rows.append([])
            free[place] = sequence_length
        rows[place].append(int(index))
        free[place] -= size
    return rows


def _alone(order: NDArray[np.int64]) -> list[Row]:
    return [[int(index)] for index in order]


def _cut(step: list[Row], sizes: NDArray[np.int64], budget: int) -> list[list[Row]]:
    """The micro-batches of a step, longest rows first; rows that are too long for one are laid out
    anew.
    """
    fits = [row for row in step if len(row) == 1 or sizes[row].sum() <= budget]
    apart = np.array([index for row in step if row not in fits for index in row], dtype=np.int64)
    apart = apart[np.argsort(-sizes[apart], kind="stable")]
    rows = (
        fits
        + _alone(apart[sizes[apart] > budget])
        + _first_fit(apart[sizes[apart] <= budget], sizes, budget)
    )
    rows.sort(key=lambda row: -int(sizes[row].sum()))
    return _grouped(rows, sizes, budget)


def _grouped(rows: Iterable[Row], sizes: NDArray[np.int64], budget: int) -> list[list[Row]]:
    """Rows in groups, whose rectangle of rows times the longest row stays within the budget."""
    groups: list[list[Row]] = []
    longest = 0
    for row in rows:
        longest = max(longest, int(sizes[row].sum()))
        if groups and longest * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(row)
        else:
            groups.append([row])
            longest = int(sizes[row].sum())
    return groups


def _steps(runs: Iterable[list[Row]], sizes: NDArray[np.int64], budget: int) -> list[list[Row]]:
    """Runs of rows in steps, whose documents together stay within the budget."""
    steps: list[list[Row]] = []
    tokens = 0
    for run in runs:
        size = sum(int(sizes[row].sum()) for row in run)
        if steps and tokens + size <= budget:
            steps[-1] += run
            tokens += size
        else:
            steps.append(list(run))
            tokens = size
    return steps


@dataclass(frozen=True, slots=True, eq=False)
class PackedBatch:
    """B rows of T tokens, in which documents lie behind each other, and their P trained tokens."""

    input_ids: Tensor
    """Tokens, int64 `[B, T]`; rows are filled up on the right."""
    position_ids: Tensor
    """The place of each token in its document, int64 `[B, T]`; 0 on padding."""
    segments: Tensor
    """The number of the document within its row, from 1, int32 `[B, T]`; 0 on padding."""
    positions: Tensor
    """Where in the flattened `[B * T]` states the distribution of each trained token is, int64
    `[P]`: one place before the token itself."""
    labels: Tensor
    """The trained tokens, int64 `[P]`."""
    documents: list[int]
    """The documents in the order in which their trained tokens lie in `positions` and `labels`."""

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch on another device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            segments=self.segments.to(device),
            positions=self.positions.to(device),
            labels=self.labels.to(device),
        )


def collate_packed(
    documents: Sequence[Document], rows: Sequence[Sequence[int]], *, pad_id: int
) -> PackedBatch:
    """Put documents into rows.

    Args:
        documents: All documents.
        rows: For each of the B >= 1 rows the indexes of its documents, in order.
        pad_id: Fills the right of shorter rows.

    Returns:
        The tensors, on the CPU. The trained token t of a document that starts at place s of row b
        is predicted by the state at b * T + s + t - 1; its first token is never trained, so that
        state is always of the same document.

    Raises:
        ValueError: The first token of a document is to be trained.
    """
    import torch

    width = max(1, max(sum(len(documents[index].token_ids) for index in row) for row in rows))
    ids_BT = np.full((len(rows), width), pad_id, dtype=np.int64)
    position_ids_BT = np.zeros((len(rows), width), dtype=np.int64)
    segments_BT = np.zeros((len(rows), width), dtype=np.int32)
    positions, labels, order = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], []
    for place, row in enumerate(rows):
        start = 0
        for segment, index in enumerate(row, start=1):
            document = documents[index]
            stop = start + len(document.token_ids)
            ids_BT[place, start:stop] = document.token_ids
            position_ids_BT[place, start:stop] = np.arange(stop - start)
            segments_BT[place, start:stop] = segment
            trained = np.flatnonzero(document.trained)
            if len(trained) and not trained[0]:
                raise ValueError(
                    f"the first token of document {index} is to be trained, but nothing comes "
                    "before it that could "
                    "predict it; expected trained[0] to be False"
                )
            positions.append(place * width + start + trained - 1)
            labels.append(document.token_ids[trained].astype(np.int64))
            order.append(index)
            start = stop
    return PackedBatch(
        input_ids=torch.from_numpy(ids_BT),
        position_ids=torch.from_numpy(position_ids_BT),
        segments=torch.from_numpy(segments_BT),
        positions=torch.from_numpy(np.concatenate(positions)),
        labels=torch.from_numpy(np.concatenate(labels)),
        documents=order,
    )
