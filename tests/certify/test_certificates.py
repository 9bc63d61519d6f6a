"""What a certificate promises is kept as often as it says, whatever the student, and no oftener
than an exact bound allows for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from tutelage.errors import DataError
from tutelage.evaluate.certificates import (
    candidates_over_answered,
    certify,
    certify_classes,
    most_disagreements,
    rows_needed,
    threshold_over_all,
    threshold_over_answered,
    upper_bound,
)
from tutelage_runtime.certificate import ALWAYS

SIMULATIONS = 1000
SHARE, CONFIDENCE = 0.05, 0.95


def allowed_violations(simulations: int, rate: float = 1 - CONFIDENCE) -> int:
    """So many violations are exceeded once in a thousand times by what keeps its word."""
    return int(binom.ppf(0.999, simulations, rate))


def draw(random: np.random.Generator, rows: int, *, atoms: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and disagreements that are the likelier the lower the score; with atoms, most scores
    tie."""
    scores = random.beta(3, 1, size=rows)
    if atoms:
        scores = np.ceil(scores * 4) / 4
    return scores, random.random(rows) < 0.4 * (1 - scores)


def rate_above(threshold: float | None, *, atoms: bool, over: str) -> float:
    """The true share of disagreements above a threshold, by 400,000 draws that are the same
    each time."""
    key = atoms
    if key not in _WORLDS:
        scores, wrong = draw(np.random.default_rng(99), 400_000, atoms=atoms)
        order = np.argsort(scores)
        _WORLDS[key] = scores[order], np.append(np.cumsum(wrong[order][::-1])[::-1], 0)
    if threshold is None:
        return 0.0
    scores, wrong_from = _WORLDS[key]
    place = int(np.searchsorted(scores, threshold, side="right"))
    of = len(scores) if over == "all" else max(1, len(scores) - place)
    return float(wrong_from[place] / of)


_WORLDS: dict[bool, tuple[np.ndarray, np.ndarray]] = {}


def test_the_rows_needed_are_those_of_the_literature() -> None:
    assert [rows_needed(share=share, confidence=0.95) for share in (0.05, 0.02, 0.01)] == [
        59,
        149,
        299,
    ]


@given(share=st.floats(0.005, 0.5), confidence=st.floats(0.5, 0.999), rows=st.integers(1, 3000))
@settings(max_examples=60, deadline=None)
def test_counts_bounds_and_rows_needed_say_the_same(
    share: float, confidence: float, rows: int
) -> None:
    most = most_disagreements(rows, share=share, confidence=confidence)
    assert (most >= 0) == (rows >= rows_needed(share=share, confidence=confidence))
    if most >= 0:
        assert upper_bound(most, rows, confidence=confidence) <= share + 1e-9
    if most + 1 < rows:
        assert upper_bound(most + 1, rows, confidence=confidence) > share - 1e-9


def test_the_bound_is_exact_where_it_is_tight() -> None:
    # Of all rates that two disagreements among 200 rows could come from, it is the one at which as
    # few are seen once in twenty times.
    assert binom.cdf(2, 200, upper_bound(2, 200, confidence=0.95)) == pytest.approx(0.05)


@pytest.mark.parametrize("atoms", [False, True])
@pytest.mark.parametrize("rows", [100, 400])
def test_over_all_the_promise_is_broken_no_oftener_than_it_says(rows: int, atoms: bool) -> None:
    random = np.random.default_rng(rows)
    violations = answered = 0
    for _ in range(SIMULATIONS):
        threshold = threshold_over_all(
            *draw(random, rows, atoms=atoms), share=SHARE, confidence=CONFIDENCE
        )
        violations += rate_above(threshold, atoms=atoms, over="all") > SHARE
        answered += threshold is not None
    assert violations <= allowed_violations(SIMULATIONS)
    assert answered == SIMULATIONS
    if not atoms:  # and it is not kept by answering little: a test that always passes shows nothing
        assert violations > 0.3 * SIMULATIONS * binom.cdf(
            most_disagreements(rows, share=SHARE, confidence=CONFIDENCE), rows, SHARE
        )


@pytest.mark.parametrize("world", ["falling", "atoms", "flat"])
def test_over_answered_the_promise_is_broken_no_oftener_than_it_says(world: str) -> None:
    random = np.random.default_rng(5)
    violations = passed = 0
    for turn in range(SIMULATIONS):
        if turn % 20 == 0:
            candidates = candidates_over_answered(
                *_world(world, random, 200), rows=400, share=SHARE, confidence=CONFIDENCE
            )
        threshold = threshold_over_answered(
            *_world(world, random, 400), candidates, share=SHARE, confidence=CONFIDENCE
        )
        if world == "flat":
            violations += threshold is not None
        else:
            true = rate_above(threshold, atoms=world == "atoms", over="answered")
            violations += true > SHARE
        passed += threshold is not None
    assert violations <= allowed_violations(SIMULATIONS)
    assert passed > SIMULATIONS / 10 or world == "flat"


def _world(world: str, random: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """In the flat one every threshold is wrong, and by a little only."""
    if world == "flat":
        return random.random(rows), random.random(rows) < 1.02 * SHARE
    return draw(random, rows, atoms=world == "atoms")


def test_the_simulation_finds_a_rate_without_a_bound_and_thresholds_that_peek() -> None:
    random = np.random.default_rng(7)
    plain = peeking = 0
    for _ in range(300):
        scores, wrong = draw(random, 400, atoms=False)
        seen = np.cumsum(wrong[np.argsort(-scores)]) <= SHARE * 400
        plain += rate_above(np.sort(scores)[::-1][seen.sum() - 1], atoms=False, over="all") > SHARE
        # Any threshold that passes, not the last before the first failure.
        scores, wrong = _world("flat", random, 400)
        order = np.argsort(-scores)
        errors = np.cumsum(wrong[order])
        peeking += any(
            errors[k - 1] <= most_disagreements(k, share=SHARE, confidence=CONFIDENCE)
            for k in range(59, 401, 20)
        )
    assert plain > allowed_violations(300)
    assert peeking > allowed_violations(300)


def test_a_gated_row_is_forwarded_and_still_counts_among_all() -> None:
    scores = np.full(59, 0.9)
    wrong = np.zeros(59, dtype=bool)
    scores[:20], wrong[:20] = -np.inf, True
    found = certify(scores, wrong, over="all", share=0.05, confidence=0.95)
    assert (found.answered, found.disagreed) == (39, 0)
    # What scores lower than any row that certified is forwarded.
    assert found.threshold == np.nextafter(0.9, 0)


def test_every_score_below_the_last_tolerated_disagreement_is_forwarded() -> None:
    scores, wrong = np.linspace(1, 0, 100), np.zeros(100, dtype=bool)
    wrong[[10, 30, 50]] = True
    # One disagreement among 100 rows is tolerated at 5 %: the second stays out.
    assert most_disagreements(100, share=0.05, confidence=0.95) == 1
    assert certify(scores, wrong, over="all", share=0.05, confidence=0.95).answered == 30


def test_candidates_begin_where_validation_says_that_success_is_likely() -> None:
    random = np.random.default_rng(3)
    candidates = candidates_over_answered(
        *draw(random, 500, atoms=False), rows=400, share=SHARE, confidence=CONFIDENCE
    )
    assert candidates == sorted(candidates, reverse=True)
    assert candidates[-1] == ALWAYS
    assert candidates[0] < 0.99


def test_too_few_rows_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(DataError, match=r"takes 149 rows"):
        certify(np.ones(148), np.zeros(148, dtype=bool), over="all", share=0.02, confidence=0.95)


def test_classes_hold_together_and_those_without_rows_are_forwarded() -> None:
    random = np.random.default_rng(11)
    broken = 0
    for _ in range(300):
        scores, wrong = draw(random, 600, atoms=False)
        answers = np.where(np.arange(600) % 12 < 5, 0, np.where(np.arange(600) % 12 < 10, 1, 2))
        found = certify_classes(
            scores, wrong, answers, 4, over="all", share=SHARE, confidence=CONFIDENCE
        )
        assert [one.threshold is None for one in found] == [False, False, False, True]
        broken += any(rate_above(one.threshold, atoms=False, over="all") > SHARE for one in found)
    assert broken <= allowed_violations(300)
    with pytest.raises(DataError, match=r"needs \d+ rows of a class"):
        certify_classes(
            np.ones(80), np.zeros(80, dtype=bool), np.arange(80) % 4, 4, over="all", share=SHARE,
            confidence=CONFIDENCE,
        )  # fmt: skip


def test_nothing_is_answered_where_no_candidate_passes() -> None:
    wrong = np.ones(100, dtype=bool)
    found = certify(
        np.linspace(0.5, 1, 100), wrong, over="answered", share=SHARE, confidence=CONFIDENCE,
        candidates=[0.9, 0.8],
    )  # fmt: skip
    assert (found.threshold, found.answered) == (None, 0)
    assert math.isclose(found.bound, 0.0)
