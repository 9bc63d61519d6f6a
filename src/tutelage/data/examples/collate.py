"""From encoded rows to padded tensors: the only place where a batch is put together.

In: token ids, labels and soft targets of all rows. Out: the tensors of the rows asked for, padded
on the right to the longest of them. Needs torch, unlike the rest of this room, and is therefore
imported by its full name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.errors import ShapeMismatch
from tutelage.losses import IGNORED_LABEL


@dataclass(frozen=True)
class EncodedSet:
    """N rows as a model reads them."""

    input_ids: Sequence[Sequence[int]]
    """Token ids of each row, not padded."""
    labels: NDArray[np.int64]
    """Class index of each row `[N]`; -100 where nobody labelled it."""
    teacher_probs: NDArray[np.float32] | None = None
    """Soft targets at temperature 1, `[N, C]`; None where there is no teacher."""

    def __post_init__(self) -> None:
        """Refuse parts of different lengths."""
        rows = [len(self.input_ids), len(self.labels)]
        rows += [] if self.teacher_probs is None else [len(self.teacher_probs)]
        if len(set(rows)) != 1:
            raise ShapeMismatch(
                f"token ids, labels and soft targets of {', '.join(map(str, rows))} rows given; "
                "expected the same rows in each"
            )

    def __len__(self) -> int:
        """N."""
        return len(self.labels)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, `[N]`."""
        return np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    @cached_property
    def labelled(self) -> NDArray[np.int64]:
        """The rows that somebody labelled."""
        return np.flatnonzero(self.labels != IGNORED_LABEL)

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """The token ids of all rows, one row after the other."""
        return np.fromiter(
            (token for ids in self.input_ids for token in ids),
            dtype=np.int64,
            count=int(self.lengths.sum()),
        )

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each row begins in `tokens`, `[N]`."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def teacher_logprobs(self) -> NDArray[np.float32] | None:
        """Logarithm of the soft targets, `[N, C]`; -inf where the teacher gives no mass."""
        if self.teacher_probs is None:
            return None
        with np.errstate(divide="ignore"):
            return np.log(self.teacher_probs, dtype=np.float32)

    def select(self, rows: Sequence[int] | NDArray[np.integer]) -> EncodedSet:
        """These rows, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        probs = None if self.teacher_probs is None else self.teacher_probs[rows]
        return EncodedSet([self.input_ids[row] for row in rows], self.labels[rows], probs)

    def without_teacher(self) -> EncodedSet:
        """The same rows without soft targets."""
        return EncodedSet(self.input_ids, self.labels)


def collate(
    encoded: EncodedSet, rows: Sequence[int] | NDArray[np.integer], *, pad_id: int
) -> dict[str, Tensor]:
    """The tensors of some rows.

    Args:
        encoded: All rows.
        rows: Which of them, B >= 1 indexes.
        pad_id: Fills the right of shorter rows.

    Returns:
        `input_ids` and `attention_mask` (1 on real tokens), int64 `[B, T]`; `labels`, int64 `[B]`;
        and where there are soft targets `teacher_logprobs`, float32 `[B, C]`, -inf where the
        teacher gives no mass.
    """
    rows = np.asarray(rows, dtype=np.int64)
    lengths = encoded.lengths[rows]
    mask = np.arange(max(1, int(lengths.max()))) < lengths[:, None]
    ids_BT = np.full(mask.shape, pad_id, dtype=np.int64)
    # True places of a mask are filled row by row, which is the order in which the rows' tokens are
    # strung together.
    ids_BT[mask] = encoded.tokens[(encoded.starts[rows][:, None] + np.arange(mask.shape[1]))[mask]]
    batch = {
        "input_ids": torch.from_numpy(ids_BT),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        "labels": torch.from_numpy(encoded.labels[rows]),
    }
    if encoded.teacher_logprobs is not None:
        batch["teacher_logprobs"] = torch.from_numpy(encoded.teacher_logprobs[rows])
    return batch
