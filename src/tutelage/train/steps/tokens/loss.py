"""One micro-batch of a language-model student: from documents to a loss, without ever holding
tokens x vocabulary; and the same loss over held-out documents.

In: packed documents and what the teacher says about them. Out: their share of the step's loss. It
is a module of its own so that distributed wrappers see its forward pass: gradients made outside of
it would not be exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data.documents.packing import PackedBatch, collate_packed
from tutelage.losses import (
    HiddenTeacher,
    LinearLoss,
    Objective,
    TeacherSide,
    hidden_matching,
    linear_divergence,
)
from tutelage.models.computing import length_batches
from tutelage.models.final_states import final_states
from tutelage.models.output import output_layer
from tutelage.train.steps.tokens.targets import TargetSource
from tutelage.types import Document


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Some documents as one rectangle of tokens, with the teacher's side of them."""

    packed: PackedBatch
    """The tokens and where the trained positions are."""
    teacher: TeacherSide | None
    """The teacher's distributions at those positions; None in a control."""


def micro_batch(
    documents: Sequence[Document],
    rows: Sequence[Sequence[int]],
    *,
    source: TargetSource | None,
    pad_id: int,
    device: torch.device,
) -> MicroBatch:
    """Put rows of documents together and find what the teacher says about them.

    Args:
        documents: All documents.
        rows: Indexes into them; documents of one row lie behind each other in it.
        source: Where soft targets come from; None: there is no teacher.
        pad_id: Fills short rows.
        device: Where the tensors go.
    """
    packed = collate_packed(documents, rows, pad_id=pad_id).to(device)
    if source is None:
        return MicroBatch(packed, None)
    return MicroBatch(
        packed, source.teacher_side([documents[index] for index in packed.documents], device)
    )


class TokenLoss(nn.Module):
    """A student together with its loss.

    Args:
        model: A causal language model as the students room makes them.
        objective: What is minimised.
        vocabulary: Ids from here on are padding of the output matrix and never predicted; None:
            there are none.
        hidden_weight: Weight of the distance between final hidden states; needs a teacher of equal
            width and targets that hold them.
        autocast: The type of matrix products, or None for that of the weights.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective,
        *,
        vocabulary: int | None,
        hidden_weight: float = 0.0,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.vocabulary = vocabulary
        self.hidden_weight = hidden_weight
        self.autocast = autocast

    def forward(
        self, batch: MicroBatch, *, soft_weight: float, total: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The micro-batch's share of the loss of a step.

        Args:
            batch: P trained positions.
            soft_weight: Weight of the soft targets at this step.
            total: Trained positions of the whole step, over micro-batches and processes.

        Returns:
            The loss (a sum over positions divided by `total`), and detached sums over the positions
            in nats: of the divergence, and of the cross-entropy to the text.
        """
        packed, objective = batch.packed, self.objective
        device = packed.input_ids.device
        with torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None):
            states_BTH = final_states(
                self.model, packed.input_ids, packed.position_ids, packed.segments
            )
            states_PH = states_BTH.flatten(0, 1)[packed.positions]
            output = output_layer(self.model)
            chunked: Any = (
                linear_divergence  # a checker does not see through torch.compiler.disable
            )
            found: LinearLoss = chunked(
                states_PH,
                output.weight,
                teacher=batch.teacher,
                labels=packed.labels,
                divergence=objective.distance,
                loss_temperature=objective.loss_temperature,
                soft_weight=soft_weight,
                total=total,
                bias=output.bias,
                logit_scale=output.scale,
                soft_cap=output.cap,
                vocabulary=self.vocabulary,
            )
        loss = found.loss
        if self.hidden_weight and isinstance(batch.teacher, HiddenTeacher):
            mask = torch.ones(len(states_PH), dtype=torch.bool, device=device)
            distances = hidden_matching(states_PH.float(), batch.teacher.hidden, mask)
            loss = loss + self.hidden_weight * distances.sum() / total
        return loss, found.soft, found.hard


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
