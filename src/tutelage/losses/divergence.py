"""A divergence by name, with its parameters: what a recipe says, as a value that computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tutelage.losses.table import DIVERGENCES, PARAMETERS, TABLE, DivergenceName, forms

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far the student is from the teacher, at one position.

    Raises:
        ValueError: An unknown name, a parameter that the divergence does not have, or one out of
            range.

    Example:
        >>> Divergence("jensen_shannon").parameters
        {'beta': 0.5}
    """

    name: DivergenceName = "forward_kl"
    """Which; see `losses.table`."""
    alpha: float | None = None
    """Of `skew_forward_kl`, `skew_reverse_kl` and `alpha_beta`; None: the default."""
    beta: float | None = None
    """Of `jensen_shannon` and `alpha_beta`; None: the default."""
    head_mass: float | None = None
    """Of `adaptive_kl`; None: the default."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.name not in DIVERGENCES:
            raise ValueError(
                f"divergence {self.name!r} given; expected one of {', '.join(DIVERGENCES)}"
            )
        known = TABLE[self.name].parameters
        for key in PARAMETERS:
            value = getattr(self, key)
            if value is None:
                continue
            if key not in known:
                raise ValueError(
                    f"{key}={value} given for {self.name}, which has "
                    f"{', '.join(known) or 'no parameters'}; drop it"
                )
            low, high = known[key].low, known[key].high
            if not low < value < high:
                raise ValueError(
                    f"{key}={value} given for {self.name}; expected a number between {low:g} and "
                    f"{high:g}"
                )

    @property
    def parameters(self) -> dict[str, float]:
        """Every parameter of the divergence with its value."""
        known = TABLE[self.name].parameters
        given = {key: getattr(self, key) for key in known}
        return {key: known[key].default if value is None else value for key, value in given.items()}

    def __call__(
        self,
        student_logits: Float[Tensor, "*B V"],
        teacher_logprobs: Float[Tensor, "*B V"],
        *,
        loss_temperature: float = 1.0,
    ) -> Float[Tensor, "*B"]:
        """Its plain, differentiable value at every position, times `loss_temperature` squared."""
        return forms(self.name).dense(
            student_logits, teacher_logprobs, loss_temperature=loss_temperature, **self.parameters
        )

    def value_and_gradient(
        self, log_q: Float[Tensor, "C V"], log_p: Float[Tensor, "C V"], *, gradient: bool = True
    ) -> tuple[Float[Tensor, " C"], Float[Tensor, "C V"]]:
        """Its value and its gradient in closed form, for a chunk of positions.

        Args:
            log_q: The student's log-probabilities at the loss temperature, finite; written over.
            log_p: The teacher's, finite; written over.
            gradient: Whether the gradient is wanted; if not it is not computed and what is returned
                there says nothing.

        Returns:
            Values in nats, and gradients with respect to the student's softened logits.
        """
        return forms(self.name).closed_form(log_q, log_p, gradient=gradient, **self.parameters)
