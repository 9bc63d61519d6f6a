"""Whether an explanation names the words that an answer hangs on: what happens to the answer when
they are left out first.

A deletion curve is the probability of the answer while more and more words are left out. If words
are left out by what they spoke for it, most first, it should fall sooner than in random order; the
area between the two curves says by how much.

Source: comprehensiveness of DeYoung et al. 2020 (ERASER, arXiv:1911.03429), section 4, and the
deletion curve of Petsiuk et al. 2018 (RISE, arXiv:1806.07421). Random orders as the other side, so
that words which any order would leave out count for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.evaluate.classes.explaining import Subject, ask
from tutelage.metrics import mean_interval
from tutelage.models.contributions import Contributions, without

SHARES = np.linspace(0.0, 1.0, 11)
"""Shares of a text's words that are left out."""
RANDOM_ORDERS = 5


def faithfulness(
    subject: Subject,
    texts: Sequence[str],
    contributions: Sequence[Contributions],
    *,
    random_orders: int = RANDOM_ORDERS,
    samples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """How much sooner an answer falls when words are left out by their contribution.

    Args:
        subject: Whose answers these are.
        texts: N texts.
        contributions: Of each text.
        random_orders: Orders of each text that stand for all.
        samples: Bootstrap resamples of texts behind the interval.
        seed: Of orders and resamples.

    Returns:
        `{"texts", "difference": {"value", "low", "high"}, "shares", "by_contribution", "random"}`:
        the mean area between the curves with its 95 % interval over texts, in probability of the
        answer (at most 1; 0 where an order is no better than chance), and both mean curves at the
        shares of words left out. Texts of one word have one order, and are left out.

    Raises:
        DataError: No text has two words.
    """
    rows = [row for row, one in enumerate(contributions) if len(one.spans) > 1]
    if not rows:
        raise DataError("no text has two words, so no order of leaving them out: give longer texts")
    generator = np.random.default_rng(seed)
    answers = ask(subject, [texts[row] for row in rows]).argmax(axis=1)
    curves = np.empty((len(rows), 1 + random_orders, len(SHARES)))
    for place, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        one = contributions[row]
        orders = [np.argsort(-one.pushes(int(answer)), kind="stable")]
        orders += [generator.permutation(len(one.spans)) for _ in range(random_orders)]
        curves[place] = _curves(subject, texts[row], one, orders, answer=int(answer))
    areas = np.asarray(np.trapezoid(curves, SHARES, axis=2))
    difference = areas[:, 1:].mean(axis=1) - areas[:, 0]
    return {
        "texts": len(rows),
        "difference": mean_interval(difference, samples=samples, seed=seed).as_dict(),
        "shares": SHARES.tolist(),
        "by_contribution": curves[:, 0].mean(axis=0).tolist(),
        "random": curves[:, 1:].mean(axis=(0, 1)).tolist(),
    }


def _curves(
    subject: Subject,
    text: str,
    contributions: Contributions,
    orders: Sequence[NDArray[np.integer]],
    *,
    answer: int,
) -> NDArray[np.float64]:
    """Probability of the answer at each share of words left out, [orders, shares]."""
    spans = contributions.spans
    counts = np.rint(SHARES * len(spans)).astype(int)
    variants = [
        without(text, spans, set(order[:count].tolist())) for order in orders for count in counts
    ]
    known = list(dict.fromkeys(variants))
    probs = dict(zip(known, ask(subject, known)[:, answer], strict=True))
    return np.array([probs[one] for one in variants]).reshape(len(orders), len(counts))
