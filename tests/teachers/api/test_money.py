"""Prices and budgets."""

from __future__ import annotations

import pytest

from tutelage.teachers.api.money import Budget, Meter, Price
from tutelage.teachers.api.protocol import Usage


def test_cached_tokens_have_their_price() -> None:
    price = Price(input=2.0, output=8.0, cached=0.5)
    assert price.of(Usage(1_000_000, 400_000, 10_000)) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.08)
    assert Price(input=2.0).of(Usage(1_000_000, 400_000, 10_000)) == pytest.approx(2.0)


def test_a_budget_of_requests_counts_those_under_way() -> None:
    meter = Meter(None, Budget(requests=10), requests=6)
    assert meter.allows(3, guess=Usage())
    assert not meter.allows(4, guess=Usage())


@pytest.mark.parametrize("budget", [Budget(tokens=1000), Budget(cost=0.001)])
def test_a_budget_is_not_passed_when_requests_are_alike(budget: Budget) -> None:
    meter = Meter(Price(input=1.0, output=1.0), budget)
    while meter.allows(0, guess=Usage(90, 0, 7)):
        meter.add(Usage(90, 0, 7))
    assert 900 < meter.tokens <= 1000
    assert meter.cost is not None
    assert meter.cost <= 0.001


def test_before_the_first_reply_the_guess_counts() -> None:
    meter = Meter(None, Budget(tokens=1000))
    assert meter.allows(8, guess=Usage(100))
    assert not meter.allows(10, guess=Usage(100))


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="names no limit"):
        Budget().check_together()
