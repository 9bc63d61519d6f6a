"""The objective and the accuracy on held-out rows, without noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tutelage.data.examples.collate import EncodedSet, collate
from tutelage.losses import Objective

BATCH = 256


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation found."""

    loss: float
    """Mean of the objective over rows, in nats (the soft part times the squared loss
    temperature)."""
    accuracy: float | None
    """Share of the labelled rows answered right; None if no row has a label."""


@torch.no_grad()
def validate(
    model: Any, encoded: EncodedSet, objective: Objective, *, pad_id: int, accelerator: Any = None
) -> Validation:
    """Mean objective and accuracy of a model on `encoded`; the model is left in the mode it was in.

    Args:
        model: As in `train_classifier`; dropout is off while this runs.
        encoded: N >= 1 rows. Without soft targets the loss is the cross-entropy to the labels, over
            the labelled rows.
        objective: Cost of each row.
        pad_id: Fills short rows.
        accelerator: Shares the batches among its processes; None: this process does all of them.
    """
    process, processes = (
        (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    )
    device = next(model.parameters()).device if accelerator is None else accelerator.device
    was_training = model.training
    model.eval()
    order = np.argsort(encoded.lengths, kind="stable")
    found = torch.zeros(2, device=device)
    for start in range(process * BATCH, len(order), processes * BATCH):
        batch = collate(encoded, order[start : start + BATCH], pad_id=pad_id)
        batch = {name: value.to(device) for name, value in batch.items()}
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        costs = objective(logits, batch.get("teacher_logprobs"), batch["labels"])
        found += torch.stack([costs.sum(), (logits.argmax(dim=-1) == batch["labels"]).sum()])
    if accelerator is not None and processes > 1:
        found = accelerator.reduce(found, reduction="sum")
    model.train(was_training)
    cost, right = found.tolist()
    labelled = len(encoded.labelled)
    rows = labelled if encoded.teacher_probs is None else len(encoded)
    return Validation(loss=cost / max(1, rows), accuracy=right / labelled if labelled else None)
