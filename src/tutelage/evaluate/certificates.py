"""How much a student may answer alone, with a guarantee that holds for any number of rows.

Scores and disagreements of calibration rows come in, thresholds and what they promise go out. The
calibration rows must be drawn as the requests will be, and everything else (student, score, gate,
candidates) fixed without them; then the share of disagreements is at most what was asked for with
the confidence that was asked for, over draws of the calibration rows. A threshold is exclusive: an
answer stands alone if its score is *above* it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from tutelage.errors import DataError
from tutelage_runtime.certificate import ALWAYS

Over = Literal["all", "answered"]
STEP = 0.02
"""Of coverage on validation rows, from one candidate threshold to the next."""
Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]


def upper_bound(disagreed: int, rows: int, *, confidence: float) -> float:
    """The largest disagreement rate that so few disagreements do not speak against, one-sided.

    Args:
        disagreed: Rows on which the student disagrees.
        rows: All rows; where there are none the bound is 1.
        confidence: Above 0 and below 1.

    Source: Clopper & Pearson 1934. Exact: the true rate is above it with probability
        1 - `confidence` at most, whatever the rate and the number of rows.
    """
    if disagreed >= rows:
        return 1.0
    return float(beta.ppf(confidence, disagreed + 1, rows - disagreed))


@lru_cache(maxsize=4096)
def most_disagreements(rows: int, *, share: float, confidence: float) -> int:
    """The largest number of disagreements among rows whose `upper_bound` is at most `share`; -1
    where not even none is few enough.
    """
    # The bound is at most the share exactly where P(Binomial(rows, share) <= d) <= 1 - confidence.
    found = int(binom.ppf(1 - confidence, rows, share)) if rows else 0
    while found >= 0 and binom.cdf(found, rows, share) > 1 - confidence:
        found -= 1
    return found


def rows_needed(*, share: float, confidence: float) -> int:
    """The fewest rows that can show a disagreement rate of at most `share`: with fewer, not even
    perfect agreement does.

    Example:
        >>> [rows_needed(share=share, confidence=0.95) for share in (0.05, 0.02, 0.01)]
        [59, 149, 299]
    """
    return math.ceil(math.log1p(-confidence) / math.log1p(-share) - 1e-9)


def threshold_over_all(
    scores: Scores, disagreed: Flags, *, share: float, confidence: float
) -> float | None:
    """The lowest threshold such that the requests that are answered and disagreed on are at most
    `share` of *all* requests.

    Why no candidates are needed. Let R(u) be the probability that a request scores above u and is
    disagreed on. It can only fall as u grows, and from the right it is continuous, so there is a
    lowest u* with R(u*) <= share, and of all scores *at or above* u* (u* may be an atom, where
    scores tie) at least `share` of the requests are disagreed on, unless u* is below every score.
    The threshold given is below u* only if at most `m = most_disagreements(n, ...)` of the n rows
    score at or above u* and are disagreed on: that number is binomial with a rate of at least
    `share`, so this happens with probability 1 - `confidence` at most. One bound at one fixed u*
    is used, however many thresholds the rows were free to choose from, and no equality of scores
    is excluded.

    Args:
        scores: [n] of calibration rows, from 0 to 1; -inf where something else forwards the row.
        disagreed: [n], whether the student disagrees.
        share: The largest share of all requests, above 0 and below 1.
        confidence: Above 0 and below 1.

    Returns:
        The threshold, just below all scores where every row may be answered; None where no row
        may, because there are too few.

    Source: Bates, Angelopoulos, Lei, Malik, Jordan 2021 (arXiv:2101.02703), theorem 1 and appendix
        A: for a loss that is monotone in the threshold. Learn then Test (arXiv:2110.01052) with a
        fixed sequence of candidates gives the same where these lie close enough.
    """
    allowed = most_disagreements(len(scores), share=share, confidence=confidence)
    if allowed < 0:
        return None
    wrong = np.sort(scores[disagreed])[::-1]
    if len(wrong) > allowed and wrong[allowed] >= ALWAYS:
        return float(wrong[allowed])
    # All of these rows pass; what scores lower than any of them is still forwarded, at no risk.
    seen = scores[scores > ALWAYS]
    return float(np.nextafter(seen.min(), ALWAYS)) if len(seen) else ALWAYS


def threshold_over_answered(
    scores: Scores,
    disagreed: Flags,
    candidates: Sequence[float],
    *,
    share: float,
    confidence: float,
) -> float | None:
    """The last of some thresholds such that of the requests that are *answered* at most `share` are
    disagreed on, each before it included.

    This rate may rise or fall with the threshold, so the argument for `threshold_over_all` does
    not hold. Instead each candidate u is a hypothesis, that the rate above u is larger than
    `share`. Given that k of the rows score above u, their disagreements are binomial of k and that
    rate, so that the bound rejects it wrongly with probability 1 - `confidence` at most, for every
    k and hence on average. They are tested in the given order, and the first that is not rejected
    ends it: a wrong one is accepted only if the first true hypothesis of the order is rejected, so
    testing many costs nothing. That one is a fixed hypothesis only because order and values do not
    hang on the calibration rows: candidates at the quantiles of their own scores would not do.

    Args:
        scores: [n] of calibration rows; -inf where something else forwards the row.
        disagreed: [n], whether the student disagrees.
        candidates: Thresholds in the order of testing, from `candidates_over_answered`.
        share: The largest share of answered requests.
        confidence: Above 0 and below 1.

    Returns:
        The last one that passed; None where the first did not.

    Source: Angelopoulos, Bates, Candès, Jordan, Lei 2021 (arXiv:2110.01052), fixed sequence
        testing.
    """
    passed = None
    for candidate in candidates:
        above = scores > candidate
        allowed = most_disagreements(int(above.sum()), share=share, confidence=confidence)
        if disagreed[above].sum() > allowed:
            break
        passed = float(candidate)
    return passed


def candidates_over_answered(
    scores: Scores, disagreed: Flags, *, rows: int, share: float, confidence: float
) -> list[float]:
    """Thresholds to test, strict to lenient, beginning where success is likeliest.

    Too strict a beginning leaves too few answered rows to show anything, and the test would end
    there. Both beginning and steps come from validation rows, so they do not hang on the
    calibration rows.

    Args:
        scores: [m] of validation rows; -inf where something else forwards the row.
        disagreed: [m], whether the student disagrees.
        rows: Calibration rows that there will be.
        share: As for `threshold_over_answered`.
        confidence: As for `threshold_over_answered`.
    """
    known = np.sort(scores[np.isfinite(scores)])[::-1]
    if not len(known):
        return []
    steps = np.unique(
        np.append(np.ceil(np.arange(STEP, 1, STEP) * len(scores)), len(known)).astype(int)
    )
    steps = steps[(steps >= 1) & (steps <= len(known))]
    values = [ALWAYS if step == len(known) else float(known[step - 1]) for step in steps]
    values = list(dict.fromkeys(values))
    above = scores[:, None] > np.array(values)
    num_above = above.sum(axis=0)
    # Half a disagreement more than there were, for none on few rows is no promise.
    rates = ((above & disagreed[:, None]).sum(axis=0) + 0.5) / (num_above + 1)
    answered = np.round(rows * num_above / len(scores)).astype(int)
    allowed = [most_disagreements(k, share=share, confidence=confidence) for k in answered]
    first = int(np.argmax(binom.cdf(allowed, answered, rates)))
    return values[first:]


@dataclass(frozen=True)
class Found:
    """A threshold, and what the calibration rows say of it."""

    threshold: float | None
    """None: nothing may be answered."""
    rows: int
    """Calibration rows."""
    answered: int
    """Of these, rows that would be answered."""
    disagreed: int
    """Of these, disagreements."""
    bound: float
    """Upper bound of the share that is promised."""


def certify(
    scores: Scores,
    disagreed: Flags,
    *,
    over: Over,
    share: float,
    confidence: float,
    candidates: Sequence[float] = (),
) -> Found:
    """A threshold with its bound; see `threshold_over_all` and `threshold_over_answered`.

    Raises:
        DataError: There are too few rows for any answer, however often the student agrees.
    """
    require_rows(len(scores), share=share, confidence=confidence)
    if over == "all":
        threshold = threshold_over_all(scores, disagreed, share=share, confidence=confidence)
    else:
        threshold = threshold_over_answered(
            scores, disagreed, candidates, share=share, confidence=confidence
        )
    above = scores > (math.inf if threshold is None else threshold)
    wrong, answered = int((above & disagreed).sum()), int(above.sum())
    of = len(scores) if over == "all" else answered
    # Nothing is disagreed on where nothing is answered.
    bound = upper_bound(wrong, of, confidence=confidence) if answered else 0.0
    return Found(threshold, len(scores), answered, wrong, bound)


def certify_classes(
    scores: Scores,
    disagreed: Flags,
    answers: NDArray[np.integer],
    num_classes: int,
    *,
    over: Over,
    share: float,
    confidence: float,
    candidates: Sequence[Sequence[float]] = (),
) -> list[Found]:
    """A threshold for every answer of the student, all of which hold together.

    Of the requests that the student gives class c, or with `over` answered of those that it
    answers so, at most `share` are disagreed on, for all c at once with the confidence: each class
    is tested at (1 - confidence) / C (Bonferroni), and given their number the rows of a class are
    draws of the requests of that class. What holds for each class holds for all requests together,
    at the same share. A class with too few rows is never answered.

    Args:
        scores: [n] of calibration rows.
        disagreed: [n], whether the student disagrees.
        answers: [n], the class that the student gives each row.
        num_classes: C.
        over: As for `certify`.
        share: As for `certify`.
        confidence: Of all classes together.
        candidates: Of each class, where `over` is answered.

    Raises:
        DataError: No class has enough rows.
    """
    each = 1 - (1 - confidence) / num_classes
    needed = rows_needed(share=share, confidence=each)
    found = []
    for label in range(num_classes):
        of_class = answers == label
        if of_class.sum() < needed:
            found.append(Found(None, int(of_class.sum()), 0, 0, 0.0))
            continue
        found.append(
            certify(
                scores[of_class],
                disagreed[of_class],
                over=over,
                share=share,
                confidence=each,
                candidates=candidates[label] if candidates else (),
            )
        )
    most = max((one.rows for one in found), default=0)
    if most < needed:
        raise DataError(
            f"the student gives no class more than {most:,} of the {len(scores):,} rows, and a "
            f"threshold for each of {num_classes} classes needs {needed:,} rows of a class: give "
            "more rows with --rows, or leave --per-class out"
        )
    return found


def require_rows(rows: int, *, share: float, confidence: float) -> None:
    """Refuse fewer rows than `rows_needed`."""
    needed = rows_needed(share=share, confidence=confidence)
    if rows < needed:
        raise DataError(
            f"{rows:,} rows cannot show that at most {share:.3g} are disagreed on at a confidence "
            f"of {confidence:.3g}, even without a single disagreement: that takes {needed:,} rows "
            "(--rows FILE with more), a larger --disagreement, or a lower --confidence"
        )
