"""Which divergences there are, what serves them, and that nothing of it needs torch."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest

from tutelage import losses
from tutelage.losses import Divergence, Objective, reference
from tutelage.losses.table import (
    DIVERGENCES,
    PARAMETERS,
    TABLE,
    TARGET_KINDS,
    TOKEN_KINDS,
    WHOLE,
    forms,
    kinds_that_serve,
    serves,
)


def test_the_table_speaks_of_every_divergence_and_of_nothing_else() -> None:
    assert tuple(TABLE) == DIVERGENCES
    assert len(set(DIVERGENCES)) == len(DIVERGENCES) == 8
    assert {key for facts in TABLE.values() for key in facts.parameters} == set(PARAMETERS)
    assert {kind for facts in TABLE.values() for kind in facts.sparse} == set(TOKEN_KINDS) - WHOLE
    assert set(TARGET_KINDS) > WHOLE


@pytest.mark.parametrize("spec", [Objective, Divergence])
def test_what_holds_an_objective_has_a_field_for_every_parameter(spec) -> None:
    assert set(PARAMETERS) <= {field.name for field in fields(spec)}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_every_divergence_has_its_functions_with_its_parameters(name) -> None:
    found = forms(name)
    assert found.dense.__name__ == name
    assert getattr(losses, name) is found.dense
    assert (found.of_buckets is not None) == ("top_k" in TABLE[name].sparse)
    known = {key: parameter.default for key, parameter in TABLE[name].parameters.items()}
    for function in (found.dense, found.closed_form, getattr(reference, name)):
        taken = inspect.signature(function).parameters
        assert {key for key in taken if key in PARAMETERS} == set(known)
    taken = inspect.signature(found.dense).parameters
    assert {key: taken[key].default for key in known} == known


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_whole_distributions_serve_everything_at_any_temperature(divergence) -> None:
    assert kinds_that_serve(divergence, loss_temperature=2.0) == ["hidden", "live"]
    assert serves("class_probabilities", divergence, loss_temperature=2.0)


def test_what_sparse_targets_serve() -> None:
    assert kinds_that_serve("forward_kl") == ["sampled", "top_k", "hidden", "live"]
    assert kinds_that_serve("reverse_kl") == ["top_k", "hidden", "live"]
    assert kinds_that_serve("jensen_shannon") == ["hidden", "live"]
    assert not serves("sampled", "forward_kl", loss_temperature=1.5)
    assert not serves("top_k", "reverse_kl", loss_temperature=0.5)


def test_the_table_and_the_objective_bring_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from tutelage.losses import ForwardKL, Objective\n"
        "from tutelage.losses.table import TABLE\n"
        "assert Objective(divergence='alpha_beta').distance.parameters['beta'] == 0.7\n"
        "assert ForwardKL(2.0).loss_temperature == 2.0 and 'numpy' not in sys.modules\n"
        "try:\n    from tutelage.losses import forward_kl\n"
        "except ImportError:\n    print('no torch')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "no torch\n"), done.stderr


def test_an_unknown_name_lists_the_public_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'kl'; names: .*forward_kl"):
        _ = losses.kl
    assert set(losses.__all__) <= set(dir(losses))
