"""An audit calls broken what is broken, soon, and hardly ever what is not."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binom

from tutelage_runtime.audit import Audit, AuditError

CONTRACT, ALPHA = 0.02, 0.01
AUDITED = 2000
"""Of 100,000 requests, at an audit share of 2 %."""


@dataclass
class Many:
    """Many audits at once, by the same arithmetic; a test says that it is the same."""

    audits: int
    seed: int

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.rates = np.array(Audit(CONTRACT, ALPHA).rates)
        self.owned = np.zeros((self.audits, len(self.rates)))
        self.broken_at = np.full(self.audits, -1)
        self.observed = 0

    def watch(self, rate: float, times: int) -> None:
        for _ in range(times):
            self.take(self.random.random(self.audits) < rate)

    def take(self, wrong: np.ndarray) -> None:
        put = Audit._left(self.observed) - Audit._left(self.observed + 1)
        factor = np.where(wrong[:, None], self.rates / CONTRACT, (1 - self.rates) / (1 - CONTRACT))
        self.owned = np.minimum((self.owned + put / len(self.rates)) * factor, 1e300)
        self.observed += 1
        over = self.owned.sum(axis=1) + Audit._left(self.observed) >= 1 / ALPHA
        self.broken_at[over & (self.broken_at < 0)] = self.observed


def test_many_audits_are_each_an_audit() -> None:
    many, audits = Many(5, seed=0), [Audit(CONTRACT, ALPHA) for _ in range(5)]
    random = np.random.default_rng(1)
    for _ in range(300):
        wrong = random.random(5) < 0.08
        many.take(wrong)
        for audit, one in zip(audits, wrong, strict=True):
            audit.observe(bool(one))
    expected = many.owned.sum(axis=1) + Audit._left(300)
    assert [audit.e_value for audit in audits] == pytest.approx(expected.tolist())
    assert [audit.broken for audit in audits] == (many.broken_at > 0).tolist()


def test_without_a_shift_hardly_any_audit_of_100_000_requests_is_false() -> None:
    many = Many(2000, seed=2)
    many.watch(CONTRACT, AUDITED)  # at the very edge of what was promised
    false = (many.broken_at > 0).sum()
    assert false <= binom.ppf(0.999, 2000, ALPHA)
    assert false > 0  # the bound is no mere wall


def test_the_mean_of_the_evidence_is_one_at_most_while_the_contract_is_kept() -> None:
    many = Many(20_000, seed=3)
    many.watch(CONTRACT, 50)
    evidence = many.owned.sum(axis=1) + Audit._left(50)
    assert evidence.mean() < 1 + 4 * evidence.std() / 20_000**0.5


@pytest.mark.parametrize(("good", "times", "median"), [(0, 5, 100), (2000, 5, 220), (0, 2, 900)])
def test_a_broken_contract_is_found_soon_even_after_a_long_good_time(
    good: int, times: int, median: int
) -> None:
    many = Many(300, seed=4)
    many.watch(CONTRACT / 2, good)
    assert not (many.broken_at > 0).any()
    many.watch(times * CONTRACT, 3 * median)
    assert np.median(np.where(many.broken_at < 0, 10**6, many.broken_at)) - good < median


def test_broken_stays_broken_and_the_state_comes_back_whole() -> None:
    audit = Audit(CONTRACT, ALPHA)
    for _ in range(6):
        audit.observe(True)
    assert audit.broken
    again = Audit.restore(json.loads(json.dumps(audit.state())))
    assert again == audit
    for _ in range(5000):
        again.observe(False)
    assert again.broken
    assert again.e_value < 1 / ALPHA
    assert (again.observed, again.disagreed) == (5006, 6)


def test_evidence_never_overflows() -> None:
    audit = Audit(CONTRACT, ALPHA)
    for _ in range(2000):
        audit.observe(True)
    assert Audit.restore(json.loads(json.dumps(audit.state()))).broken


def test_what_is_no_state_is_refused() -> None:
    state = Audit(CONTRACT).state()
    large = state | {"contract": 10**400}
    for wrong in (
        {},
        large,
        state | {"format": 2},
        state | {"owned": [1]},
        state | {"disagreed": 3},
    ):
        with pytest.raises(AuditError, match="no state of an audit"):
            Audit.restore(wrong)
    with pytest.raises(AuditError, match="above 0 and below 1"):
        Audit(contract=0.0)


def test_a_high_contract_is_audited_too() -> None:
    audit = Audit(contract=0.9, alpha=0.05)
    for _ in range(200):
        audit.observe(True)
    assert audit.broken
