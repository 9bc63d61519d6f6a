"""The divergences against their float64 definitions, and the properties that make them losses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeMismatch
from tutelage.losses import forward_kl, hard_cross_entropy, reference, soft_cross_entropy

SOFT = {
    "forward_kl": (forward_kl, reference.forward_kl),
    "soft_ce": (soft_cross_entropy, reference.soft_cross_entropy),
}
TEMPERATURES = (0.5, 1.0, 2.0, 4.0)


def drawn(
    seed: int,
    rows: int = 6,
    classes: int = 5,
    scale: float = 3.0,
    dtype: torch.dtype = torch.float64,
):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale
    teacher = torch.log_softmax(
        torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale, dim=-1
    )
    return student.to(dtype), teacher.to(dtype)


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_equals_the_float64_definition(name, temperature, dtype, tolerance):
    ours, definition = SOFT[name]
    student, teacher = drawn(0, dtype=dtype)
    expected = [
        definition(s, t, temperature)
        for s, t in zip(student.double().numpy(), teacher.double().numpy(), strict=True)
    ]
    found = ours(student, teacher, loss_temperature=temperature)
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=tolerance, atol=tolerance)


def test_hard_cross_entropy_equals_the_float64_definition():
    student, _ = drawn(1)
    labels = torch.tensor([0, 4, -100, 2, 1, 3])
    expected = [
        reference.hard_cross_entropy(s, label)
        for s, label in zip(student.numpy(), labels.tolist(), strict=True)
    ]
    np.testing.assert_allclose(hard_cross_entropy(student, labels).numpy(), expected, rtol=1e-12)
    assert expected[2] == 0


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_gradient_is_temperature_times_the_difference_of_softened_probabilities(temperature):
    student, teacher = drawn(2)
    student.requires_grad_()
    forward_kl(student, teacher, loss_temperature=temperature).sum().backward()
    pairs = zip(student.detach().numpy(), teacher.numpy(), strict=True)
    expected = [reference.forward_kl_gradient(s, t, temperature) for s, t in pairs]
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.numpy(), expected, atol=1e-12)


def test_the_square_of_the_temperature_keeps_the_gradient_of_small_logits():
    """For logits near zero the gradient tends to (z - v) / C whatever the temperature (Hinton et
    al., equation 4)."""
    generator = torch.Generator().manual_seed(0)
    student = (torch.randn(1, 4, generator=generator, dtype=torch.float64) * 1e-3).requires_grad_()
    teacher = torch.log_softmax(
        torch.randn(1, 4, generator=generator, dtype=torch.float64) * 1e-3, dim=-1
    )
    gradients = [
        torch.autograd.grad(
            forward_kl(student, teacher, loss_temperature=temperature).sum(), student
        )[0]
        for temperature in (1.0, 10.0)
    ]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-2, atol=0)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shift", [0.0, 7.0])
def test_forward_kl_is_zero_where_both_sides_agree(temperature, shift):
    _, teacher = drawn(3)
    student = (teacher + shift).requires_grad_()
    values = forward_kl(student, teacher, loss_temperature=temperature)
    values.sum().backward()
    assert values.abs().max() < 1e-13
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-13


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(0, 30),
    temperature=st.floats(0.3, 10),
    shift=st.floats(-50, 50),
)
def test_forward_kl_is_never_negative_and_unmoved_by_a_shift(seed, scale, temperature, shift):
    student, teacher = drawn(seed, scale=scale)
    values = forward_kl(student, teacher, loss_temperature=temperature)
    assert values.min() > -1e-11
    torch.testing.assert_close(
        forward_kl(student + shift, teacher, loss_temperature=temperature),
        values,
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("name", SOFT)
def test_gradcheck(name):
    student, teacher = drawn(4, rows=3)
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda logits: SOFT[name][0](logits, teacher, loss_temperature=2.0), student
    )


def test_gradcheck_hard_cross_entropy():
    student, _ = drawn(5, rows=3)
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda logits: hard_cross_entropy(logits, torch.tensor([1, -100, 4])), student
    )


def test_soft_cross_entropy_is_forward_kl_plus_the_entropy_of_the_teacher():
    student, teacher = drawn(6)
    entropy = -(teacher.exp() * teacher).sum(dim=-1)
    torch.testing.assert_close(
        soft_cross_entropy(student, teacher), forward_kl(student, teacher) + entropy
    )


@pytest.mark.parametrize("name", SOFT)
def test_classes_without_mass_neither_cost_nor_break_anything(name):
    ours, definition = SOFT[name]
    student = torch.tensor([[2.0, -1.0, 0.5]], requires_grad=True)
    teacher = torch.tensor([[0.0, -math.inf, -math.inf]])
    value = ours(student, teacher)
    value.sum().backward()
    assert value.item() == pytest.approx(
        definition(np.array([2.0, -1.0, 0.5]), np.array([0.0, -np.inf, -np.inf])), rel=1e-6
    )
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SOFT)
def test_low_precision_is_no_worse_than_naive(name, dtype):
    ours, definition = SOFT[name]
    student, teacher = drawn(7, rows=64, dtype=dtype)
    truth = torch.tensor(
        [
            definition(s, t, 2.0)
            for s, t in zip(student.double().numpy(), teacher.double().numpy(), strict=True)
        ],
        dtype=torch.float64,
    )
    p, q = torch.log_softmax(teacher / 2, dim=-1), torch.log_softmax(student / 2, dim=-1)
    naive = 4 * (p.exp() * ((p - q) if name == "forward_kl" else -q)).sum(dim=-1)
    our_error = (ours(student, teacher, loss_temperature=2.0).double() - truth).abs().max()
    assert our_error <= (naive.double() - truth).abs().max() + 1e-6
    assert our_error < 1e-4


def test_values_are_float32_for_low_precision_inputs():
    student, teacher = drawn(8, dtype=torch.bfloat16)
    assert forward_kl(student, teacher).dtype == torch.float32
    assert hard_cross_entropy(student, torch.zeros(6, dtype=torch.long)).dtype == torch.float32


def test_any_leading_shape():
    student, teacher = drawn(9)
    labels = torch.arange(6) % 5
    torch.testing.assert_close(
        forward_kl(student.reshape(2, 3, 5), teacher.reshape(2, 3, 5)).flatten(),
        forward_kl(student, teacher),
    )
    torch.testing.assert_close(
        hard_cross_entropy(student.reshape(2, 3, 5), labels.reshape(2, 3)).flatten(),
        hard_cross_entropy(student, labels),
    )


def test_different_shapes_are_refused():
    student, teacher = drawn(10)
    with pytest.raises(ShapeMismatch, match=r"\(6, 5\).*\(6, 4\).*same classes"):
        forward_kl(student, teacher[:, :4])
    with pytest.raises(ShapeMismatch, match=r"labels \(5,\).*one label a position"):
        hard_cross_entropy(student, torch.zeros(5, dtype=torch.long))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperatures_that_are_not_above_zero_are_refused(temperature):
    student, teacher = drawn(11)
    with pytest.raises(ValueError, match=r"loss_temperature=.*above 0"):
        forward_kl(student, teacher, loss_temperature=temperature)
