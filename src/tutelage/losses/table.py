"""The divergences by name: what each says, its parameters, and which soft targets serve it.

The one list of them, without torch, so that a recipe can be checked where there is none. A
divergence is served where its value and gradient are exact or unbiased; anything else is refused
before a run starts. Its functions stand in `losses.divergences`, one file each, and are found by
`forms`; its definition for readers and tests is in `losses.reference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
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
            from tutelage.losses.divergences.skew_forward_kl import FORMS
        case "skew_reverse_kl":
            from tutelage.losses.divergences.skew_reverse_kl import FORMS
        case "total_variation":
            from tutelage.losses.divergences.total_variation import FORMS
        case "alpha_beta":
            from tutelage.losses.divergences.alpha_beta import FORMS
        case "adaptive_kl":
            from tutelage.losses.divergences.adaptive_kl import FORMS
    return FORMS
