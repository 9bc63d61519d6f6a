"""Probabilities in 8 or 11 bits: rounded without bias, and so that a position still sums to 1.

A position is a stick of length 1. Its head breaks pieces off, one after the other: r_k = p_k /
(what is left). Each share r_k lies in (0, 1), so no rounding of it can make a position exceed 1,
and what is left at the end is the tail. A share is rounded to a grid that is even in its logit, up
or down at random so that its mean is the share itself. The roundings are independent, hence
products of decoded shares have the right mean too: the decoded head and the decoded tail are
unbiased.

In eighths, from -16 to 15.875, a share moves by no more than about r(1-r)/8. The variance this adds
is below 1.2 % of what drawing the tail has anyway, and 0.6 % on the text of docs/targets.md. Kinds
without a drawn tail have steps of 1/64, about as fine as log-probabilities in bfloat16.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

LOWEST_LOGIT = -16.0


@dataclass(frozen=True, eq=False)
class Grid:
    """The values a share can take on disk: code q stands for the logit q / steps - 16."""

    steps: int
    """Codes for each unit of logit, 8 or more."""
    shares: NDArray[np.float64] = field(init=False)
    """r of each code."""
    log_shares: NDArray[np.float64] = field(init=False)
    """log r of each code."""
    log_rests: NDArray[np.float64] = field(init=False)
    """log(1 - r) of each code."""
    rests: NDArray[np.float64] = field(init=False)
    """1 - r of each code, rounded to float32: products of these are the same numbers on every
    machine."""

    def __post_init__(self) -> None:
        """Fill the tables."""
        logits = np.arange(2 * abs(LOWEST_LOGIT) * self.steps) / self.steps + LOWEST_LOGIT
        object.__setattr__(self, "shares", 1 / (1 + np.exp(-logits)))
        object.__setattr__(self, "log_shares", -np.log1p(np.exp(-logits)))
        object.__setattr__(self, "log_rests", -np.log1p(np.exp(logits)))
        object.__setattr__(
            self, "rests", (1 / (1 + np.exp(logits))).astype(np.float32).astype(np.float64)
        )

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Of the codes."""
        return np.dtype(np.uint8 if len(self.shares) <= 256 else np.uint16)

    def encode(
        self,
        probs: NDArray[np.float64],
        rests: NDArray[np.float64],
        *,
        uniforms: NDArray[np.float64],
    ) -> NDArray[np.unsignedinteger]:
        """Codes of shares.

        Args:
            probs: `[N]`, what is broken off, > 0.
            rests: `[N]`, what is left after it, >= 0; precise however small, which 1 - share would
                not be.
            uniforms: `[N]` in [0, 1): whether to round up.

        Returns:
            `[N]`, unbiased within the grid; shares outside of it (closer than 1.2e-7 to 0 or 1) go
            to its ends.
        """
        with np.errstate(divide="ignore"):
            places = (np.log(probs) - np.log(rests) - LOWEST_LOGIT) * self.steps
        places = np.clip(places, 0, len(self.shares) - 1)
        below = np.minimum(places.astype(np.int64), len(self.shares) - 2)
        low, high = self.shares[below], self.shares[below + 1]
        return (below + (uniforms < (probs / (probs + rests) - low) / (high - low))).astype(
            self.dtype
        )


GRIDS = {"sampled": Grid(8), "top_k": Grid(64)}
"""The grid of each kind."""


def rests_after(
    probs: NDArray[np.float64], heads: NDArray[np.int64], *, tails: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What is left of each position after each of its head entries.

    Summed from the smallest upwards, so that a tail of 1e-12 is not lost beside a head near 1.

    Args:
        probs: `[N]`, head entries of all positions, those of a position together, the largest
            first.
        heads: `[P]`, how many each position has.
        tails: `[P]`, mass of each tail.

    Returns:
        `[N]`.
    """
    starts, left, rests = np.cumsum(heads) - heads, tails.astype(np.float64), np.empty(len(probs))
    for slot in reversed(range(heads.max(initial=0))):
        here = np.flatnonzero(heads > slot)
        rests[starts[here] + slot] = left[here]
        left[here] += probs[starts[here] + slot]
    return rests


def decode(
    codes: NDArray[np.unsignedinteger],
    heads: NDArray[np.int64],
    *,
    grid: Grid,
    tails: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-probabilities of head entries, and the logarithm of what each position has left.

    Args:
        codes: `[N]`.
        heads: `[P]`.
        grid: The one they were encoded on.
        tails: `[P]`, entries of each tail; the last head entry of a position without tail takes all
            that is left. None: no position is closed that way.

    Returns:
        `[N]` and `[P]`, in nats. Every position is computed alone: the same bits whatever lies
        beside it.
    """
    starts, left, logprobs = np.cumsum(heads) - heads, np.zeros(len(heads)), np.empty(len(codes))
    for slot in range(heads.max(initial=0)):
        here = np.flatnonzero(heads > slot)
        code, before = codes[starts[here] + slot], left[here]
        taken = before + grid.log_shares[code]
        if tails is not None:
            taken = np.where((tails[here] == 0) & (heads[here] == slot + 1), before, taken)
        logprobs[starts[here] + slot] = taken
        left[here] = before + grid.log_rests[code]
    return logprobs, left


def rest_mass(
    codes: NDArray[np.unsignedinteger], heads: NDArray[np.int64], *, grid: Grid
) -> NDArray[np.float64]:
    """What each position has left after its head, `[P]`, bit for bit the same on every machine.

    Products of table entries in a fixed order: numbers of tail entries are derived from it.
    """
    starts, left = np.cumsum(heads) - heads, np.ones(len(heads))
    for slot in range(heads.max(initial=0)):
        here = np.flatnonzero(heads > slot)
        left[here] *= grid.rests[codes[starts[here] + slot]]
    return left


def rounding_uniforms(seed: int, example_id: bytes, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on the seed of the store and the content id alone,
    `[count]`.
    """
    key = blake2b(
        example_id, digest_size=16, key=seed.to_bytes(16, "little", signed=True), person=b"rounding"
    ).digest()
    raw = np.random.Philox(key=np.frombuffer(key, "<u8")).random_raw(count)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
