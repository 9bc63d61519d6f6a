"""Which targets serve which objective."""

from __future__ import annotations

import pytest

from tutelage.config.objectives import (
    DIVERGENCES,
    OF_ONE_DIVERGENCE,
    PARAMETERS,
    SERVED_BY,
    kinds_that_serve,
    serves,
)


def test_every_name_in_the_tables_is_a_divergence() -> None:
    assert len(set(DIVERGENCES)) == len(DIVERGENCES) == 8
    assert {name for served in SERVED_BY.values() for name in served} == set(DIVERGENCES)
    assert set(PARAMETERS) < set(DIVERGENCES)
    assert {key for keys in PARAMETERS.values() for key in keys} == set(OF_ONE_DIVERGENCE)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_whole_distributions_serve_everything_at_any_temperature(divergence: str) -> None:
    assert {"hidden", "live"} <= set(kinds_that_serve(divergence, loss_temperature=2.0))


def test_what_sparse_targets_serve() -> None:
    assert kinds_that_serve("forward_kl") == ["sampled", "top_k", "hidden", "live"]
    assert kinds_that_serve("reverse_kl") == ["top_k", "hidden", "live"]
    assert kinds_that_serve("jensen_shannon") == ["hidden", "live"]
    assert not serves("sampled", "forward_kl", loss_temperature=1.5)
    assert not serves("top_k", "reverse_kl", loss_temperature=0.5)
