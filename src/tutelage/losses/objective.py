"""What a student minimises: a divergence to the teacher, mixed with the labels that people gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from tutelage.losses.divergences import IGNORED_LABEL, forward_kl, hard_cross_entropy

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, slots=True)
class ForwardKL:
    """Forward KL to the soft targets, mixed with cross-entropy to the label where there is one.

    With T the loss temperature and w the soft weight, a labelled row costs `w T^2 KL + (1 - w) CE`,
    a row without a label `T^2 KL`, and a row without soft targets (a control) `CE`, or 0 if it has
    no label either.
    """

    loss_temperature: float = 1.0
    """Softens both sides of the KL; its square multiplies it. > 0."""
    soft_weight: float = 0.9
    """Weight of the KL on labelled rows, in [0, 1]; the label's cross-entropy weighs the rest."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if not self.loss_temperature > 0:
            raise ValueError(
                f"loss_temperature={self.loss_temperature} given; expected a number above 0"
            )
        if not 0 <= self.soft_weight <= 1:
            raise ValueError(f"soft_weight={self.soft_weight} given; expected a number from 0 to 1")

    def __call__(
        self,
        student_logits: Float[Tensor, "B C"],
        teacher_logprobs: Float[Tensor, "B C"] | None,
        labels: Int[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """The cost of each row, in nats (the soft term times the squared temperature).

        Args:
            student_logits: Raw scores.
            teacher_logprobs: Log-probabilities at temperature 1; None trains on labels alone.
            labels: Class indexes, -100 where nobody labelled the row.

        Raises:
            ShapeMismatch: The shapes do not fit each other.
        """
        hard = hard_cross_entropy(student_logits, labels)
        if teacher_logprobs is None:
            return hard
        soft = forward_kl(student_logits, teacher_logprobs, loss_temperature=self.loss_temperature)
        mixed = self.soft_weight * soft + (1 - self.soft_weight) * hard
        return soft.where(labels == IGNORED_LABEL, mixed)
