"""The chunked loss against the plain one, in value and in every gradient, and the bugs of others it must not have."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from tutelage.config.objectives import SERVED_BY
from tutelage.errors import ShapeMismatch
from tutelage.losses import (
    BucketTeacher,
    DenseTeacher,
    Divergence,
    HiddenTeacher,
    SampledTeacher,
    linear_divergence,
    linear_logits,
    reference,
)
from tutelage.losses.divergence import DENSE

P, H, V = 7, 6, 11
FORWARD = Divergence()


class Case:
    """A batch with everything that a teacher can be."""

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float64, positions: int = P, size: int = V) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        self.hidden, self.weight, self.bias = normal(positions, H), normal(size, H), normal(size)
        self.labels = torch.randint(0, size, (positions,), generator=generator)
        self.teacher_hidden, self.teacher_weight = normal(positions, 4), normal(size, 4)
        self.logprobs = (self.teacher_hidden @ self.teacher_weight.T).log_softmax(-1)
        self.weights = torch.rand(positions, generator=generator, dtype=torch.float64).to(dtype)

    def inputs(self) -> list[torch.Tensor]:
        return [tensor.clone().requires_grad_() for tensor in (self.hidden, self.weight, self.bias)]

    @property
    def dense(self) -> DenseTeacher:
        return DenseTeacher(self.logprobs)

    @property
    def states(self) -> HiddenTeacher:
        return HiddenTeacher(self.teacher_hidden, self.teacher_weight)

    def bucket(self, k: int) -> BucketTeacher:
        best = self.logprobs.topk(k)
        return BucketTeacher(best.indices, best.values)

    @property
    def sampled(self) -> SampledTeacher:
        """All ids, in another order, with two fillers."""
        order = torch.stack([torch.randperm(self.logprobs.shape[1]) for _ in self.logprobs])
        probs = self.logprobs.exp().gather(-1, order)
        ids = torch.cat([order, order[:, :1] * 0, order[:, :1] * 0 + 3], dim=-1)
        entropies = -(self.logprobs.exp() * self.logprobs).sum(-1)
        return SampledTeacher(ids, torch.cat([probs, torch.zeros_like(probs[:, :2])], dim=-1), entropies)


def plain(case: Case, hidden, weight, bias, *, divergence=FORWARD, temperature=1.0, soft_weight=0.8, total=1.0,
          weights=None, teacher=True, labels=None, **head):  # fmt: skip
    labels = case.labels if labels is None else labels
    logits = linear_logits(hidden, weight, bias=bias, **head)
    log_q = logits.log_softmax(-1)
    there = labels >= 0
    hard = torch.where(there, -log_q.gather(-1, labels.clamp_min(0)[:, None])[:, 0], 0.0)
    if not teacher:
        costs = hard
    else:
        size = logits.shape[-1]
        logprobs = case.logprobs[:, :size].log_softmax(-1)
        soft = divergence(logits, logprobs, loss_temperature=temperature)
        costs = torch.where(there, soft_weight * soft + (1 - soft_weight) * hard, soft)
    return (costs if weights is None else costs * weights).sum() / total


def gradients(loss, inputs):
    return torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("chunk", [1, 3, P, 100])
@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_value_and_gradients_equal_the_plain_loss(name, temperature, chunk) -> None:
    case, divergence = Case(), Divergence(name)
    labels = case.labels.clone()
    labels[2] = -100
    for teacher in (case.dense, case.states):
        inputs = case.inputs()
        found = linear_divergence(
            *inputs[:2], bias=inputs[2], teacher=teacher, labels=labels, divergence=divergence, total=5.0,
            loss_temperature=temperature, soft_weight=0.7, weights=case.weights, chunk_positions=chunk,
        )  # fmt: skip
        expected_inputs = case.inputs()
        expected = plain(
            case, *expected_inputs, divergence=divergence, temperature=temperature, soft_weight=0.7, total=5.0,
            weights=case.weights, labels=labels,
        )  # fmt: skip
        torch.testing.assert_close(found.loss, expected, rtol=1e-9, atol=1e-12)
        ours, theirs = gradients(found.loss, inputs), gradients(expected, expected_inputs)
        if name == "adaptive_kl":
            continue  # autograd of the plain form is the same: weights are detached there too
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


def test_adaptive_weights_are_constants_to_the_gradient() -> None:
    case, divergence = Case(3), Divergence("adaptive_kl")
    inputs, plain_inputs = case.inputs(), case.inputs()
    found = linear_divergence(*inputs[:2], bias=inputs[2], teacher=case.dense, labels=case.labels,
                              divergence=divergence, total=1.0)  # fmt: skip
    expected = plain(case, *plain_inputs, divergence=divergence)
    for one, other in zip(gradients(found.loss, inputs), gradients(expected, plain_inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


def test_sampled_targets_that_hold_everything_equal_dense_ones() -> None:
    case = Case(1)
    inputs, plain_inputs = case.inputs(), case.inputs()
    found = linear_divergence(*inputs[:2], bias=inputs[2], teacher=case.sampled, labels=case.labels, total=3.0)
    expected = plain(case, *plain_inputs, total=3.0)
    torch.testing.assert_close(found.loss, expected, rtol=1e-9, atol=1e-12)
    for one, other in zip(gradients(found.loss, inputs), gradients(expected, plain_inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl"])
def test_buckets_of_all_ids_equal_the_dense_divergence(name) -> None:
    case, divergence = Case(2), Divergence(name)
    inputs, plain_inputs = case.inputs(), case.inputs()
    found = linear_divergence(*inputs[:2], bias=inputs[2], teacher=case.bucket(V), labels=case.labels,
                              divergence=divergence, total=1.0)  # fmt: skip
    expected = plain(case, *plain_inputs, divergence=divergence)
    torch.testing.assert_close(found.loss, expected, rtol=1e-7, atol=1e-8)
    for one, other in zip(gradients(found.loss, inputs), gradients(expected, plain_inputs), strict=True):
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
        return linear_divergence(hidden, case.weight, teacher=padded, labels=case.labels, divergence=divergence,
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
            inputs[0], inputs[1], bias=inputs[2], teacher=case.dense, labels=case.labels.clamp_max(8), total=2.0,
            logit_scale=0.7, soft_cap=3.0, vocabulary=9, divergence=Divergence("jensen_shannon"), loss_temperature=1.5,
        ).loss  # fmt: skip

    assert torch.autograd.gradcheck(loss, tuple(case.inputs()))


def test_padding_rows_are_masked_on_both_sides() -> None:
    """Others padded a narrower side with logits of 0, which gives made-up ids the mass of exp(0)."""
    case = Case(6)
    labels = case.labels.clamp_max(8)
    wide = HiddenTeacher(case.teacher_hidden, torch.cat([case.teacher_weight[:9], 50 * case.teacher_weight[9:]]))
    inputs = case.inputs()
    found = linear_divergence(*inputs[:2], bias=inputs[2], teacher=wide, labels=labels, vocabulary=9, total=1.0)
    cut = [inputs[0].detach().clone(), inputs[1][:9].detach().clone(), inputs[2][:9].detach().clone()]
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
    loss = linear_divergence(table[ids] * 2, table, teacher=case.dense, labels=case.labels, total=1.0).loss
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
            pieces[0][part], pieces[1], teacher=DenseTeacher(case.logprobs[part]), labels=case.labels[part], total=8.0
        ).loss.backward()
    torch.testing.assert_close(whole[0].grad, pieces[0].grad)
    torch.testing.assert_close(whole[1].grad, pieces[1].grad)


def test_without_a_teacher_it_is_the_cross_entropy() -> None:
    case = Case(9)
    labels = case.labels.clone()
    labels[0] = -100
    inputs = case.inputs()
    found = linear_divergence(*inputs[:2], bias=inputs[2], teacher=None, labels=labels, total=1.0, soft_weight=0.3)
    logits = linear_logits(case.hidden, case.weight, bias=case.bias)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.hard, expected)
    assert float(found.soft) == 0


def test_the_reported_sums_are_free_of_the_mix() -> None:
    case = Case(10)
    for soft_weight in (0.2, 0.9):
        found = linear_divergence(case.hidden, case.weight, teacher=case.dense, labels=case.labels, total=4.0,
                                  soft_weight=soft_weight)  # fmt: skip
        logits = linear_logits(case.hidden, case.weight)
        torch.testing.assert_close(found.soft, Divergence()(logits, case.logprobs).sum())
        torch.testing.assert_close(found.hard, torch.nn.functional.cross_entropy(logits, case.labels, reduction="sum"))
        torch.testing.assert_close(found.loss, (soft_weight * found.soft + (1 - soft_weight) * found.hard) / 4)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes, and counts products."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.products = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        self.products += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_)
        return found


def test_never_holds_positions_times_vocabulary_and_skips_gradients_nobody_wants() -> None:
    case = Case(11, dtype=torch.float32, positions=64, size=500)
    inputs = case.inputs()
    for teacher in (case.states, case.sampled, case.bucket(5)):
        with Largest() as seen:
            linear_divergence(*inputs[:2], teacher=teacher, labels=case.labels, total=1.0,
                              chunk_positions=4).loss.backward()  # fmt: skip
        assert seen.elements <= max(4 * 500, 500 * H, 64 * 14 * 40)
        assert seen.elements < 64 * 500
    with Largest() as trained:
        linear_divergence(*inputs[:2], teacher=None, labels=case.labels, total=1.0, chunk_positions=16)
    with Largest() as judged, torch.no_grad():
        linear_divergence(*inputs[:2], teacher=None, labels=case.labels, total=1.0, chunk_positions=16)
    assert (trained.products, judged.products) == (12, 4)


def test_nothing_to_learn_gives_zero_with_a_gradient() -> None:
    case = Case(12, positions=0)
    inputs = case.inputs()[:2]
    found = linear_divergence(*inputs, teacher=None, labels=case.labels, total=0.0)
    assert float(found.loss.detach()) == 0
    found.loss.backward()
    assert inputs[1].grad is not None
    assert not inputs[1].grad.any()
    masked = Case(12)
    inputs = masked.inputs()[:2]
    none = torch.full_like(masked.labels, -100)
    found = linear_divergence(*inputs, teacher=None, labels=none, total=0.0)
    found.loss.backward()
    assert float(found.loss.detach()) == 0
    assert not inputs[0].grad.any()


@pytest.mark.parametrize("kind", ["states", "sampled"])
def test_float32_is_no_worse_than_the_plain_float32_loss(kind) -> None:
    truth, case = Case(13, positions=40, size=300), Case(13, dtype=torch.float32, positions=40, size=300)
    exact_inputs, plain_inputs, inputs = truth.inputs()[:2], case.inputs()[:2], case.inputs()[:2]
    exact = gradients(plain(truth, *exact_inputs, None), exact_inputs)
    naive = gradients(plain(case, *plain_inputs, None), plain_inputs)
    teacher = case.states if kind == "states" else case.sampled
    ours = gradients(linear_divergence(*inputs, teacher=teacher, labels=case.labels, total=1.0).loss, inputs)
    for mine, theirs, true in zip(ours, naive, exact, strict=True):
        error, naive_error = ((value.double() - true).abs().max() for value in (mine, theirs))
        assert error <= 2 * naive_error + 1e-6 * true.abs().max()


def test_autocast_multiplies_in_its_type_and_sums_in_float32() -> None:
    case = Case(14, dtype=torch.float32, positions=32, size=64)
    inputs, exact = case.inputs()[:2], case.inputs()[:2]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_divergence(*inputs, teacher=case.states, labels=case.labels, total=32.0, chunk_positions=8).loss
    expected = linear_divergence(*exact, teacher=case.states, labels=case.labels, total=32.0).loss
    assert found.dtype == torch.float32
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=0.03)
    assert float(found.detach()) != float(expected.detach())
    for one, other in zip(gradients(found, inputs), gradients(expected, exact), strict=True):
        assert one.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999


def test_weights_in_bfloat16_give_gradients_in_bfloat16() -> None:
    case = Case(15, dtype=torch.bfloat16)
    inputs = case.inputs()[:2]
    found = gradients(linear_divergence(*inputs, teacher=case.states, labels=case.labels, total=1.0).loss, inputs)
    assert {gradient.dtype for gradient in found} == {torch.bfloat16}


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_it_stands_inside_a_compiled_function() -> None:
    case = Case(16, dtype=torch.float32)

    def step(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return linear_divergence(hidden * 2, weight, teacher=case.dense, labels=case.labels, total=1.0).loss * 3

    inputs, compiled_inputs = case.inputs()[:2], case.inputs()[:2]
    compiled = torch.compile(step, backend="eager")
    expected, found = step(*inputs), compiled(*compiled_inputs)
    torch.testing.assert_close(found, expected)
    for one, other in zip(gradients(found, compiled_inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(one, other)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_sampled_targets_are_unbiased_in_value_and_gradient(seed) -> None:
    """Systematic draws over an even grid of offsets integrate exactly, so the mean must equal the dense loss."""
    case = Case(seed, positions=1)
    probs = case.logprobs.exp()[0]
    draws, offsets = 4, 64
    ends = probs.cumsum(0) * draws
    total_gradient, total_value = torch.zeros_like(case.hidden), 0.0
    entropy = -(probs * probs.log()).sum()[None]
    for offset in (torch.arange(offsets, dtype=torch.float64) + 0.5) / offsets:
        ids = torch.searchsorted(ends, torch.arange(draws, dtype=torch.float64) + offset).clamp_max(V - 1)[None]
        hidden = case.hidden.clone().requires_grad_()
        teacher = SampledTeacher(ids, torch.full((1, draws), 1 / draws, dtype=torch.float64), entropy)
        loss = linear_divergence(hidden, case.weight, teacher=teacher, labels=case.labels, soft_weight=1.0, total=1.0)
        total_gradient += gradients(loss.loss, [hidden])[0] / offsets
        total_value += float(loss.loss.detach()) / offsets
    hidden = case.hidden.clone().requires_grad_()
    dense = linear_divergence(hidden, case.weight, teacher=case.dense, labels=case.labels, soft_weight=1.0, total=1.0)
    scale = float((case.hidden @ case.weight.T).abs().max())
    assert total_value == pytest.approx(float(dense.loss.detach()), abs=2 * V * scale / (draws * offsets))
    torch.testing.assert_close(total_gradient, gradients(dense.loss, [hidden])[0], rtol=0, atol=0.2)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl"])
def test_the_tail_is_not_drained(name) -> None:
    """Un-normalised top-k losses are minimised by moving all mass to, or out of, the kept ids; buckets are not."""
    case = Case(17, positions=1)
    teacher = case.bucket(3)
    logits = torch.zeros(1, V, dtype=torch.float64, requires_grad=True)
    identity = torch.eye(V, dtype=torch.float64)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        linear_divergence(logits, identity, teacher=teacher, labels=case.labels, divergence=Divergence(name),
                          soft_weight=1.0, total=1.0).loss.backward()  # fmt: skip
        optimizer.step()
    probs = logits.softmax(-1)
    torch.testing.assert_close(probs.gather(-1, teacher.ids), teacher.logprobs.exp(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_what_a_kind_serves_is_what_recipes_believe(kind) -> None:
    case = Case(18)
    teacher = case.sampled if kind == "sampled" else case.bucket(4)
    for name in DENSE:
        divergence = Divergence(name)
        if name in SERVED_BY[kind]:
            linear_divergence(case.hidden, case.weight, teacher=teacher, labels=case.labels, divergence=divergence,
                              total=1.0)  # fmt: skip
            with pytest.raises(ValueError, match="at temperature 2 cannot be had"):
                linear_divergence(case.hidden, case.weight, teacher=teacher, labels=case.labels,
                                  divergence=divergence, loss_temperature=2.0, total=1.0)  # fmt: skip
        else:
            with pytest.raises(ValueError, match="Use targets of kind hidden or live"):
                linear_divergence(case.hidden, case.weight, teacher=teacher, labels=case.labels,
                                  divergence=divergence, total=1.0)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(3, dtype=torch.long)}, "labels speak of 3 positions but there are 7 states"),
        ({"weight": torch.zeros(V, H + 1)}, r"expected \[P, H\] and \[V, H\]"),
        ({"vocabulary": V + 1}, "12 ids but the output matrix only 11 rows"),
        ({"teacher": HiddenTeacher(torch.zeros(P, 4), torch.zeros(V + 5, 4))}, "the teacher speaks about 16 ids"),
    ],
)
def test_what_does_not_fit_is_refused(change, message) -> None:
    case = Case(19)
    arguments = {"weight": case.weight, "teacher": case.dense, "labels": case.labels, "total": 1.0} | change
    with pytest.raises(ShapeMismatch, match=message):
        linear_divergence(case.hidden, **arguments)
