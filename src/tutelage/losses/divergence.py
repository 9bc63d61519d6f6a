"""A divergence by name, with its parameters: what a recipe says, as a value that computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from tutelage.losses import language_divergences as dense
from tutelage.losses.divergences import forward_kl

if TYPE_CHECKING:
    from jaxtyping import Float

DENSE: dict[str, Callable[..., Tensor]] = {
    "forward_kl": forward_kl,
    "reverse_kl": dense.reverse_kl,
    "jensen_shannon": dense.jensen_shannon,
    "skew_forward_kl": dense.skew_forward_kl,
    "skew_reverse_kl": dense.skew_reverse_kl,
    "total_variation": dense.total_variation,
    "alpha_beta": dense.alpha_beta,
    "adaptive_kl": dense.adaptive_kl,
}
"""The plain function of every divergence."""

DEFAULTS: dict[str, dict[str, float]] = {
    "jensen_shannon": {"beta": 0.5},
    "skew_forward_kl": {"alpha": 0.1},
    "skew_reverse_kl": {"alpha": 0.1},
    "alpha_beta": {"alpha": 0.2, "beta": 0.7},
    "adaptive_kl": {"head_mass": 0.5},
}
"""The parameters that a divergence has, and their values where nobody gives them."""


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

    name: str = "forward_kl"
    """One of `DENSE`."""
    alpha: float | None = None
    """Of `skew_forward_kl`, `skew_reverse_kl` and `alpha_beta`; None: the default."""
    beta: float | None = None
    """Of `jensen_shannon` and `alpha_beta`; None: the default."""
    head_mass: float | None = None
    """Of `adaptive_kl`; None: the default."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.name not in DENSE:
            raise ValueError(f"divergence {self.name!r} given; expected one of {', '.join(DENSE)}")
        known = DEFAULTS.get(self.name, {})
        for key in ("alpha", "beta", "head_mass"):
            value = getattr(self, key)
            if value is None:
                continue
            if key not in known:
                raise ValueError(
                    f"{key}={value} given for {self.name}, which has "
                    f"{', '.join(known) or 'no parameters'}; drop it"
                )
            if not 0 < value < 1:
                raise ValueError(
                    f"{key}={value} given for {self.name}; expected a number between 0 and 1"
                )

    @property
    def parameters(self) -> dict[str, float]:
        """Every parameter of the divergence with its value."""
        given = {key: getattr(self, key) for key in DEFAULTS.get(self.name, {})}
        return {
            key: DEFAULTS[self.name][key] if value is None else value
            for key, value in given.items()
        }

    def __call__(
        self,
        student_logits: Float[Tensor, "*B V"],
        teacher_logprobs: Float[Tensor, "*B V"],
        *,
        loss_temperature: float = 1.0,
    ) -> Float[Tensor, "*B"]:
        """Its plain, differentiable value at every position, times `loss_temperature` squared."""
        return DENSE[self.name](
            student_logits, teacher_logprobs, loss_temperature=loss_temperature, **self.parameters
        )
