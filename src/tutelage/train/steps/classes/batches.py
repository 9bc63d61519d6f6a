"""One optimizer step's rows as the batches of this process, with word dropout, on the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.data.collate import EncodedSet, collate
from tutelage.train.noise import WordDropout
from tutelage.train.order import parts


def step_batches(
    encoded: EncodedSet,
    rows: NDArray[np.int64],
    *,
    batch_size: int,
    pad_id: int,
    noise: WordDropout,
    step: int,
    accelerator: Any,
) -> Iterator[dict[str, Tensor]]:
    """Cut a step into batches.

    Args:
        encoded: All rows.
        rows: Those of the step.
        batch_size: Rows that all processes together take at a time.
        pad_id: Fills short rows.
        noise: Which words to hide.
        step: Optimizer steps done before.
        accelerator: Says which process this is and where its tensors live.

    Yields:
        What `collate` gives. A process without a row in a batch must all the same take part in the
        exchange of
        gradients: it gets one row and `weights` of 0.
    """
    hidden = noise.hidden(encoded.lengths[rows], step=step) if noise.share else None
    process, processes = accelerator.process_index, accelerator.num_processes
    for places in parts(len(rows), batch_size=batch_size, process=process, processes=processes):
        batch = collate(encoded, rows[places if len(places) else [0]], pad_id=pad_id)
        if not len(places):
            batch["weights"] = torch.zeros(1)
        elif hidden is not None:
            dropped = torch.from_numpy(hidden[places, : batch["input_ids"].shape[1]])
            batch["input_ids"].masked_fill_(dropped, noise.unknown_id)
        yield {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
