"""Which texts to ask a teacher about next, where every answer costs something.

In: features of all texts, what a quick student makes of them, and which are labelled already. Out:
places of the next texts. Pure and seeded: nothing is asked, fitted to labels, or kept here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import ShapeMismatch
from tutelage.types import Seed

Choice = Literal["random", "uncertain", "diverse", "mixed"]
"""By what texts are chosen."""

NOT_CHOSEN = "not chosen"
"""Why a text has no soft target."""
UNCERTAIN_TO_ONE = 4
"""`mixed` looks for variety among so many times the texts that are wanted."""
_KMEANS_ROWS = 20_000
"""The most texts that are clustered; of more a random part."""


@dataclass(frozen=True, kw_only=True)
class LabelChoice:
    """A part of the texts that students learn from."""

    limit: Annotated[int, Ge(1)]
    """The most texts to learn from that it is asked about; those that judge, validation and test,
    come on top."""

    choose: Choice = "mixed"
    """Which: random; uncertain: those between whose two best labels a quick student hesitates most;
    diverse: unlike each other; mixed: unlike each other among the uncertain."""

    rounds: Annotated[int, Ge(1)] = 4
    """In how many parts they are asked; after each, a quick student learns from the answers, and
    the next part is chosen by what it says."""

    stop_early: bool = False
    """Stop before the limit where what is left of it would bring the quick student at most 5 %
    nearer to the teacher, by the upper end of the last round's 95 % interval on validation rows."""

    seed: Seed = 0
    """Of every random choice of texts. Apart from `train.seed`, so that students of several seeds
    share targets."""


def choose_rows(
    features: ArrayLike,
    probs: ArrayLike | None,
    labelled: ArrayLike,
    *,
    count: int,
    choose: Choice = "mixed",
    seed: int = 0,
) -> NDArray[np.int64]:
    """Places of the texts to label next.

    Args:
        features: One vector a text [N, D], dense, in which near texts are alike (such as TF-IDF
            reduced to a hundred numbers, or an encoder's).
        probs: What the quick student says of them, [N, C]; None before the first round, in which
            `uncertain` is random and `mixed` is diverse.
        labelled: Which are labelled already, [N].
        count: How many are wanted; fewer are given where fewer are left.
        choose: `random`; `uncertain`: the smallest margin between the two most probable classes;
            `diverse`: the texts next to the centres of as many clusters; `mixed`: clusters among
            the `UNCERTAIN_TO_ONE * count` most uncertain, where small margins weigh more.
        seed: Of every random choice.

    Returns:
        Distinct places [at most count], in rising order.

    Raises:
        ShapeMismatch: The three are not about the same texts.
        ValueError: `count` is below 1.

    Source: margin sampling, Scheffer et al. 2001; `mixed` is Zhdanov 2019 (arXiv:1901.05954),
        section 3, with the margin as the informativeness.
    """
    vectors, known = np.asarray(features, dtype=np.float64), np.asarray(labelled, dtype=bool)
    said = None if probs is None else np.asarray(probs, dtype=np.float64)
    if known.ndim != 1 or any(
        one.ndim != 2 or len(one) != len(known) for one in (vectors, said) if one is not None
    ):
        raise ShapeMismatch(
            f"features of shape {vectors.shape}, probabilities of shape "
            f"{None if said is None else said.shape} and labelled of shape {known.shape} were "
            "given; expected [N, D], [N, C] and [N]"
        )
    if count < 1:
        raise ValueError(f"count is {count}; expected at least one text")
    generator = np.random.default_rng(seed)
    left = generator.permutation(np.flatnonzero(~known))
    if len(left) <= count:
        return np.sort(left)
    if choose == "random" or (choose == "uncertain" and said is None):
        return np.sort(left[:count])
    if said is None or choose == "diverse":
        some = left[: max(count, _KMEANS_ROWS)]
        return _central(vectors, some, np.ones(len(some)), count=count, seed=seed)
    gaps = margins(said)[left]
    order = np.argsort(gaps, kind="stable")  # of equal ones a random order
    if choose == "uncertain":
        return np.sort(left[order[:count]])
    near = order[: min(UNCERTAIN_TO_ONE * count, max(count, _KMEANS_ROWS))]
    weights = np.maximum(1.0 - gaps[near], 1e-3)
    return _central(vectors, left[near], weights, count=count, seed=seed)


def margins(probs: ArrayLike) -> NDArray[np.float64]:
    """By how much the most probable class of each text leads the second, [N], from 0 to 1."""
    two = np.partition(np.asarray(probs, dtype=np.float64), -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


def _central(
    vectors: NDArray[np.float64],
    rows: NDArray[np.int64],
    weights: NDArray[np.float64],
    *,
    count: int,
    seed: int,
) -> NDArray[np.int64]:
    """Of some rows those next to the centres of `count` clusters, another for each centre."""
    from sklearn.cluster import MiniBatchKMeans

    found = vectors[rows]
    clusters = MiniBatchKMeans(
        count, random_state=seed % 2**32, batch_size=max(1024, 3 * count), max_iter=20
    )
    owners = np.asarray(clusters.fit_predict(found, sample_weight=weights))
    own = clusters.transform(found)[np.arange(len(rows)), owners]
    chosen: dict[int, int] = {}
    for place in np.argsort(own, kind="stable"):
        chosen.setdefault(int(owners[place]), int(place))
    taken = list(chosen.values())
    if len(taken) < count:  # clusters without a text of their own, as where texts are equal
        rest = np.setdiff1d(np.argsort(-weights, kind="stable"), taken, assume_unique=True)
        taken += rest[: count - len(taken)].tolist()
    return np.sort(rows[taken])
