"""What a student minimises: the mix of soft and hard, row by row."""

import pytest
import torch

from tutelage.losses import ForwardKL, forward_kl, hard_cross_entropy

LABELS = torch.tensor([0, -100, 2, -100])


@pytest.fixture
def sides():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    return student, torch.log_softmax(
        torch.randn(4, 3, generator=generator, dtype=torch.float64), dim=-1
    )


def test_labelled_rows_are_mixed_and_the_others_learn_from_the_teacher_alone(sides):
    student, teacher = sides
    soft, hard = (
        forward_kl(student, teacher, loss_temperature=3.0),
        hard_cross_entropy(student, LABELS),
    )
    found = ForwardKL(loss_temperature=3.0, soft_weight=0.8)(student, teacher, LABELS)
    torch.testing.assert_close(found[[0, 2]], (0.8 * soft + 0.2 * hard)[[0, 2]])
    torch.testing.assert_close(found[[1, 3]], soft[[1, 3]])


def test_without_a_teacher_only_labels_cost(sides):
    student, _ = sides
    found = ForwardKL()(student, None, LABELS)
    torch.testing.assert_close(found, hard_cross_entropy(student, LABELS))
    assert found[[1, 3]].tolist() == [0, 0]


@pytest.mark.parametrize("soft_weight", [0.0, 1.0])
def test_the_ends_of_the_soft_weight(sides, soft_weight):
    student, teacher = sides
    found = ForwardKL(soft_weight=soft_weight)(student, teacher, torch.tensor([0, 1, 2, 0]))
    hard = hard_cross_entropy(student, torch.tensor([0, 1, 2, 0]))
    torch.testing.assert_close(found, forward_kl(student, teacher) if soft_weight else hard)


def test_gradcheck_of_the_mix(sides):
    student, teacher = sides
    objective = ForwardKL(loss_temperature=2.0, soft_weight=0.6)
    assert torch.autograd.gradcheck(
        lambda logits: objective(logits, teacher, LABELS), student.requires_grad_()
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss_temperature": 0.0}, r"loss_temperature=0.0 given; expected a number above 0"),
        ({"soft_weight": 1.5}, r"soft_weight=1.5 given; expected a number from 0 to 1"),
        ({"soft_weight": float("nan")}, r"soft_weight=nan"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ForwardKL(**values)
