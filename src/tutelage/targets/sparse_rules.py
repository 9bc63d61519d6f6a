"""What kinds `sampled` and `top_k` ask of targets, and what their encoding says about them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import ShapeMismatch
from tutelage.targets import sticks
from tutelage.targets.kinds import MOST_COUNTED, MOST_ENTRIES, SampledOptions, TopKOptions
from tutelage.targets.rows import SparseTargets

LARGEST_VOCABULARY = 2**20 - 16
"""More ids than any tokenizer has; their buckets (see `targets.ranks`) fit a byte."""
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SparseRules:
    """A kind with its encoding, as the manifest of a store names them."""

    kind: str
    """`sampled` or `top_k`."""
    encoding: Mapping[str, Any]
    """`{"threshold": 0.05}` or `{"budget": 12}` for `sampled`, `{"k": 50}` for `top_k`; other keys
    are kept."""
    vocabulary_size: int
    """V."""
    seed: int
    """Of the rounding."""

    def __post_init__(self) -> None:
        """Refuse what no store can have.

        Raises:
            ValueError: A parameter lacks, or is out of range.
        """
        if not 2 <= self.vocabulary_size <= LARGEST_VOCABULARY:
            raise ValueError(
                f"vocabulary_size={self.vocabulary_size:,} was given for targets of kind "
                f"{self.kind}; expected the "
                f"number of ids of the tokenizer, 2 to {LARGEST_VOCABULARY:,}"
            )
        options = {"sampled": SampledOptions, "top_k": TopKOptions}[self.kind]
        names = [option.name for option in fields(options)]
        given = [name for name in names if self.encoding.get(name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"encoding {dict(self.encoding)} was given for targets of kind {self.kind}; "
                "expected "
                f"{' or '.join(names)}"
            )
        value = self.encoding[given[0]]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if given[0] == "threshold" and not (number and 0 < value < 1):
            raise ValueError(
                f"threshold={value!r} was given; expected a probability between 0 and 1"
            )
        if given[0] != "threshold" and not (whole and 1 <= value <= MOST_COUNTED):
            raise ValueError(
                f"{given[0]}={value!r} was given; expected a whole number, 1 to {MOST_COUNTED:,}"
            )

    @property
    def closed(self) -> bool:
        """Whether the entries of a position sum to 1."""
        return self.kind == "sampled"

    @property
    def grid(self) -> sticks.Grid:
        """Of head probabilities."""
        return sticks.GRIDS[self.kind]

    @cached_property
    def entropy_bound(self) -> float:
        """log(V), the largest entropy in nats."""
        return math.log(self.vocabulary_size)

    def expected_tails(
        self, codes: NDArray[np.unsignedinteger], heads: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """How many tail entries positions with these heads should have, `[P]`; only the difference
        is stored.
        """
        if not self.closed:
            return np.zeros(len(heads), np.int64)
        most = np.maximum(MOST_ENTRIES - heads, 1)
        if "budget" in self.encoding:
            return np.clip(self.encoding["budget"] - heads, 1, most)
        with np.errstate(over="ignore"):
            rests = sticks.rest_mass(codes, heads, grid=self.grid)
            steps = rests / float(self.encoding["threshold"])
        # However small a threshold is, the number stays one that can be counted.
        return np.clip(np.minimum(steps, MOST_ENTRIES).astype(np.int64), 1, most)

    def check(self, value: SparseTargets, *, example_id: bytes) -> SparseTargets:
        """The targets of one document in their types, refused unless they are of this kind.

        Raises:
            ShapeMismatch: Arrays that do not fit each other.
            ValueError: An id that the tokenizer does not have or that comes twice in a position, a
                position without entries or that does not sum to 1, tail entries that stand for
                different masses, an entropy out of range.
        """
        counts, heads = _whole(value.counts, "counts"), _whole(value.heads, "heads")
        ids, logprobs = _whole(value.ids, "ids"), np.asarray(value.logprobs, np.float32)
        entropies = np.asarray(value.entropies, np.float32)
        shapes = {
            "counts": counts,
            "heads": heads,
            "ids": ids,
            "logprobs": logprobs,
            "entropies": entropies,
        }
        place = f"the targets of document {example_id.hex()}"
        total = int(counts.sum())
        if not (
            all(array.ndim == 1 for array in shapes.values())
            and len(counts) == len(heads) == len(entropies)
            and len(ids) == len(logprobs) == total
        ):
            found = ", ".join(f"{name} {array.shape}" for name, array in shapes.items())
            raise ShapeMismatch(
                f"{place} have {found}; expected counts, heads and entropies of [P], ids and "
                "logprobs of "
                f"[counts.sum()] = [{total:,}]"
            )
        if problem := self._problem(counts, heads, ids, logprobs, entropies):
            raise ValueError(f"{place} {problem}")
        return SparseTargets(
            counts.astype(np.uint16),
            heads.astype(np.uint16),
            ids.astype(np.int32),
            logprobs,
            entropies,
        )

    def _problem(
        self,
        counts: NDArray[np.int64],
        heads: NDArray[np.int64],
        ids: NDArray[np.int64],
        logprobs: NDArray[np.float32],
        entropies: NDArray[np.float32],
    ) -> str:
        """What is wrong with one document, in words."""
        if len(counts) and (counts.min() < 1 or counts.max() > MOST_COUNTED):
            return (
                f"have a position with {counts.min():,} to {counts.max():,} entries; expected 1 to "
                f"{MOST_COUNTED:,}"
            )
        if (
            (heads < 0).any()
            or (heads > counts).any()
            or (not self.closed and (heads != counts).any())
        ):
            allowed = "0 to counts" if self.closed else "heads equal to counts"
            return f"have heads that do not fit the counts; expected {allowed}"
        if len(ids) and not (ids.min() >= 0 and ids.max() < self.vocabulary_size):
            return (
                f"name ids from {ids.min():,} to {ids.max():,}; expected ids of the tokenizer, 0 "
                "to "
                f"{self.vocabulary_size - 1:,}: drop the padded rows of the output matrix"
            )
        owners = np.repeat(np.arange(len(counts)), counts)
        if (np.diff(np.sort((owners << 20) | ids)) == 0).any():
            return "name an id twice in one position; expected distinct ids"
        if not (np.isfinite(logprobs).all() and (logprobs <= SUM_TOLERANCE).all()):
            return (
                "have log-probabilities that are not finite or above 0: give natural logarithms of "
                "probabilities"
            )
        sums = np.bincount(owners, np.exp(logprobs.astype(np.float64)), minlength=len(counts))
        wrong = np.abs(sums - 1) > SUM_TOLERANCE if self.closed else sums > 1 + SUM_TOLERANCE
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            bound = "1" if self.closed else "at most 1"
            return (
                f"have {wrong.sum():,} positions whose probabilities do not sum to {bound}, the "
                "first is position "
                f"{first} with {sums[first]:.6g}"
            )
        in_tail = np.arange(len(ids)) - (np.cumsum(counts) - counts)[owners] >= heads[owners]
        within = (owners[1:] == owners[:-1]) & in_tail[1:] & in_tail[:-1]
        if (np.abs(np.diff(logprobs))[within] > SUM_TOLERANCE).any():
            return (
                "have tail entries of one position that stand for different masses; expected equal "
                "ones"
            )
        if not (
            np.isfinite(entropies).all()
            and ((entropies > -0.01) & (entropies < self.entropy_bound + 0.01)).all()
        ):
            return (
                f"have an entropy out of range; expected nats from 0 to log(V) = "
                f"{self.entropy_bound:.3f}"
            )
        return ""


def _whole(values: ArrayLike, name: str) -> NDArray[np.int64]:
    """An array of whole numbers."""
    array = np.asarray(values)
    if array.dtype.kind not in "ui" and array.size:
        raise ValueError(f"{name} of type {array.dtype} were given; expected whole numbers")
    return array.astype(np.int64)
