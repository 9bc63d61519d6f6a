"""What a student minimises: every divergence over classes, and the mix of soft and hard row by
row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tutelage.losses import ForwardKL, Objective, forward_kl, hard_cross_entropy, reference
from tutelage.losses.objective import SMALLEST_LOGPROB
from tutelage.losses.table import DIVERGENCES

LABELS = torch.tensor([0, -100, 2, -100])
VARIANTS: list[dict[str, Any]] = [
    *({"divergence": name} for name in DIVERGENCES),
    {"divergence": "jensen_shannon", "beta": 0.8},
    {"divergence": "skew_forward_kl", "alpha": 0.4},
    {"divergence": "skew_reverse_kl", "alpha": 0.4},
    {"divergence": "alpha_beta", "alpha": 0.6, "beta": 0.3},
    {"divergence": "adaptive_kl", "head_mass": 0.8},
]


def named(keys: dict[str, Any]) -> str:
    return "-".join(str(value) for value in keys.values())


@pytest.fixture
def sides():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    return student, torch.log_softmax(
        torch.randn(4, 3, generator=generator, dtype=torch.float64), dim=-1
    )


def defined(objective: Objective, student: torch.Tensor, teacher: torch.Tensor) -> np.ndarray:
    """The cost of each row, from the float64 definitions alone."""
    definition = getattr(reference, objective.divergence)
    costs = []
    for z, p, label in zip(student.numpy(), teacher.numpy(), LABELS.tolist(), strict=True):
        soft = definition(z, p, objective.loss_temperature, **objective.distance.parameters)
        hard = reference.hard_cross_entropy(z, label)
        weight = 1.0 if label == -100 else objective.soft_weight
        costs.append(weight * soft + (1 - weight) * hard)
    return np.array(costs)


@pytest.mark.parametrize("keys", VARIANTS, ids=named)
@pytest.mark.parametrize("loss_temperature", [0.5, 1.0, 3.0])
def test_rows_cost_what_the_float64_definitions_say(sides, keys, loss_temperature):
    objective = Objective(**keys, loss_temperature=loss_temperature, soft_weight=0.7)
    found = objective(*sides, LABELS)
    np.testing.assert_allclose(found.numpy(), defined(objective, *sides), rtol=1e-12, atol=1e-14)
    in_float32 = objective(*(side.float() for side in sides), LABELS)
    assert in_float32.dtype == torch.float32
    torch.testing.assert_close(in_float32.double(), found, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("keys", VARIANTS, ids=named)
def test_gradcheck_of_the_mix(sides, keys):
    student, teacher = sides
    objective = Objective(**keys, loss_temperature=2.0, soft_weight=0.6)
    if objective.divergence != "adaptive_kl":  # whose weights are constants to the gradient
        assert torch.autograd.gradcheck(
            lambda logits: objective(logits, teacher, LABELS), student.requires_grad_()
        )
        return
    found, _ = objective.distance.value_and_gradient(
        (student / 2).log_softmax(-1), (teacher / 2).log_softmax(-1)
    )
    soft = Objective(**keys, loss_temperature=2.0, soft_weight=1.0)
    costs = soft(student.requires_grad_(), teacher, LABELS)
    torch.testing.assert_close(costs, 4 * found)
    assert torch.isfinite(torch.autograd.grad(costs.sum(), student)[0]).all()


@pytest.mark.parametrize("keys", VARIANTS, ids=named)
@pytest.mark.parametrize("loss_temperature", [1.0, 2.5])
def test_where_both_sides_agree_the_soft_part_is_zero(sides, keys, loss_temperature):
    _, teacher = sides
    student = (teacher + 5.0).requires_grad_()
    objective = Objective(**keys, loss_temperature=loss_temperature, soft_weight=1.0)
    costs = objective(student, teacher, LABELS)
    assert costs.abs().max() < 1e-12
    if objective.divergence != "total_variation":  # which has a kink there
        assert torch.autograd.grad(costs.sum(), student)[0].abs().max() < 1e-12


@pytest.mark.parametrize("keys", VARIANTS, ids=named)
@pytest.mark.parametrize("loss_temperature", [1.0, 2.0])
def test_a_teacher_that_rules_classes_out_gives_finite_costs_and_gradients(keys, loss_temperature):
    teacher = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.0, 0.5]]).log()
    student = torch.tensor([[0.3, -0.2, 1.0], [9.0, -9.0, 0.0]], requires_grad=True)
    objective = Objective(**keys, loss_temperature=loss_temperature)
    costs = objective(student, teacher, torch.tensor([0, -100]))
    costs.sum().backward()
    assert torch.isfinite(costs).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert student.grad[0, 0] < 0  # towards the class that the teacher names


def test_what_counts_as_zero_is_below_every_float32():
    assert np.log(np.finfo(np.float32).smallest_subnormal.astype(np.float64)) > SMALLEST_LOGPROB


def test_labelled_rows_are_mixed_and_the_others_learn_from_the_teacher_alone(sides):
    student, teacher = sides
    soft, hard = (
        forward_kl(student, teacher, loss_temperature=3.0),
        hard_cross_entropy(student, LABELS),
    )
    found = ForwardKL(loss_temperature=3.0, soft_weight=0.8)(student, teacher, LABELS)
    torch.testing.assert_close(found[[0, 2]], (0.8 * soft + 0.2 * hard)[[0, 2]])
    torch.testing.assert_close(found[[1, 3]], soft[[1, 3]])


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_without_a_teacher_only_labels_cost(sides, divergence):
    student, _ = sides
    found = Objective(divergence=divergence)(student, None, LABELS)
    torch.testing.assert_close(found, hard_cross_entropy(student, LABELS))
    assert found[[1, 3]].tolist() == [0, 0]


@pytest.mark.parametrize("soft_weight", [0.0, 1.0])
def test_the_ends_of_the_soft_weight(sides, soft_weight):
    student, teacher = sides
    found = ForwardKL(soft_weight=soft_weight)(student, teacher, torch.tensor([0, 1, 2, 0]))
    hard = hard_cross_entropy(student, torch.tensor([0, 1, 2, 0]))
    torch.testing.assert_close(found, forward_kl(student, teacher) if soft_weight else hard)


def test_forward_kl_is_an_objective_like_the_others():
    assert ForwardKL() == Objective(divergence="forward_kl")
    assert ForwardKL(2.0, 0.5) == Objective(loss_temperature=2.0, soft_weight=0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss_temperature": 0.0}, r"^loss_temperature is 0.0: expected a number above 0$"),
        (
            {"soft_weight": 1.5},
            r"^soft_weight is 1.5: expected a number of at least 0 and of at most",
        ),
        ({"soft_weight": float("nan")}, r"^soft_weight is nan"),
        ({"soft_weight_final": -0.1}, r"^soft_weight_final is -0.1"),
        ({"divergence": "kl"}, r"'kl' given; expected one of forward_kl, reverse_kl"),
        ({"divergence": "reverse_kl", "beta": 0.5}, r"which has no parameters; drop it"),
        ({"divergence": "jensen_shannon", "beta": 1.0}, r"expected a number between 0 and 1"),
    ],
)
def test_values_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Objective(**values)
