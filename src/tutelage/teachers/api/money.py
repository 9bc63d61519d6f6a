"""What answers cost: prices, budgets, and the running count of requests and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from tutelage.teachers.api.protocol import Usage

MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a provider charges, in dollars (or any one currency) for a million tokens."""

    input: Annotated[float, Ge(0)]
    """Tokens that it reads."""

    output: Annotated[float, Ge(0)] = 0.0
    """Tokens that it writes."""

    cached: Annotated[float, Ge(0)] | None = None
    """Tokens of the input that it had read before; None: the price of input."""

    def of(self, usage: Usage) -> float:
        """The cost of some tokens."""
        cached = min(usage.cached, usage.input)
        at = self.input if self.cached is None else self.cached
        return (
            (usage.input - cached) * self.input + cached * at + usage.output * self.output
        ) / MILLION


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What all answers of a teacher may take together, those of earlier runs included."""

    requests: Annotated[int, Ge(1)] | None = None
    """Replies; None: any number."""

    tokens: Annotated[int, Ge(1)] | None = None
    """Tokens read and written; None: any number."""

    cost: Annotated[float, Gt(0)] | None = None
    """Money at the teacher's `price`; None: any amount."""

    then: Literal["stop", "train"] = "stop"
    """When it is spent: stop, to go on another day with a larger one, or train on what is there."""

    def check_together(self) -> None:
        """Refuse a budget of nothing in particular."""
        if self.requests is None and self.tokens is None and self.cost is None:
            raise ValueError(
                "the budget names no limit: give requests, tokens or cost, or leave it out"
            )


@dataclass
class Meter:
    """Counts replies and tokens; knows when a budget would be passed."""

    price: Price | None = None
    budget: Budget | None = None
    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def add(self, usage: Usage) -> None:
        """Count one reply."""
        self.requests += 1
        self.input_tokens += usage.input
        self.cached_tokens += usage.cached
        self.output_tokens += usage.output

    @property
    def tokens(self) -> int:
        """Read and written so far."""
        return self.input_tokens + self.output_tokens

    @property
    def cost(self) -> float | None:
        """So far; None: nobody said the price."""
        if self.price is None:
            return None
        return self.price.of(Usage(self.input_tokens, self.cached_tokens, self.output_tokens))

    def allows(self, under_way: int, *, guess: Usage) -> bool:
        """Whether one more request fits the budget.

        Args:
            under_way: Requests whose replies are still to come; they are counted like the mean of
                those before.
            guess: What a request may take while there is no mean.
        """
        budget = self.budget
        if budget is None:
            return True
        if budget.requests is not None and self.requests + under_way + 1 > budget.requests:
            return False
        share = (self.requests + under_way + 1) / max(1, self.requests)
        known = self.requests > 0 and self.tokens > 0
        if budget.tokens is not None:
            ahead = self.tokens * share if known else (under_way + 1) * (guess.input + guess.output)
            if ahead > budget.tokens:
                return False
        if budget.cost is not None and self.price is not None:
            spent = self.cost or 0.0
            ahead = spent * share if known else (under_way + 1) * self.price.of(guess)
            if ahead > budget.cost:
                return False
        return True

    def describe(self) -> str:
        """The count for a person: `1,200 requests, 340,000 tokens, 0.12 $`."""
        said = f"{self.requests:,} requests, {self.tokens:,} tokens"
        return said if self.cost is None else f"{said}, {self.cost:,.2f} $"
