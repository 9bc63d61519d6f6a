"""What a teacher says about the tokens of one document: a few ids and their log-probabilities, or
hidden states.

There is one target for each trained token, in order; P is their number. Arrays are numpy; nothing
here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SparseTargets:
    """A few entries for each position of a document: kinds `sampled` and `top_k`.

    The entries of a position lie together, its head first. In a store of kind `sampled` every tail
    entry of a position stands for the same mass and exp(logprobs) of a position sums to 1; in
    `top_k` all entries are head, and what they lack to 1 is the mass of all other ids.
    """

    counts: NDArray[np.uint16]
    """Entries of each position, [P]."""
    heads: NDArray[np.uint16]
    """How many of them are head, that is kept rather than drawn, [P]. As stored: the most probable
    first."""
    ids: NDArray[np.int32]
    """Token ids, [N], N = counts.sum(); distinct within a position. As stored: those of the tail
    ascend."""
    logprobs: NDArray[np.float32]
    """Natural logarithms of probability (head) or of the mass that an entry stands for (tail),
    [N]."""
    entropies: NDArray[np.float32]
    """Entropy of the teacher's whole distribution in nats, [P]."""

    def __len__(self) -> int:
        """P."""
        return len(self.counts)


@dataclass(frozen=True, slots=True, eq=False)
class HiddenTargets:
    """The teacher's final hidden state at each position of a document, 8 bits a value: kind
    `hidden`.

    `states * scales[:, None]` is what the store's output matrix multiplies: see
    `targets.OutputMatrix`.
    """

    states: NDArray[np.int8]
    """[P, H]."""
    scales: NDArray[np.float32]
    """[P]."""
    entropies: NDArray[np.float32]
    """Entropy of the teacher's whole distribution in nats, [P]."""

    def __len__(self) -> int:
        """P."""
        return len(self.scales)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.states.nbytes + self.scales.nbytes + self.entropies.nbytes
