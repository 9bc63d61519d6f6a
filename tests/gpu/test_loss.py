"""The chunked loss on a device: values and gradients are those of the definition in float64."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.losses.linear_cases import Case, gradients, plain

from tutelage.losses import Divergence, linear_divergence, reference

SIDES = ("dense", "states", "bucket", "sampled")


def moved(value: Any, device: str, dtype: torch.dtype) -> Any:
    """A tensor, or a teacher of tensors, elsewhere."""
    if isinstance(value, torch.Tensor):
        return value.to(device, dtype if value.is_floating_point() else None)
    changes = {one.name: getattr(value, one.name) for one in fields(value)}
    tensors = {name: one for name, one in changes.items() if isinstance(one, torch.Tensor)}
    return replace(value, **{name: moved(one, device, dtype) for name, one in tensors.items()})


def side(case: Case, name: str) -> Any:
    return case.bucket(case.logprobs.shape[1] - 1) if name == "bucket" else getattr(case, name)


def ours(case: Case, name: str, device: str, *, dtype: torch.dtype, autocast: bool = False) -> Any:
    """Loss and gradients of states, matrix and bias, in chunks of three positions."""
    inputs = [one.detach().to(device, dtype).requires_grad_() for one in case.inputs()]
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        found = linear_divergence(
            *inputs[:2],
            bias=inputs[2],
            teacher=moved(side(case, name), device, dtype),
            labels=case.labels.to(device),
            weights=moved(case.weights, device, dtype),
            total=2.0,
            chunk_positions=3,
        )
    return found.loss, gradients(found.loss, inputs)


def truth(case: Case) -> Any:
    inputs = case.inputs()
    loss = plain(case, *inputs, total=2.0, weights=case.weights)
    return loss.detach(), gradients(loss, inputs)


@pytest.mark.parametrize("name", SIDES)
def test_values_and_gradients_are_those_of_the_definition(device: str, name: str) -> None:
    case = Case(3, positions=40, size=203)
    loss, found = ours(case, name, device, dtype=torch.float32)
    exact, expected = truth(case)
    assert loss.device.type == device
    torch.testing.assert_close(loss.double().cpu(), exact, rtol=2e-5, atol=2e-5)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double().cpu(), other, rtol=2e-4, atol=2e-5)


def test_one_position_is_that_of_the_reference(device: str) -> None:
    case = Case(5, positions=1, size=31)
    logits = (case.hidden @ case.weight.T)[0].numpy()
    expected = reference.forward_kl(logits, case.logprobs[0].numpy())
    found = linear_divergence(
        case.hidden.to(device, torch.float32),
        case.weight.to(device, torch.float32),
        teacher=moved(case.dense, device, torch.float32),
        labels=case.labels.to(device),
        divergence=Divergence(),
        soft_weight=1.0,
        total=1.0,
    )
    assert float(found.loss) == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(expected)


@pytest.mark.parametrize("name", SIDES)
def test_inside_autocast_it_is_no_further_off_than_the_plain_loss(device: str, name: str) -> None:
    case = Case(4, positions=64, size=203)
    exact, expected = truth(case)
    loss, found = ours(case, name, device, dtype=torch.float32, autocast=True)
    naive = Case(4, torch.float32, positions=64, size=203)
    inputs = [one.detach().to(device).requires_grad_() for one in naive.inputs()]
    naive.labels, naive.logprobs = naive.labels.to(device), naive.logprobs.to(device)
    with torch.autocast(device, torch.bfloat16):
        theirs = plain(naive, *inputs, total=2.0, weights=naive.weights.to(device))
    slopes = gradients(theirs, inputs)

    def off(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one.detach().double().cpu() - other).norm() / other.norm())

    assert off(loss, exact) <= off(theirs, exact) + 0.01
    for one, other, true in zip(found, slopes, expected, strict=True):
        assert off(one, true) <= off(other, true) + 0.01
