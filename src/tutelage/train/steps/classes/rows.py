"""The rows of a run, with and without a teacher, and those of a step as batches of this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.data.examples.collate import EncodedSet, collate
from tutelage.errors import DataError
from tutelage.train.steps.classes.noise import WordDropout
from tutelage.train.steps.classes.order import parts


def training_rows(encoded: EncodedSet, *, use_teacher: bool) -> EncodedSet:
    """The rows that can teach something: all with a teacher, the labelled ones without.

    Raises:
        DataError: There is none.
    """
    if not len(encoded):
        raise DataError("no row to learn from given; expected at least one")
    if use_teacher:
        if encoded.teacher_probs is None:
            raise DataError(
                "the training rows carry no soft targets: label them first, or train with "
                "use_teacher=False"
            )
        return encoded
    if not len(encoded.labelled):
        raise DataError(
            f"none of the {len(encoded)} training rows has a label, and a control learns from "
            "labels alone: "
            "give labelled rows, or leave the control out"
        )
    return encoded.without_teacher().select(encoded.labelled)


def validation_rows(encoded: EncodedSet, *, use_teacher: bool) -> EncodedSet:
    """The rows that a loss can be measured on: all where there are soft targets, else the labelled
    ones.

    Raises:
        DataError: There is none.
    """
    if use_teacher and encoded.teacher_probs is not None and len(encoded):
        return encoded
    if not len(encoded.labelled):
        missing = "neither labels nor soft targets" if use_teacher else "no labels"
        raise DataError(
            f"the {len(encoded)} validation rows have {missing}, so they cannot tell "
            "which epoch is best: give labelled rows"
        )
    return encoded.without_teacher().select(encoded.labelled)


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
        What `collate` gives, word dropout included, on the device. A process without a row in a
        batch must all the same take part in the exchange of gradients: it gets one row and
        `weights` of 0.
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
