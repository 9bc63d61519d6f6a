"""What a recipe may say of token targets: each kind's options once, with range and default.

In: nothing. Out: frozen specs, from which the sections of a recipe are made and which say what the
manifest of a store is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

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


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """The teacher writes answers to prompts, and students learn them as text: sequence-level
    distillation, for any teacher that writes.
    """

    per_prompt: Annotated[int, Ge(1), Le(64)] = 1
    """Answers to every training prompt; to those of validation and test there is one."""

    sampling_temperature: Annotated[float, Ge(0), Le(2)] = 0.7
    """At which answers are drawn; 0: the teacher's first choice at every token."""

    top_p: Annotated[float, Gt(0), Le(1)] = 0.95
    """Mass of the likeliest tokens that are drawn from."""

    max_new_tokens: Annotated[int, Ge(1), Le(100_000)] = 256
    """The most tokens of an answer. One that is cut off there is left out."""

    system: Annotated[str, MinLen(1)] | None = None
    """A message of the system before each prompt, which the teacher reads and students do not."""

    shortest: Annotated[int, Ge(1)] = 1
    """The fewest characters of an answer that is kept, space at its ends not counted."""

    longest: Annotated[int, Ge(1)] | None = None
    """The most characters of an answer that is kept; None: any number."""

    languages: Annotated[tuple[str, ...], MinLen(1)] | None = None
    """Languages that an answer may be written in, as ISO 639 codes such as en and de: one that is
    surely in another is left out, short ones and code are kept. None: any. Needs
    `tutelage[languages]`."""

    duplicates: Literal["keep", "per_prompt", "anywhere"] = "per_prompt"
    """Leave out answers that repeat another word for word, whatever the space between words: one
    to the same prompt, or to any prompt of its part of the data."""

    def check_together(self) -> None:
        """Refuse bounds that let nothing through, and many answers that can only be one.

        Raises:
            ValueError: They do not go together.
        """
        if self.longest is not None and self.longest < self.shortest:
            raise ValueError(
                f"longest is {self.longest} and shortest {self.shortest}, so no answer would be "
                "kept: change one of them"
            )
        if self.per_prompt > 1 and self.sampling_temperature == 0:
            raise ValueError(
                f"{self.per_prompt} answers to a prompt at sampling_temperature 0 would all be the "
                "same: raise it, or set per_prompt: 1"
            )
