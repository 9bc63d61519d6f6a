"""Packed documents as tensors: the only place where targets are shifted against the tokens they
belong to.

In: documents and which of them share a row. Out: one rectangle of tokens, the positions whose
states predict a trained token, and those tokens. Needs torch, and is therefore imported by its full
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tutelage.types import Document


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
