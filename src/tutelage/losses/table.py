"""The divergences by name: what each says, its parameters, and which soft targets serve it.

The one list of them, without torch, so that a recipe can be checked where there is none. A
divergence is served where its value and gradient are exact or unbiased; anything else is refused
before a run starts. Its functions stand in `losses.divergences`, one file each, and are found by
`forms`; its definition for readers and tests is in `losses.reference`. A `Divergence` is one
with its parameters: what a recipe says, as a value that computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from tutelage.losses.divergences.forms import Forms


DivergenceName = Literal[
    "forward_kl",
    "reverse_kl",
    "jensen_shannon",
    "skew_forward_kl",
    "skew_reverse_kl",
    "total_variation",
    "alpha_beta",
    "adaptive_kl",
]
"""The names of `objective.divergence`."""

DIVERGENCES: tuple[DivergenceName, ...] = get_args(DivergenceName)
"""The same names, to go through."""

PARAMETERS: tuple[str, ...] = ("alpha", "beta", "head_mass")
"""All parameters that some divergence has: fields of `Objective`, keys of a recipe."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that a divergence depends on."""

    default: float
    """Its value where nobody gives one."""
    low: float = 0.0
    """It lies above this."""
    high: float = 1.0
    """It lies below this."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to know about a divergence."""

    meaning: str
    """A line for people: p is the teacher, q the student."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """By name, each one of `PARAMETERS`."""
    sparse: frozenset[str] = frozenset()
    """The kinds of targets that hold a part of a distribution and serve it all the same."""


TABLE: dict[DivergenceName, Facts] = {
    "forward_kl": Facts(
        "KL(p || q): the student must cover all that the teacher does",
        # `sampled` without bias, since it is linear in the teacher; `top_k` over k + 1 buckets.
        sparse=frozenset({"sampled", "top_k"}),
    ),
    "reverse_kl": Facts(
        "KL(q || p): the student pays for mass where the teacher has none, not for what it omits",
        sparse=frozenset({"top_k"}),  # exactly, over k + 1 buckets
    ),
    "jensen_shannon": Facts(
        "beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q: bounded",
        {"beta": Parameter(0.5)},
    ),
    "skew_forward_kl": Facts(
        "KL(p || alpha p + (1 - alpha) q): forward KL with a bounded gradient",
        {"alpha": Parameter(0.1)},
    ),
    "skew_reverse_kl": Facts(
        "KL(q || (1 - alpha) p + alpha q): reverse KL, never above -log alpha",
        {"alpha": Parameter(0.1)},
    ),
    "total_variation": Facts("half the sum of |p - q|: between 0 and 1 at temperature 1"),
    "alpha_beta": Facts(
        "alpha says how much the teacher's likely classes count, beta how much the student's own",
        {"alpha": Parameter(0.2), "beta": Parameter(0.7)},
    ),
    "adaptive_kl": Facts(
        "forward and reverse KL, mixed by where the student is further off",
        {"head_mass": Parameter(0.5)},
    ),
}
"""Everything about each divergence but its functions."""

WHOLE = frozenset({"class_probabilities", "hidden", "live"})
"""The kinds of targets that hold whole distributions: they serve every divergence at every loss
temperature, exactly. The others hold what the teacher said at temperature 1."""

TOKEN_KINDS = ("sampled", "top_k", "hidden", "live")
"""The kinds of targets over tokens, smallest on disk first."""

TARGET_KINDS = ("class_probabilities", *TOKEN_KINDS)
"""All kinds of targets."""


def serves(kind: str, divergence: DivergenceName, *, loss_temperature: float = 1.0) -> bool:
    """Whether targets of a kind give an objective exactly or without bias.

    Args:
        kind: The kind of the targets, one of `TARGET_KINDS`.
        divergence: Which.
        loss_temperature: What both sides are softened by, > 0.

    Example:
        >>> serves("sampled", "reverse_kl"), serves("top_k", "reverse_kl")
        (False, True)
    """
    return kind in WHOLE or (kind in TABLE[divergence].sparse and loss_temperature == 1.0)


def kinds_that_serve(divergence: DivergenceName, *, loss_temperature: float = 1.0) -> list[str]:
    """The kinds of targets over tokens that serve an objective, smallest on disk first.

    Args:
        divergence: Which.
        loss_temperature: What both sides are softened by, > 0.
    """
    return [
        kind for kind in TOKEN_KINDS if serves(kind, divergence, loss_temperature=loss_temperature)
    ]


@cache
def forms(name: DivergenceName) -> Forms:
    """The functions of a divergence; with them comes torch."""
    match name:
        case "forward_kl":
            from tutelage.losses.divergences.forward_kl import FORMS
        case "reverse_kl":
            from tutelage.losses.divergences.reverse_kl import FORMS
        case "jensen_shannon":
            from tutelage.losses.divergences.jensen_shannon import FORMS
        case "skew_forward_kl":
            from tutelage.losses.divergences.skew_kl import FORWARD_FORMS as FORMS
        case "skew_reverse_kl":
            from tutelage.losses.divergences.skew_kl import REVERSE_FORMS as FORMS
        case "total_variation":
            from tutelage.losses.divergences.total_variation import FORMS
        case "alpha_beta":
            from tutelage.losses.divergences.alpha_beta import FORMS
        case "adaptive_kl":
            from tutelage.losses.divergences.adaptive_kl import FORMS
    return FORMS


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
