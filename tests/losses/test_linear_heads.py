"""How a teacher makes its logits is respected, and the gradient of the output matrix is summed in
float32."""

from __future__ import annotations

import pytest
import torch
from tests.losses.linear_cases import Case, gradients

from tutelage.losses import (
    DenseTeacher,
    Divergence,
    HiddenTeacher,
    linear_divergence,
    linear_logits,
)
from tutelage.losses.table import DIVERGENCES


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_capped_scaled_biased_teacher_is_its_dense_distribution(name) -> None:
    case = Case(20)
    logits = linear_logits(
        case.teacher_hidden, case.teacher_weight, bias=case.bias, logit_scale=0.7, soft_cap=3.0
    )
    plain = linear_logits(case.teacher_hidden, case.teacher_weight)
    states = HiddenTeacher(
        case.teacher_hidden, case.teacher_weight, bias=case.bias, scale=0.7, cap=3.0
    )
    found = []
    for teacher in (
        DenseTeacher(logits.log_softmax(-1)),
        states,
        DenseTeacher(plain.log_softmax(-1)),
    ):
        inputs = case.inputs()[:2]
        loss = linear_divergence(
            *inputs,
            teacher=teacher,
            labels=case.labels,
            total=1.0,
            divergence=Divergence(name),
            loss_temperature=1.5,
        ).loss
        found.append((loss.detach(), *gradients(loss, inputs)))
    torch.testing.assert_close(found[1], found[0])
    assert abs(float(found[2][0] - found[0][0])) > 1e-3  # it is another teacher without them


def test_a_bias_of_minus_infinity_rules_a_token_out_on_the_teachers_side() -> None:
    case = Case(21)
    bias = case.bias.clone()
    bias[3] = -torch.inf
    kept = [token for token in range(len(bias)) if token != 3]
    inputs, narrow = case.inputs()[:2], case.inputs()[:2]
    states = HiddenTeacher(case.teacher_hidden, case.teacher_weight, bias=bias)
    found = linear_divergence(
        *inputs, teacher=states, labels=case.labels, soft_weight=1.0, total=1.0
    )
    logprobs = torch.full((len(case.hidden), len(bias)), -torch.inf, dtype=torch.float64)
    logprobs[:, kept] = (case.teacher_hidden @ case.teacher_weight.T + case.bias)[
        :, kept
    ].log_softmax(-1)
    expected = linear_divergence(
        *narrow, teacher=DenseTeacher(logprobs), labels=case.labels, soft_weight=1.0, total=1.0
    )
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(gradients(found.loss, inputs), gradients(expected.loss, narrow))


def test_a_thousand_chunks_are_summed_in_float32() -> None:
    """A sum in bfloat16 stalls: from 256 times a term on, adding the term changes nothing."""
    generator = torch.Generator().manual_seed(0)
    state, weight = (
        torch.randn(*shape, generator=generator).bfloat16() for shape in ((1, 8), (32, 8))
    )

    def gradient(positions: int, dtype: torch.dtype) -> torch.Tensor:
        matrix = weight.to(dtype).requires_grad_()
        labels = torch.zeros(positions, dtype=torch.int64)
        hidden = state.to(dtype).expand(positions, -1)
        loss = linear_divergence(
            hidden, matrix, teacher=None, labels=labels, total=1.0, chunk_positions=1
        ).loss
        return gradients(loss, [matrix])[0].float()

    found, expected = gradient(1024, torch.bfloat16), 1024 * gradient(1, torch.float32)
    assert (found - expected).norm() < 0.02 * expected.norm()
