"""What a recipe may say of token targets: each kind's options once, with range and default.

In: nothing. Out: frozen specs, from which the sections of a recipe are made and which say what the
manifest of a store is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

MOST_ENTRIES = 256
"""A position of kind `sampled` is expected to have no more; more are possible, and cost a
little."""
MOST_COUNTED = 2**16 - 1
"""More entries than this no position of any store has."""


@dataclass(frozen=True, kw_only=True)
class SampledOptions:
    """Likely tokens with their exact probability, and a fair sample of the others: unbiased, and
    the fewest bytes.
    """

    threshold: Annotated[float, Gt(0), Lt(1)] | None = 0.05
    """Tokens at least so probable are kept exactly; lower keeps more. None where `budget` is
    given."""

    budget: Annotated[int, Ge(1), Le(MOST_ENTRIES)] | None = None
    """Keep so many tokens at every position, in place of a threshold."""

    def check_together(self) -> None:
        """Refuse two words on how much to keep, or none.

        Raises:
            ValueError: Both are given, or neither.
        """
        if (self.threshold is None) == (self.budget is None):
            said = "neither threshold nor budget is"
            if self.budget is not None:
                said = "threshold and budget are both"
            raise ValueError(f"{said} given; expected one of them")

    def encoding(self) -> dict[str, Any]:
        """What the store is told: `{"threshold": ...}` or `{"budget": ...}`."""
        return {"threshold": self.threshold} if self.budget is None else {"budget": self.budget}


@dataclass(frozen=True, kw_only=True)
class TopKOptions:
    """The k most likely tokens and the mass of the rest, trained as k + 1 buckets."""

    k: Annotated[int, Ge(1), Le(MOST_COUNTED)] = 50
    """How many tokens."""

    def encoding(self) -> dict[str, Any]:
        """What the store is told: `{"k": ...}`."""
        return {"k": self.k}


@dataclass(frozen=True, kw_only=True)
class HiddenOptions:
    """The teacher's last hidden states in 8 bits, and its output matrix once: any divergence, many
    bytes.
    """

    def encoding(self) -> dict[str, Any]:
        """What the store is told: `{"bits": 8}`."""
        return {"bits": 8}
