"""What a student minimises: a divergence to the teacher, mixed with the labels or the text itself.

One for every task, without torch until something is computed. Recipes read its fields; for classes
it computes the cost of each row; for tokens `linear_divergence` does, which never holds tokens x
vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Le, Lt

from tutelage.config.ranges import check_options
from tutelage.losses.table import Divergence, DivergenceName

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

Share = Annotated[float, Gt(0), Lt(1)]
Weight = Annotated[float, Ge(0), Le(1)]

SMALLEST_LOGPROB = -104.0
"""What a probability of 0 counts as where a divergence needs a finite logarithm: soft targets of
classes are float32, whose smallest number above 0 has the logarithm -103.3."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A divergence to the soft targets, mixed with the cross-entropy to what people wrote.

    With T the loss temperature and w the soft weight, a labelled row, or a token that stands in the
    text, costs `w T^2 D + (1 - w) CE`; a row without a label `T^2 D`; and a row without soft
    targets (a control) `CE`, or 0 if it has no label either.

    Raises:
        ValueError: A value is out of range, or has no meaning for the divergence.

    Example:
        >>> Objective(divergence="jensen_shannon", loss_temperature=2.0).distance.parameters
        {'beta': 0.5}
    """

    divergence: DivergenceName = "forward_kl"
    """The distance from the student's distribution to the teacher's. Class probabilities serve
    every one, not so all targets over tokens."""

    alpha: Share | None = None
    """Of skew_forward_kl and skew_reverse_kl (None: 0.1) and of alpha_beta (None: 0.2)."""

    beta: Share | None = None
    """Of jensen_shannon (None: 0.5) and of alpha_beta (None: 0.7)."""

    head_mass: Share | None = None
    """Of adaptive_kl: the teacher's mass that counts as head (None: 0.5)."""

    loss_temperature: Annotated[float, Gt(0)] = 1.0
    """Softens both distributions; the loss is multiplied by its square. Over tokens other than 1
    needs hidden or live targets."""

    soft_weight: Weight = 0.9
    """The weight of the soft targets on labelled rows; the true label weighs the rest."""

    soft_weight_final: Weight | None = None
    """What the weight becomes over the last `decay_share` of training; None: it stays. Over tokens
    only."""

    def __post_init__(self) -> None:
        """Refuse what is out of range or has no meaning."""
        _ = self.distance
        check_options(self)

    @property
    def distance(self) -> Divergence:
        """The divergence with its parameters."""
        return Divergence(
            self.divergence, alpha=self.alpha, beta=self.beta, head_mass=self.head_mass
        )

    def __call__(
        self,
        student_logits: Float[Tensor, "B C"],
        teacher_logprobs: Float[Tensor, "B C"] | None,
        labels: Int[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """The cost of each row over classes, in nats (the soft term times the squared temperature).

        Args:
            student_logits: Raw scores.
            teacher_logprobs: Log-probabilities at temperature 1; None trains on labels alone.
            labels: Class indexes, -100 where nobody labelled the row.

        Raises:
            ShapeMismatch: The shapes do not fit each other.
        """
        from tutelage.losses.plain import IGNORED_LABEL, hard_cross_entropy

        hard = hard_cross_entropy(student_logits, labels)
        if teacher_logprobs is None:
            return hard
        if self.divergence != "forward_kl":  # which takes no mass as no cost
            teacher_logprobs = teacher_logprobs.clamp_min(SMALLEST_LOGPROB)
        soft = self.distance(
            student_logits, teacher_logprobs, loss_temperature=self.loss_temperature
        )
        mixed = self.soft_weight * soft + (1 - self.soft_weight) * hard
        return soft.where(labels == IGNORED_LABEL, mixed)


def ForwardKL(loss_temperature: float = 1.0, soft_weight: float = 0.9) -> Objective:  # noqa: N802
    """Forward KL to the soft targets, mixed with cross-entropy to the label where there is one.

    Args:
        loss_temperature: Softens both sides of the KL; its square multiplies it. > 0.
        soft_weight: Weight of the KL on labelled rows, in [0, 1]; the label weighs the rest.
    """
    return Objective(loss_temperature=loss_temperature, soft_weight=soft_weight)
