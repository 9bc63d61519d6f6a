"""Members of a teacher beside what they say together, on the test rows.

In: class probabilities of every member and of the whole, gold labels where there are any. Out: the
part of evaluation.json that the report makes its section of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.metrics import agreements, correct, mean_interval, nlls, share_interval

KEY = "members"
"""Of evaluation.json."""
MOST_DISPUTED = 20
"""Rows that are named."""


def compare_members(
    members: Mapping[str, ArrayLike],
    together: ArrayLike,
    gold: ArrayLike,
    *,
    labels: Sequence[str],
    weights: Mapping[str, float],
    descriptions: Mapping[str, str],
    combine: str,
    bootstrap_samples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """How good each member is alone, what is gained by asking all, and where they part.

    Args:
        members: Class probabilities [N, C] by name.
        together: What they say together, [N, C].
        gold: Label indexes [N]; -1 where nobody labelled the row.
        labels: Names of the C classes.
        weights: What each member weighs.
        descriptions: Each member in a few words.
        combine: How they are combined.
        bootstrap_samples: Resamples behind each 95 % interval.
        seed: Of the resampling.

    Returns:
        `{"combine", "each": [{"name", "weight", "description", "accuracy", "nll",
        "nll_over_together", "agreement"}], "together": {"accuracy", "nll"}, "unanimous",
        "disputed": [{"row", "apart", "answers": {name: {"label", "probability"}}}]}`, numbers as
        `{"value", "low", "high"}`; accuracy and nll only where rows are labelled.
        `nll_over_together` is the difference on the same rows, above 0 where the whole is better;
        `agreement` is the share of rows with the answer of the whole, `unanimous` that on which all
        answer alike; `apart` is the Jensen-Shannon divergence of the members, all alike, in nats.
    """
    from tutelage.teachers.ensemble.mixing import jensen_shannon

    drawing = {"samples": bootstrap_samples, "seed": seed}
    probs = {name: np.asarray(one, dtype=np.float64) for name, one in members.items()}
    whole, known = np.asarray(together, dtype=np.float64), np.asarray(gold, dtype=np.int64)
    judged = np.flatnonzero(known >= 0)

    def quality(of_one: NDArray[np.float64]) -> dict[str, Any]:
        if not len(judged):
            return {}
        ours = of_one[judged], known[judged]
        return {
            "accuracy": share_interval(correct(*ours), **drawing).as_dict(),
            "nll": mean_interval(nlls(*ours), **drawing).as_dict(),
        }

    each = []
    for name, of_one in probs.items():
        told: dict[str, Any] = {
            "name": name,
            "weight": float(weights[name]),
            "description": descriptions.get(name, ""),
            **quality(of_one),
            "agreement": share_interval(agreements(whole, of_one), **drawing).as_dict(),
        }
        if len(judged):
            gained = nlls(of_one[judged], known[judged]) - nlls(whole[judged], known[judged])
            told["nll_over_together"] = mean_interval(gained, **drawing).as_dict()
        each.append(told)
    stacked = np.stack(list(probs.values()))
    answers = stacked.argmax(axis=2)
    apart = jensen_shannon(stacked)
    disputed = [int(row) for row in np.argsort(-apart, kind="stable")[:MOST_DISPUTED]]
    return {
        "combine": combine,
        "each": each,
        "together": quality(whole),
        "unanimous": share_interval((answers == answers[0]).all(axis=0), **drawing).as_dict(),
        "disputed": [
            {
                "row": row,
                "apart": float(apart[row]),
                "answers": {
                    name: {
                        "label": labels[int(of_one[row].argmax())],
                        "probability": float(of_one[row].max()),
                    }
                    for name, of_one in probs.items()
                },
            }
            for row in disputed
            if apart[row] > 0
        ],
    }
