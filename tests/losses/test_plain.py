"""The one place that averages: accumulation changes nothing, and nothing to train on is zero with a
gradient."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.losses import ForwardKL, hard_cross_entropy, reduce


def step_gradient(sizes: list[int]) -> torch.Tensor:
    """The gradient of one optimizer step over the same rows, cut into batches of these sizes."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(sum(sizes), 4, generator=generator, dtype=torch.float64)
    teacher = torch.log_softmax(
        torch.randn(sum(sizes), 3, generator=generator, dtype=torch.float64), dim=-1
    )
    labels = torch.tensor([0, -100, 2, 1, 1, -100, 0, 2])
    weight = torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    start = 0
    for size in sizes:
        rows = slice(start, start + size)
        costs = ForwardKL(loss_temperature=2.0, soft_weight=0.7)(
            features[rows] @ weight, teacher[rows], labels[rows]
        )
        reduce(costs, total=sum(sizes)).backward()
        start += size
    assert weight.grad is not None
    return weight.grad


@pytest.mark.parametrize("sizes", [[2, 2, 2, 2], [1] * 8, [5, 3]])
def test_accumulation_changes_nothing(sizes):
    torch.testing.assert_close(step_gradient(sizes), step_gradient([8]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("total", [0, 0.0, torch.tensor(0), torch.tensor(0.0)])
def test_all_masked_is_zero_with_a_gradient(total):
    logits = torch.randn(3, 4, requires_grad=True)
    loss = reduce(hard_cross_entropy(logits, torch.tensor([1, 2, 3])), torch.zeros(3), total=total)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(3, 4))


def test_labels_that_are_all_missing_are_zero_with_a_gradient():
    logits = torch.randn(3, 4, requires_grad=True)
    loss = reduce(hard_cross_entropy(logits, torch.full((3,), -100)), total=0)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(3, 4))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("mask", [torch.tensor([1.0, 0.0]), torch.tensor([True, False])])
def test_a_position_left_out_may_hold_anything(bad, mask):
    values = torch.tensor([2.0, bad], requires_grad=True)
    loss = reduce(values, mask, total=1)
    loss.backward()
    assert loss.item() == 2
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, 0.0]


@settings(deadline=None, max_examples=50)
@given(weights=st.lists(st.floats(0, 4), min_size=1, max_size=8), as_tensor=st.booleans())
def test_weights_and_their_total_give_the_weighted_mean(weights, as_tensor):
    values = torch.arange(1.0, len(weights) + 1, dtype=torch.float64)
    total = math.fsum(weights)
    found = reduce(
        values,
        torch.tensor(weights, dtype=torch.float64),
        total=torch.tensor(total, dtype=torch.float64) if as_tensor else total,
    )
    expected = (
        math.fsum(w * v for w, v in zip(weights, values.tolist(), strict=True)) / total
        if total
        else 0.0
    )
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
