"""The chunked loss in use: what it reports, how much it holds and computes, number types, and what
it refuses."""

from __future__ import annotations

import pytest
import torch
from tests.losses.linear_cases import Case, H, P, V, gradients, plain
from torch.utils._python_dispatch import TorchDispatchMode

from tutelage.errors import ShapeMismatch
from tutelage.losses import Divergence, HiddenTeacher, linear_divergence, linear_logits
from tutelage.losses.table import DIVERGENCES, serves


def test_without_a_teacher_it_is_the_cross_entropy() -> None:
    case = Case(9)
    labels = case.labels.clone()
    labels[0] = -100
    inputs = case.inputs()
    found = linear_divergence(
        *inputs[:2], bias=inputs[2], teacher=None, labels=labels, total=1.0, soft_weight=0.3
    )
    logits = linear_logits(case.hidden, case.weight, bias=case.bias)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.hard, expected)
    assert float(found.soft) == 0


def test_the_reported_sums_are_free_of_the_mix() -> None:
    case = Case(10)
    for soft_weight in (0.2, 0.9):
        found = linear_divergence(case.hidden, case.weight, teacher=case.dense, labels=case.labels,
                                  total=4.0,
                                  soft_weight=soft_weight)  # fmt: skip
        logits = linear_logits(case.hidden, case.weight)
        torch.testing.assert_close(found.soft, Divergence()(logits, case.logprobs).sum())
        torch.testing.assert_close(
            found.hard, torch.nn.functional.cross_entropy(logits, case.labels, reduction="sum")
        )
        torch.testing.assert_close(
            found.loss, (soft_weight * found.soft + (1 - soft_weight) * found.hard) / 4
        )


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
        self.products += func.overloadpacket in (
            torch.ops.aten.mm,
            torch.ops.aten.addmm,
            torch.ops.aten.addmm_,
        )
        return found


def test_never_holds_positions_times_vocabulary_and_skips_gradients_nobody_wants() -> None:
    case = Case(11, dtype=torch.float32, positions=64, size=500)
    inputs = case.inputs()
    for teacher in (case.states, case.sampled, case.bucket(5)):
        with Largest() as seen:
            linear_divergence(*inputs[:2], teacher=teacher, labels=case.labels, total=1.0,
                              chunk_positions=4).loss.backward()  # fmt: skip
        assert seen.elements <= max(
            500 * H, 4 * (500 + 2)
        )  # the matrix and its gradient, four positions at a time
    with Largest() as trained:
        linear_divergence(
            *inputs[:2], teacher=None, labels=case.labels, total=1.0, chunk_positions=16
        )
    with Largest() as judged, torch.no_grad():
        linear_divergence(
            *inputs[:2], teacher=None, labels=case.labels, total=1.0, chunk_positions=16
        )
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
    truth, case = (
        Case(13, positions=40, size=300),
        Case(13, dtype=torch.float32, positions=40, size=300),
    )
    exact_inputs, plain_inputs, inputs = truth.inputs()[:2], case.inputs()[:2], case.inputs()[:2]
    exact = gradients(plain(truth, *exact_inputs, None), exact_inputs)
    naive = gradients(plain(case, *plain_inputs, None), plain_inputs)
    teacher = case.states if kind == "states" else case.sampled
    ours = gradients(
        linear_divergence(*inputs, teacher=teacher, labels=case.labels, total=1.0).loss, inputs
    )
    for mine, theirs, true in zip(ours, naive, exact, strict=True):
        error, naive_error = ((value.double() - true).abs().max() for value in (mine, theirs))
        assert error <= 2 * naive_error + 1e-6 * true.abs().max()


def test_autocast_multiplies_in_its_type_and_sums_in_float32() -> None:
    case = Case(14, dtype=torch.float32, positions=32, size=64)
    inputs, exact = case.inputs()[:2], case.inputs()[:2]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_divergence(
            *inputs, teacher=case.states, labels=case.labels, total=32.0, chunk_positions=8
        ).loss
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
    found = gradients(
        linear_divergence(*inputs, teacher=case.states, labels=case.labels, total=1.0).loss, inputs
    )
    assert {gradient.dtype for gradient in found} == {torch.bfloat16}


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_it_stands_inside_a_compiled_function() -> None:
    case = Case(16, dtype=torch.float32)

    def step(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (
            linear_divergence(
                hidden * 2, weight, teacher=case.dense, labels=case.labels, total=1.0
            ).loss
            * 3
        )

    inputs, compiled_inputs = case.inputs()[:2], case.inputs()[:2]
    compiled = torch.compile(step, backend="eager")
    expected, found = step(*inputs), compiled(*compiled_inputs)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        gradients(found, compiled_inputs), gradients(expected, inputs), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_what_a_kind_serves_is_what_recipes_believe(kind) -> None:
    case = Case(18)
    teacher = case.sampled if kind == "sampled" else case.bucket(4)
    for name in DIVERGENCES:
        divergence = Divergence(name)
        if serves(kind, name):
            linear_divergence(case.hidden, case.weight, teacher=teacher, labels=case.labels,
                              divergence=divergence,
                              total=1.0)  # fmt: skip
            with pytest.raises(ValueError, match="at temperature 2 cannot be had"):
                linear_divergence(case.hidden, case.weight, teacher=teacher, labels=case.labels,
                                  divergence=divergence, loss_temperature=2.0,
                                  total=1.0)  # fmt: skip
        else:
            with pytest.raises(ValueError, match="Use targets of kind hidden or live"):
                linear_divergence(case.hidden, case.weight, teacher=teacher, labels=case.labels,
                                  divergence=divergence, total=1.0)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"labels": torch.zeros(3, dtype=torch.long)},
            "labels speak of 3 positions but there are 7 states",
        ),
        ({"weight": torch.zeros(V, H + 1)}, r"expected \[P, H\] and \[V, H\]"),
        ({"vocabulary": V + 1}, "12 ids but the output matrix only 11 rows"),
        (
            {"teacher": HiddenTeacher(torch.zeros(P, 4), torch.zeros(V + 5, 4))},
            "the teacher speaks about 16 ids",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, message) -> None:
    case = Case(19)
    arguments = {
        "weight": case.weight,
        "teacher": case.dense,
        "labels": case.labels,
        "total": 1.0,
    } | change
    with pytest.raises(ShapeMismatch, match=message):
        linear_divergence(case.hidden, **arguments)
