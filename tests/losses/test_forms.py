"""Every divergence in both its forms against its float64 definition, and what makes it one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.losses import Divergence, reference
from tutelage.losses.divergences.adaptive_kl import head_share
from tutelage.losses.table import DIVERGENCES

VARIANTS = [
    *(Divergence(name) for name in DIVERGENCES),
    Divergence("jensen_shannon", beta=0.9),
    Divergence("skew_forward_kl", alpha=0.5),
    Divergence("skew_reverse_kl", alpha=0.5),
    Divergence("alpha_beta", alpha=0.6, beta=0.3),
    Divergence("adaptive_kl", head_mass=0.8),
]


def named(divergence: Divergence) -> str:
    return f"{divergence.name}{divergence.parameters or ''}"


def drawn(seed: int, rows: int = 4, size: int = 9, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(seed)
    student = 2 * torch.randn(rows, size, generator=generator, dtype=torch.float64)
    teacher = torch.log_softmax(
        2 * torch.randn(rows, size, generator=generator, dtype=torch.float64), dim=-1
    )
    return student.to(dtype), teacher.to(dtype)


@pytest.mark.parametrize("divergence", VARIANTS, ids=named)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 3e-5)])
def test_equals_the_float64_definition(divergence, temperature, dtype, tolerance) -> None:
    student, teacher = drawn(0, dtype=dtype)
    definition = getattr(reference, divergence.name)
    expected = [
        definition(s, t, temperature, **divergence.parameters)
        for s, t in zip(student.double().numpy(), teacher.double().numpy(), strict=True)
    ]
    found = divergence(student, teacher, loss_temperature=temperature)
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("divergence", VARIANTS, ids=named)
def test_the_closed_form_equals_autograd_and_finite_differences(divergence) -> None:
    student, teacher = drawn(1)
    if divergence.name == "adaptive_kl":  # its weights are constants to the gradient
        probs = teacher.exp(), student.softmax(-1)
        share = head_share(*probs, divergence.parameters["head_mass"])

        def value(z: torch.Tensor) -> torch.Tensor:
            log_q = z.log_softmax(-1)
            forward = (teacher.exp() * (teacher - log_q)).sum(-1)
            reverse = (log_q.exp() * (log_q - teacher)).sum(-1)
            return share * forward + (1 - share) * reverse
    else:

        def value(z: torch.Tensor) -> torch.Tensor:
            return divergence(z, teacher)

    z = student.clone().requires_grad_()
    value(z).sum().backward()
    found, gradient = divergence.value_and_gradient(student.log_softmax(-1), teacher.clone())
    torch.testing.assert_close(found, divergence(student, teacher), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, z.grad, rtol=1e-9, atol=1e-12)
    step = 1e-6
    for column in (0, 5):
        moved = torch.zeros_like(student)
        moved[:, column] = step
        slope = (value(student + moved) - value(student - moved)) / (2 * step)
        torch.testing.assert_close(gradient[:, column], slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("divergence", VARIANTS, ids=named)
def test_zero_with_no_slope_where_both_agree(divergence) -> None:
    _, teacher = drawn(2)
    found, gradient = divergence.value_and_gradient(teacher.clone(), teacher.clone())
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), index=st.integers(0, len(VARIANTS) - 1), shift=st.floats(-50, 50)
)
def test_never_negative_and_unmoved_by_a_shift_of_the_logits(seed, index, shift) -> None:
    student, teacher = drawn(seed, rows=2)
    value = VARIANTS[index](student, teacher)
    assert (value >= -1e-12).all()
    torch.testing.assert_close(
        VARIANTS[index](student + shift, teacher), value, rtol=1e-9, atol=1e-10
    )


def test_the_ends_of_jensen_shannon_are_the_two_kls() -> None:
    student, teacher = drawn(3)
    near = Divergence("jensen_shannon", beta=1e-5)(student, teacher) / 1e-5
    torch.testing.assert_close(
        near, Divergence("forward_kl")(student, teacher), rtol=1e-3, atol=1e-4
    )
    far = Divergence("jensen_shannon", beta=1 - 1e-5)(student, teacher) / 1e-5
    torch.testing.assert_close(
        far, Divergence("reverse_kl")(student, teacher), rtol=1e-3, atol=1e-4
    )


def test_skewing_less_and_less_gives_the_kls() -> None:
    student, teacher = drawn(4)
    for skewed, plain in (("skew_forward_kl", "forward_kl"), ("skew_reverse_kl", "reverse_kl")):
        found = Divergence(skewed, alpha=1e-7)(student, teacher)
        torch.testing.assert_close(found, Divergence(plain)(student, teacher), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "kl"}, "expected one of forward_kl, reverse_kl"),
        ({"name": "forward_kl", "alpha": 0.1}, "which has no parameters; drop it"),
        ({"name": "jensen_shannon", "alpha": 0.1}, "which has beta; drop it"),
        ({"name": "jensen_shannon", "beta": 1.0}, "between 0 and 1"),
    ],
)
def test_what_has_no_meaning_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        Divergence(**arguments)
