"""What holds for the chunked loss whatever the divergence: blocks, scale, sign, range, and work
that is not done."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tutelage.losses import (
    BucketTeacher,
    DenseTeacher,
    Divergence,
    HiddenTeacher,
    SampledTeacher,
    TeacherSide,
    linear,
    linear_divergence,
    linear_logits,
)
from tutelage.losses.table import DIVERGENCES

P, H, V = 6, 4, 10
KINDS = ("dense", "states", "sampled", "bucket")
PAIRS = [(name, kind) for name in DIVERGENCES for kind in ("dense", "states")]
PAIRS += [("forward_kl", "sampled"), ("forward_kl", "bucket"), ("reverse_kl", "bucket")]


class Case:
    """Inputs and a teacher of every kind."""

    def __init__(
        self,
        seed: int,
        *,
        dtype: torch.dtype = torch.float64,
        positions: int = P,
        size: int = V,
        gap: float = 1.0,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        hidden, weight, bias = normal(positions, H), normal(size, H), normal(size)
        their_hidden, their_weight = (
            hidden + gap * normal(positions, H),
            weight + gap * normal(size, H),
        )
        self.hidden, self.weight, self.bias = hidden.to(dtype), weight.to(dtype), bias.to(dtype)
        self.labels = torch.randint(0, size, (positions,), generator=generator)
        self.logprobs = (their_hidden @ their_weight.T).log_softmax(-1).to(dtype)
        self.their_hidden, self.their_weight = their_hidden.to(dtype), their_weight.to(dtype)
        self.weights = torch.rand(positions, generator=generator, dtype=torch.float64).to(dtype)

    def teacher(self, kind: str) -> TeacherSide:
        best = self.logprobs.topk(3)
        ids = torch.arange(self.logprobs.shape[1]).expand(len(self.logprobs), -1)
        entropies = -(self.logprobs.exp() * self.logprobs).sum(-1)
        return {
            "dense": DenseTeacher(self.logprobs),
            "states": HiddenTeacher(self.their_hidden, self.their_weight),
            "sampled": SampledTeacher(ids, self.logprobs.exp(), entropies),
            "bucket": BucketTeacher(best.indices, best.values),
        }[kind]

    def inputs(self) -> list[torch.Tensor]:
        return [tensor.clone().requires_grad_() for tensor in (self.hidden, self.weight, self.bias)]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
@pytest.mark.parametrize("type_", [torch.float64, torch.bfloat16])
def test_blocks_change_nothing(name, kind, type_, monkeypatch) -> None:
    """A chunk of five positions in blocks of two, the last one short; with bias, scale, cap and
    padding."""
    case, found = Case(0, dtype=type_), []
    temperature = 1.0 if kind in ("sampled", "bucket") else 1.5
    for elements in (10**9, 2 * (V - 1)):
        monkeypatch.setattr(linear, "BLOCK_ELEMENTS", elements)
        inputs = case.inputs()
        loss = linear_divergence(
            *inputs[:2], bias=inputs[2], teacher=case.teacher(kind),
            labels=case.labels.clamp_max(V - 2), total=3.0,
            divergence=Divergence(name), loss_temperature=temperature, weights=case.weights,
            logit_scale=0.8,
            soft_cap=4.0, vocabulary=V - 1 if kind in ("dense", "states") else None,
            chunk_positions=5,
        ).loss  # fmt: skip
        found.append([loss.detach(), *torch.autograd.grad(loss, inputs)])
    assert any(bool(value.any()) for value in found[0][1:])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("name", "kind"), [pair for pair in PAIRS if pair[0] != "adaptive_kl"])
def test_every_divergence_passes_gradcheck(name, kind) -> None:
    """With labels, mixed; the weights of adaptive KL are constants to the gradient, which finite
    differences miss."""
    case = Case(1, positions=2, size=5)

    def loss(*inputs: torch.Tensor) -> torch.Tensor:
        return linear_divergence(
            inputs[0], inputs[1], bias=inputs[2], teacher=case.teacher(kind), labels=case.labels,
            total=2.0,
            divergence=Divergence(name), soft_weight=0.6,
        ).loss  # fmt: skip

    assert torch.autograd.gradcheck(loss, tuple(case.inputs()))


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_never_negative_in_float32_and_zero_where_both_agree(name, kind) -> None:
    """Losses that call themselves KL and fall below zero were clamped by others in most steps."""
    for gap in (0.0, 1e-3, 3.0):
        case = Case(2, dtype=torch.float32, positions=16, size=200, gap=gap)
        soft = linear_divergence(case.hidden, case.weight, teacher=case.teacher(kind),
                                 labels=case.labels, total=1.0,
                                 divergence=Divergence(name)).soft  # fmt: skip
        assert float(soft) >= -16 * 2e-6
        if gap == 0.0:
            assert float(soft) <= 16 * 2e-6


@pytest.mark.parametrize(("name", "kind"), [pair for pair in PAIRS if pair[1] != "sampled"])
def test_far_logits_give_finite_values_and_gradients(name, kind) -> None:
    case = Case(3, dtype=torch.float32)
    inputs = case.inputs()[:2]
    for scale in (1e3, 1e-3):
        found = linear_divergence(*inputs, teacher=case.teacher(kind), labels=case.labels,
                                  total=1.0,
                                  divergence=Divergence(name), logit_scale=scale)  # fmt: skip
        assert found.loss.isfinite()
        assert all(
            gradient.isfinite().all() for gradient in torch.autograd.grad(found.loss, inputs)
        )


@pytest.mark.parametrize("name", DIVERGENCES)
def test_ids_that_the_teacher_rules_out_are_no_nans(name) -> None:
    case = Case(4)
    logprobs = case.logprobs.clone()
    logprobs[:, 3] = -math.inf
    inputs = case.inputs()[:2]
    found = linear_divergence(*inputs, teacher=DenseTeacher(logprobs.log_softmax(-1)),
                              labels=case.labels, total=1.0,
                              divergence=Divergence(name))  # fmt: skip
    assert found.loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(found.loss, inputs))
    if name == "forward_kl":
        logits, kept = linear_logits(case.hidden, case.weight), torch.arange(V) != 3
        p = logprobs.log_softmax(-1)[:, kept]
        expected = (p.exp() * (p - logits.log_softmax(-1)[:, kept])).sum()
        torch.testing.assert_close(found.soft, expected)


@pytest.mark.parametrize("kind", ["dense", "states"])
def test_at_a_high_temperature_it_is_half_the_variance_of_the_logits_difference(kind) -> None:
    """Without the square of the temperature, as in other projects, both value and gradient vanish
    here."""
    case, temperature = Case(5), 1e4
    inputs = case.inputs()[:2]
    found = linear_divergence(*inputs, teacher=case.teacher(kind), labels=case.labels,
                              loss_temperature=temperature,
                              soft_weight=1.0, total=1.0).loss  # fmt: skip
    other = case.inputs()[:2]
    difference = other[0] @ other[1].T - case.logprobs
    expected = 0.5 * difference.var(dim=-1, unbiased=False).sum()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    ours, theirs = torch.autograd.grad(found, inputs), torch.autograd.grad(expected, other)
    for one, true in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, true, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_does_not_depend_on_the_size_of_the_batch(kind) -> None:
    """The same positions twice, over a total that is twice as large: the same loss, the same matrix
    gradient."""
    case, twice = Case(6), Case(6)
    for name in ("hidden", "labels", "logprobs", "their_hidden"):
        setattr(twice, name, torch.cat([getattr(case, name)] * 2))
    found = []
    for batch, total in ((case, float(P)), (twice, 2.0 * P)):
        inputs = batch.inputs()[:2]
        loss = linear_divergence(
            *inputs, teacher=batch.teacher(kind), labels=batch.labels, total=total
        ).loss
        found.append((loss.detach(), torch.autograd.grad(loss, inputs[1])[0]))
    torch.testing.assert_close(found[0], found[1])


def test_a_student_with_fewer_rows_than_the_teacher_gives_the_rest_no_mass() -> None:
    """Others pad the student's logits with zeros: made-up ids then hold the mass of exp(0) each."""
    case = Case(7)
    narrow = case.weight[: V - 3]
    labels = case.labels.clamp_max(V - 4)
    found = linear_divergence(case.hidden, narrow, teacher=case.teacher("states"), labels=labels,
                              total=1.0,
                              soft_weight=1.0, vocabulary=V - 3).loss  # fmt: skip
    expected = Divergence()(case.hidden @ narrow.T, case.logprobs[:, : V - 3].log_softmax(-1)).sum()
    torch.testing.assert_close(found, expected)
    padded = torch.cat([case.hidden @ narrow.T, torch.zeros(P, 3, dtype=torch.float64)], dim=-1)
    assert not torch.isclose(found, Divergence()(padded, case.logprobs).sum())


def test_gradients_are_handed_over_scaled_and_can_be_had_again() -> None:
    case = Case(8)
    inputs = case.inputs()
    loss = linear_divergence(*inputs[:2], bias=inputs[2], teacher=case.teacher("states"),
                             labels=case.labels,
                             total=1.0).loss  # fmt: skip
    first = torch.autograd.grad(3 * loss, inputs, retain_graph=True)
    second = torch.autograd.grad(loss, inputs, retain_graph=True)
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, 3 * other)
    slope = torch.autograd.grad(loss.square(), inputs, create_graph=True)[1]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


class Calls(TorchDispatchMode):
    """Counts calls, and matrix products among them, and notes their names."""

    def __init__(self) -> None:
        super().__init__()
        self.number, self.products, self.names = 0, 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += 1
        self.names.append(func.overloadpacket.__name__)
        self.products += func.overloadpacket in (
            torch.ops.aten.mm,
            torch.ops.aten.addmm,
            torch.ops.aten.addmm_,
        )
        return func(*args, **(kwargs or {}))


def test_the_backward_pass_takes_no_memory() -> None:
    """The matrix gradient is as large as the matrix: a copy of it would double what the loss
    needs."""
    case = Case(12)
    inputs = case.inputs()[:2]
    loss = linear_divergence(
        *inputs, teacher=case.teacher("states"), labels=case.labels, total=1.0
    ).loss
    with Calls() as seen:
        loss.backward()
    assert "mul_" in seen.names
    assert set(seen.names) <= {"mul_", "detach", "ones_like", "zeros"}  # the last two are scalars


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_evaluation_does_no_gradient_work(name, kind) -> None:
    case = Case(9)
    inputs = case.inputs()[:2]

    def judged() -> torch.Tensor:
        return linear_divergence(*inputs, teacher=case.teacher(kind), labels=case.labels, total=1.0,
                                 divergence=Divergence(name)).loss.detach()  # fmt: skip

    with Calls() as trained:
        expected = judged()
    with Calls() as evaluated, torch.no_grad():
        found = judged()
    assert torch.equal(found, expected)
    assert evaluated.products == trained.products - 2


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_value_alone_costs_fewer_passes(name) -> None:
    case = [torch.randn(3, V, dtype=torch.float64).log_softmax(-1) for _ in range(2)]
    with Calls() as whole:
        expected, _ = Divergence(name).value_and_gradient(*(side.clone() for side in case))
    with Calls() as value_alone:
        found, _ = Divergence(name).value_and_gradient(
            *(side.clone() for side in case), gradient=False
        )
    assert torch.equal(found, expected)
    assert value_alone.number < whole.number


@pytest.mark.parametrize("beta", [0.01, 0.5, 0.99])
def test_jensen_shannon_near_its_ends_is_no_worse_than_the_plain_form(beta) -> None:
    divergence = Divergence("jensen_shannon", beta=beta)
    generator = torch.Generator().manual_seed(10)
    student, teacher = (
        3 * torch.randn(32, 400, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    teacher = teacher.log_softmax(-1)

    def plain(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        z = student.to(dtype).requires_grad_()
        value = divergence(z, teacher.to(dtype))
        return value.detach(), torch.autograd.grad(value.sum(), z)[0]

    exact, naive = plain(torch.float64), plain(torch.float32)
    found = divergence.value_and_gradient(student.float().log_softmax(-1), teacher.float())
    assert (found[0] > 0).all()
    for mine, theirs, true in zip(found, naive, exact, strict=True):
        error, naive_error = ((value.double() - true).norm() for value in (mine, theirs))
        assert error <= 1.5 * naive_error + 1e-7 * true.norm()


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jensen_shannon"])
def test_bfloat16_is_no_worse_than_the_plain_bfloat16_loss(name) -> None:
    truth, case = (
        Case(11, dtype=type_, positions=64, size=300) for type_ in (torch.float64, torch.float32)
    )
    divergence = Divergence(name)

    def plain(batch: Case) -> tuple[torch.Tensor, ...]:
        inputs = batch.inputs()[:2]
        logits = torch.nn.functional.linear(*inputs)
        with torch.no_grad():
            theirs = torch.nn.functional.linear(batch.their_hidden, batch.their_weight)
        theirs = theirs.to(batch.hidden.dtype).log_softmax(-1)
        return torch.autograd.grad(divergence(logits.to(batch.hidden.dtype), theirs).sum(), inputs)

    exact = plain(truth)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        naive = plain(case)
        inputs = case.inputs()[:2]
        loss = linear_divergence(*inputs, teacher=case.teacher("states"), labels=case.labels,
                                 divergence=divergence,
                                 soft_weight=1.0, total=1.0, chunk_positions=16).loss  # fmt: skip
    for mine, theirs, true in zip(torch.autograd.grad(loss, inputs), naive, exact, strict=True):
        error, naive_error = ((value.double() - true).norm() for value in (mine, theirs))
        assert naive_error > 1e-4 * true.norm()
        assert error <= 1.05 * naive_error
