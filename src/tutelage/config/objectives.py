"""Which divergences there are for language models, and which soft targets can serve each of them.

An objective is served where its value and gradient are exact or unbiased; anything else is refused
before a run starts. Plain values, so that a recipe can be checked without torch; the losses are
tested against these tables.
"""

from __future__ import annotations

from typing import Literal, get_args

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

DIVERGENCES: tuple[str, ...] = get_args(DivergenceName)
"""The same names, to go through."""

PARAMETERS: dict[str, frozenset[str]] = {
    "jensen_shannon": frozenset({"beta"}),
    "skew_forward_kl": frozenset({"alpha"}),
    "skew_reverse_kl": frozenset({"alpha"}),
    "alpha_beta": frozenset({"alpha", "beta"}),
    "adaptive_kl": frozenset({"head_mass"}),
}
"""The keys that have a meaning for a divergence; a divergence that is not listed has none."""

OF_ONE_DIVERGENCE: tuple[str, ...] = ("alpha", "beta", "head_mass")
"""All keys whose meaning depends on the divergence."""

SERVED_BY: dict[str, frozenset[str]] = {
    "sampled": frozenset({"forward_kl"}),
    "top_k": frozenset({"forward_kl", "reverse_kl"}),
    "hidden": frozenset(DIVERGENCES),
    "live": frozenset(DIVERGENCES),
}
"""For each kind of targets the divergences it can serve: `sampled` without bias, because forward KL
is linear in the teacher; `top_k` exactly over k + 1 buckets; `hidden` and `live` exactly, since
they hold whole distributions."""

ANY_TEMPERATURE = frozenset({"hidden", "live"})
"""The kinds that serve every loss temperature; the others hold what the teacher said at temperature
1."""


def serves(kind: str, divergence: str, *, loss_temperature: float = 1.0) -> bool:
    """Whether targets of a kind give an objective exactly or without bias.

    Args:
        kind: The kind of the targets, a key of `SERVED_BY`.
        divergence: A name in `DIVERGENCES`.
        loss_temperature: What both sides are softened by, > 0.

    Example:
        >>> serves("sampled", "reverse_kl"), serves("top_k", "reverse_kl")
        (False, True)
    """
    return divergence in SERVED_BY[kind] and (loss_temperature == 1.0 or kind in ANY_TEMPERATURE)


def kinds_that_serve(divergence: str, *, loss_temperature: float = 1.0) -> list[str]:
    """The kinds of targets that serve an objective, smallest on disk first.

    Args:
        divergence: A name in `DIVERGENCES`.
        loss_temperature: What both sides are softened by, > 0.
    """
    return [
        kind for kind in SERVED_BY if serves(kind, divergence, loss_temperature=loss_temperature)
    ]
