"""The objective and the cross-entropy of a language-model student on held-out documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tutelage.models.computing import length_batches
from tutelage.train.steps.tokens.loss import TokenLoss, micro_batch
from tutelage.train.steps.tokens.targets import TargetSource
from tutelage.types import Document


@dataclass(frozen=True, slots=True)
class TokenValidation:
    """What a validation found, per trained token."""

    loss: float
    """Mean of the objective at its first soft weight, in nats, the distance between hidden states
    included where it counts; without a teacher the cross-entropy to the text."""
    nats: float
    """Mean cross-entropy to the text, in nats."""
    divergence: float | None
    """Mean divergence from the teacher times the squared loss temperature, in nats; None without a
    teacher."""


@torch.no_grad()
def validate_tokens(
    step: TokenLoss,
    documents: Sequence[Document],
    source: TargetSource | None,
    *,
    pad_id: int,
    tokens: int,
) -> TokenValidation:
    """Mean objective of a student over documents; the model is left in the mode it was in.

    Args:
        step: The student with its objective.
        documents: Held-out ones, at least one trained token.
        source: Where soft targets come from; None: there is no teacher.
        pad_id: Fills short rows.
        tokens: Tokens that go through the student at once.
    """
    was_training = step.training
    step.eval()
    device = next(step.parameters()).device
    lengths = [len(document.token_ids) for document in documents]
    loss = soft = hard = torch.zeros((), device=device)
    for places in length_batches(lengths, batch_tokens=tokens):
        rows = [[place] for place in places]
        batch = micro_batch(documents, rows, source=source, pad_id=pad_id, device=device)
        # One soft weight from beginning to end, however it moves in training: losses must be
        # comparable.
        sums = step(batch, soft_weight=step.objective.soft_weight, total=1.0)
        loss, soft, hard = loss + sums[0], soft + sums[1], hard + sums[2]
    step.train(was_training)
    positions = max(1, sum(document.positions for document in documents))
    divergence = None if source is None else float(soft) / positions
    return TokenValidation(float(loss) / positions, float(hard) / positions, divergence)
