"""The chunked loss against the plain one or its definition, in value and in every gradient, for
every teacher."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.losses.linear_cases import Case, P, V, gradients, plain

from tutelage.losses import (
    BucketTeacher,
    DenseTeacher,
    Divergence,
    HiddenTeacher,
    SampledTeacher,
    linear_divergence,
    reference,
)
from tutelage.losses.table import DIVERGENCES


@pytest.mark.parametrize("chunk", [1, 3, P, 100])
@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_value_and_gradients_equal_the_plain_loss(name, temperature, chunk) -> None:
    case, divergence = Case(), Divergence(name)
    labels = case.labels.clone()
    labels[2] = -100
    for teacher in (case.dense, case.states):
        inputs = case.inputs()
        found = linear_divergence(
            *inputs[:2], bias=inputs[2], teacher=teacher, labels=labels, divergence=divergence,
            total=5.0,
            loss_temperature=temperature, soft_weight=0.7, weights=case.weights,
            chunk_positions=chunk,
        )  # fmt: skip
        expected_inputs = case.inputs()
        expected = plain(
            case, *expected_inputs, divergence=divergence, temperature=temperature,
            soft_weight=0.7, total=5.0,
            weights=case.weights, labels=labels,
        )  # fmt: skip
        torch.testing.assert_close(found.loss, expected, rtol=1e-9, atol=1e-12)
        ours, theirs = gradients(found.loss, inputs), gradients(expected, expected_inputs)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


def test_adaptive_weights_are_constants_to_the_gradient() -> None:
    case, divergence = Case(3), Divergence("adaptive_kl")
    inputs, plain_inputs = case.inputs(), case.inputs()
    found = linear_divergence(*inputs[:2], bias=inputs[2], teacher=case.dense, labels=case.labels,
                              divergence=divergence, total=1.0)  # fmt: skip
    expected = plain(case, *plain_inputs, divergence=divergence)
    for one, other in zip(
        gradients(found.loss, inputs), gradients(expected, plain_inputs), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


def test_sampled_targets_that_hold_everything_equal_dense_ones() -> None:
    case = Case(1)
    inputs, plain_inputs = case.inputs(), case.inputs()
    found = linear_divergence(
        *inputs[:2], bias=inputs[2], teacher=case.sampled, labels=case.labels, total=3.0
    )
    expected = plain(case, *plain_inputs, total=3.0)
    torch.testing.assert_close(found.loss, expected, rtol=1e-9, atol=1e-12)
    for one, other in zip(
        gradients(found.loss, inputs), gradients(expected, plain_inputs), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl"])
def test_buckets_of_all_ids_equal_the_dense_divergence(name) -> None:
    case, divergence = Case(2), Divergence(name)
    inputs, plain_inputs = case.inputs(), case.inputs()
    found = linear_divergence(*inputs[:2], bias=inputs[2], teacher=case.bucket(V),
                              labels=case.labels,
                              divergence=divergence, total=1.0)  # fmt: skip
    expected = plain(case, *plain_inputs, divergence=divergence)
    torch.testing.assert_close(found.loss, expected, rtol=1e-7, atol=1e-8)
    for one, other in zip(
        gradients(found.loss, inputs), gradients(expected, plain_inputs), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl"])
def test_buckets_equal_their_float64_definition_and_their_own_finite_differences(name) -> None:
    case, divergence = Case(4), Divergence(name)
    teacher = case.bucket(3)
    padded = BucketTeacher(
        torch.cat([teacher.ids, teacher.ids[:, :1] * 0], dim=1),
        torch.cat([teacher.logprobs, torch.full((P, 1), -torch.inf, dtype=torch.float64)], dim=1),
    )

    def loss(hidden: torch.Tensor) -> torch.Tensor:
        return linear_divergence(hidden, case.weight, teacher=padded, labels=case.labels,
                                 divergence=divergence,
                                 soft_weight=1.0, total=1.0).loss  # fmt: skip

    definition = getattr(reference, f"bucket_{name}")
    logits = case.hidden @ case.weight.T
    expected = sum(
        definition(z.numpy(), v.numpy(), ids.tolist())
        for z, v, ids in zip(logits, case.logprobs, teacher.ids, strict=True)
    )
    assert float(loss(case.hidden)) == pytest.approx(float(expected), rel=1e-9)
    assert torch.autograd.gradcheck(loss, case.hidden.clone().requires_grad_())


def test_gradcheck_of_the_whole_thing_with_cap_scale_bias_and_padding() -> None:
    case = Case(5)

    def loss(*inputs: torch.Tensor) -> torch.Tensor:
        return linear_divergence(
            inputs[0], inputs[1], bias=inputs[2], teacher=case.dense,
            labels=case.labels.clamp_max(8), total=2.0,
            logit_scale=0.7, soft_cap=3.0, vocabulary=9, divergence=Divergence("jensen_shannon"),
            loss_temperature=1.5,
        ).loss  # fmt: skip

    assert torch.autograd.gradcheck(loss, tuple(case.inputs()))


def test_padding_rows_are_masked_on_both_sides() -> None:
    """Others padded a narrower side with logits of 0, which gives made-up ids the mass of
    exp(0)."""
    case = Case(6)
    labels = case.labels.clamp_max(8)
    wide = HiddenTeacher(
        case.teacher_hidden, torch.cat([case.teacher_weight[:9], 50 * case.teacher_weight[9:]])
    )
    inputs = case.inputs()
    found = linear_divergence(
        *inputs[:2], bias=inputs[2], teacher=wide, labels=labels, vocabulary=9, total=1.0
    )
    cut = [
        inputs[0].detach().clone(),
        inputs[1][:9].detach().clone(),
        inputs[2][:9].detach().clone(),
    ]
    cut = [tensor.requires_grad_() for tensor in cut]
    narrow = HiddenTeacher(case.teacher_hidden, case.teacher_weight[:9])
    expected = linear_divergence(*cut[:2], bias=cut[2], teacher=narrow, labels=labels, total=1.0)
    torch.testing.assert_close(found.loss, expected.loss)
    ours, theirs = gradients(found.loss, inputs), gradients(expected.loss, cut)
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1][:9], theirs[1])
    assert not ours[1][9:].any()
    assert not ours[2][9:].any()


def test_tied_embeddings_get_the_gradient_of_both_uses() -> None:
    case = Case(7)
    ids = torch.arange(P)
    table = case.weight.clone().requires_grad_()
    loss = linear_divergence(
        table[ids] * 2, table, teacher=case.dense, labels=case.labels, total=1.0
    ).loss
    other = case.weight.clone().requires_grad_()
    expected = plain(case, other[ids] * 2, other, None)
    torch.testing.assert_close(gradients(loss, [table])[0], gradients(expected, [other])[0])


def test_accumulation_changes_nothing() -> None:
    """1 x 8 equals 4 x 2: the divisor is that of the whole step, whatever the pieces."""
    case = Case(8, positions=8)
    whole, pieces = case.inputs()[:2], case.inputs()[:2]
    linear_divergence(*whole, teacher=case.dense, labels=case.labels, total=8.0).loss.backward()
    for start in range(0, 8, 2):
        part = slice(start, start + 2)
        linear_divergence(
            pieces[0][part],
            pieces[1],
            teacher=DenseTeacher(case.logprobs[part]),
            labels=case.labels[part],
            total=8.0,
        ).loss.backward()
    torch.testing.assert_close(whole[0].grad, pieces[0].grad)
    torch.testing.assert_close(whole[1].grad, pieces[1].grad)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_sampled_targets_are_unbiased_in_value_and_gradient(seed) -> None:
    """Systematic draws over an even grid of offsets integrate exactly where ends of tokens lie on
    that grid."""
    case = Case(seed, positions=1)
    shares = torch.distributions.Multinomial(64 - V, logits=case.logprobs[0]).sample().double() + 1
    case.logprobs = (shares / 64).log()[None]
    probs = case.logprobs.exp()[0]
    draws, offsets = 4, 16
    ends = probs.cumsum(0) * draws
    total_gradient, total_value = torch.zeros_like(case.hidden), 0.0
    entropy = -(probs * probs.log()).sum()[None]
    for offset in (torch.arange(offsets, dtype=torch.float64) + 0.5) / offsets:
        ids = torch.searchsorted(ends, torch.arange(draws, dtype=torch.float64) + offset)[None]
        hidden = case.hidden.clone().requires_grad_()
        teacher = SampledTeacher(
            ids, torch.full((1, draws), 1 / draws, dtype=torch.float64), entropy
        )
        loss = linear_divergence(
            hidden, case.weight, teacher=teacher, labels=case.labels, soft_weight=1.0, total=1.0
        )
        total_gradient += gradients(loss.loss, [hidden])[0] / offsets
        total_value += float(loss.loss.detach()) / offsets
    hidden = case.hidden.clone().requires_grad_()
    dense = linear_divergence(
        hidden, case.weight, teacher=case.dense, labels=case.labels, soft_weight=1.0, total=1.0
    )
    assert total_value == pytest.approx(float(dense.loss.detach()), rel=1e-10)
    torch.testing.assert_close(
        total_gradient, gradients(dense.loss, [hidden])[0], rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl"])
def test_the_tail_is_not_drained(name) -> None:
    """Un-normalised top-k losses are minimised by moving all mass to, or out of, the kept ids;
    buckets are not."""
    case = Case(17, positions=1)
    teacher = case.bucket(3)
    logits = torch.zeros(1, V, dtype=torch.float64, requires_grad=True)
    identity = torch.eye(V, dtype=torch.float64)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        linear_divergence(logits, identity, teacher=teacher, labels=case.labels,
                          divergence=Divergence(name),
                          soft_weight=1.0, total=1.0).loss.backward()  # fmt: skip
        optimizer.step()
    probs = logits.softmax(-1)
    torch.testing.assert_close(
        probs.gather(-1, teacher.ids), teacher.logprobs.exp(), rtol=0, atol=2e-3
    )
