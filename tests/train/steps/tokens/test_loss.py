"""The loss of a micro-batch: what it is by definition, with one shift, documents apart, and no mass
for padded rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.tiny_language import (
    EXACT,
    PAD,
    VOCABULARY,
    loss_by_definition,
    tiny_documents,
    tiny_llama,
    tiny_student,
    tiny_targets,
    tiny_teacher,
)

from tutelage.errors import TargetsIncomplete
from tutelage.losses import Objective
from tutelage.losses.table import DIVERGENCES
from tutelage.models import packs
from tutelage.train import LanguageTrainSettings, LiveTargets, StoredTargets
from tutelage.train.steps.tokens.loss import MicroBatch, TokenLoss, micro_batch
from tutelage.train.steps.tokens.plan import plan_steps
from tutelage.types import Document

STUDENTS = ("pruned", "transformer", "lora", "rnn")
PACKING = ("pruned", "transformer", "lora")
CPU = torch.device("cpu")


def step_of(
    model: Any,
    objective: Objective = Objective(),  # noqa: B008 - frozen
    *,
    hidden_weight: float = 0.0,
) -> TokenLoss:
    return TokenLoss(model.eval(), objective, vocabulary=VOCABULARY, hidden_weight=hidden_weight)


def value(scalar: Any) -> float:
    return scalar.detach().item()


def alone(documents: list[Document]) -> list[list[int]]:
    return [[index] for index in range(len(documents))]


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {
        name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None
    }


def assert_same(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], *, near: float = 2e-5
) -> None:
    assert found.keys() == expected.keys()
    assert found
    for name, gradient in found.items():
        scale = value(expected[name].abs().max())
        assert value((gradient - expected[name]).abs().max()) <= near * max(scale, 1e-3), name


OBJECTIVES = {
    "forward_kl": ("live", Objective(soft_weight=0.7)),
    "at temperature 2": ("live", Objective(soft_weight=0.7, loss_temperature=2.0)),
    "reverse_kl": ("live", Objective("reverse_kl", soft_weight=0.6)),
    "teacher alone": ("live", Objective(soft_weight=1.0)),
    "sampled": ("sampled", Objective(soft_weight=0.7)),
    "top_k": ("top_k", Objective(soft_weight=0.7)),
    "hidden": ("hidden", Objective(soft_weight=0.7)),
    "control": (None, Objective()),
}
STORED_IN = {"sampled": (3e-3, 0.1), "top_k": (5e-4, 3e-2), "hidden": (3e-2, 0.1)}
"""How near loss and gradient come where hundreds of probabilities are kept on a grid, states in 8
bits."""


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradients_are_those_of_the_definition(
    name: str, student: str, tmp_path: Path
) -> None:
    kind, objective = OBJECTIVES[name]
    documents, teacher, model = (
        tiny_documents(5, share=0.6),
        tiny_teacher(),
        tiny_student(student).eval(),
    )
    source = None
    if kind is not None:
        source = (
            LiveTargets(teacher)
            if kind == "live"
            else tiny_targets(teacher, documents, tmp_path, kind)
        )
    rows = [[0, 3, 1], [4, 2]] if packs(model) else alone(documents)
    batch = micro_batch(documents, rows, source=source, pad_id=PAD, device=CPU)
    loss, soft, hard = step_of(model, objective)(
        batch, soft_weight=objective.soft_weight, total=17.0
    )
    found = gradients(model, loss)
    expected = loss_by_definition(
        model, documents, teacher if kind else None, objective, total=17.0
    )
    near, near_gradient = STORED_IN.get(kind, (2e-5, 1e-4))
    assert value(loss) == pytest.approx(value(expected), rel=near)
    weight = objective.soft_weight if kind else 0.0
    assert value(loss) == pytest.approx(value(weight * soft + (1 - weight) * hard) / 17.0, rel=1e-5)
    assert_same(found, gradients(model, expected), near=near_gradient)
    if isinstance(
        source, StoredTargets
    ):  # and no less exact than a living teacher about what the store holds
        held = loss_by_definition(model, documents, teacher, objective, total=17.0, stored=source)
        assert value(loss) == pytest.approx(value(held), rel=2e-5)
        assert_same(found, gradients(model, held), near=2e-4)


@pytest.mark.parametrize("student", PACKING)
def test_packed_documents_cost_what_they_cost_alone(student: str) -> None:
    documents, source = tiny_documents(6), LiveTargets(tiny_teacher())
    step = step_of(tiny_student(student))

    def cost(rows: list[list[int]], **changes: Any) -> torch.Tensor:
        batch = micro_batch(documents, rows, source=source, pad_id=PAD, device=CPU)
        batch = MicroBatch(replace(batch.packed, **changes), batch.teacher)
        return step(batch, soft_weight=0.8, total=1.0)[0]

    apart = sum(cost([row]) for row in alone(documents))
    together = cost([[0, 1, 2], [3, 4, 5]])
    assert value(together) == pytest.approx(value(apart), rel=1e-6)
    assert_same(gradients(step.model, together), gradients(step.model, apart))
    # What would happen if they saw each other: the test can tell.
    packed = micro_batch(
        documents, [[0, 1, 2], [3, 4, 5]], source=source, pad_id=PAD, device=CPU
    ).packed
    mixed = cost([[0, 1, 2], [3, 4, 5]], segments=packed.segments.clamp(max=1))
    assert abs(value(mixed) - value(apart)) > 1e-3 * value(apart)


def test_a_recurrent_student_reads_one_document_a_row_and_its_padding_costs_nothing() -> None:
    documents, source = tiny_documents(6), LiveTargets(tiny_teacher())
    model = tiny_student("rnn")
    plan = plan_steps(documents, LanguageTrainSettings(sequence_length=32), pack=packs(model))
    assert all(len(row) == 1 for step in plan.steps for rows in step for row in rows)
    step = step_of(model)

    def cost(rows: list[list[int]]) -> torch.Tensor:
        batch = micro_batch(documents, rows, source=source, pad_id=PAD, device=CPU)
        return step(batch, soft_weight=0.8, total=1.0)[0]

    apart, together = sum(cost([row]) for row in alone(documents)), cost(alone(documents))
    assert value(together) == pytest.approx(value(apart), rel=1e-6)
    assert_same(gradients(model, together), gradients(model, apart))
    with pytest.raises(ValueError, match="put one document in each row"):
        cost([[0, 1]])


def reader(shift: int) -> Any:
    """A model that is sure that token t + shift follows token t."""
    model = tiny_llama(vocab_size=VOCABULARY, hidden_size=64, spread=1.0)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        vectors = torch.nn.functional.normalize(model.model.embed_tokens.weight, dim=-1)
        model.model.embed_tokens.weight.copy_(vectors)
        model.lm_head.weight.copy_(8 * vectors.roll(shift, dims=0))
    return model


def test_the_state_of_a_token_predicts_the_one_after_it_and_no_other() -> None:
    counting = [
        Document(np.arange(first, first + 9, dtype=np.int32), np.arange(9) > 0)
        for first in (10, 40, 90)
    ]

    def nats(shift: int) -> float:
        batch = micro_batch(counting, [[0, 1], [2]], source=None, pad_id=PAD, device=CPU)
        return value(step_of(reader(shift))(batch, soft_weight=0.0, total=24.0)[0])

    assert nats(1) < 0.01
    assert nats(0) > 10.0  # copies its own token: nothing was forgotten
    assert nats(2) > 10.0  # knows the token after next: nothing was shifted twice
    assert nats(-1) > 10.0


def test_a_teacher_is_read_at_the_same_place_as_the_student() -> None:
    counting = [Document(np.arange(10, 19, dtype=np.int32), np.arange(9) > 0)]
    teacher = tiny_teacher(reader(1))
    batch = micro_batch(counting, [[0]], source=LiveTargets(teacher), pad_id=PAD, device=CPU)
    assert value(step_of(reader(1))(batch, soft_weight=1.0, total=8.0)[0]) == pytest.approx(
        0.0, abs=1e-4
    )
    assert value(step_of(reader(2))(batch, soft_weight=1.0, total=8.0)[0]) > 10.0


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("loss_temperature", [1.0, 3.0])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(
    name: Any, loss_temperature: float
) -> None:
    documents, model = tiny_documents(4), tiny_llama(7)
    objective = Objective(name, loss_temperature=loss_temperature, soft_weight=1.0)
    batch = micro_batch(
        documents, [[0, 1], [2, 3]], source=LiveTargets(tiny_teacher()), pad_id=PAD, device=CPU
    )
    loss = step_of(model, objective)(batch, soft_weight=1.0, total=1.0)[0]
    assert value(loss) == pytest.approx(0.0, abs=1e-3)
    if name == "total_variation":
        return  # has a kink there: its gradient is the sign of rounding errors
    found = gradients(model, loss)
    other = gradients(model, step_of(model)(batch, soft_weight=0.0, total=1.0)[0])
    for weight, gradient in found.items():
        assert value(gradient.norm()) <= 1e-3 * max(1.0, value(other[weight].norm())), weight


@pytest.mark.parametrize("kind", [None, "live", "sampled", "top_k", "hidden"])
def test_padded_rows_of_the_matrix_get_no_mass_and_no_gradient(
    kind: str | None, tmp_path: Path
) -> None:
    documents, teacher, model = tiny_documents(4), tiny_teacher(), tiny_llama(1)
    source = None
    if kind is not None:
        source = (
            LiveTargets(teacher)
            if kind == "live"
            else tiny_targets(teacher, documents, tmp_path, kind)
        )
    batch = micro_batch(documents, [[0, 1], [2, 3]], source=source, pad_id=PAD, device=CPU)
    loss = step_of(model)(batch, soft_weight=0.5, total=1.0)[0]
    gradient = gradients(model, loss)["lm_head.weight"]
    assert gradient[VOCABULARY:].count_nonzero() == 0
    assert gradient[:VOCABULARY].count_nonzero() > 0
    with torch.no_grad():
        model.lm_head.weight[VOCABULARY:] = 1e4
    assert value(step_of(model)(batch, soft_weight=0.5, total=1.0)[0]) == value(loss)
    unmasked = TokenLoss(model, Objective(), vocabulary=None)
    if kind is None:  # were they not masked, they would take it all
        assert value(unmasked(batch, soft_weight=0.0, total=1.0)[0]) > 10 * value(loss)


@pytest.mark.parametrize("kind", list(EXACT))
def test_targets_are_found_by_content_whatever_the_order(kind: str, tmp_path: Path) -> None:
    documents, teacher = tiny_documents(8, share=0.7), tiny_teacher()
    stored = tiny_targets(teacher, documents, tmp_path / "one", kind)
    backwards = tiny_targets(teacher, documents[::-1], tmp_path / "other", kind)
    step = step_of(tiny_llama(1))

    def cost(source: Any, rows: list[list[int]]) -> float:
        batch = micro_batch(documents, rows, source=source, pad_id=PAD, device=CPU)
        return value(step(batch, soft_weight=1.0, total=1.0)[0])

    expected = cost(stored, [[index] for index in range(8)])
    for source in (stored, backwards):
        assert cost(source, [[7, 2, 0], [5], [1, 6], [3, 4]]) == pytest.approx(expected, rel=1e-4)


def test_a_document_without_targets_is_named(tmp_path: Path) -> None:
    documents = tiny_documents(5)
    source = tiny_targets(tiny_teacher(), documents[:3], tmp_path)
    with pytest.raises(
        TargetsIncomplete, match=r"2 of 5 documents, the first is train\.jsonl row 4 .*label again"
    ):
        source.require(documents)
    # The same tokens of which others train are another document.
    other = replace(
        documents[0],
        trained=documents[0].trained & (np.arange(len(documents[0].token_ids)) % 2 == 1),
    )
    with pytest.raises(TargetsIncomplete, match="choice of trained tokens changed"):
        source.require([other])


def test_hidden_matching_is_a_share_of_every_trained_position() -> None:
    documents, teacher = tiny_documents(4), tiny_teacher()
    batch = micro_batch(
        documents, [[0, 1], [2, 3]], source=LiveTargets(teacher), pad_id=PAD, device=CPU
    )
    assert value(
        step_of(tiny_llama(7), hidden_weight=0.5)(batch, soft_weight=1.0, total=1.0)[0]
    ) == pytest.approx(0.0, abs=2e-4)
    model = tiny_student("pruned")
    bare, with_states = (
        step_of(model, hidden_weight=weight)(batch, soft_weight=0.8, total=3.0)[0]
        for weight in (0.0, 0.5)
    )
    theirs = torch.cat(teacher.hidden_states(documents))
    ours = torch.cat(tiny_teacher(model).hidden_states(documents))
    distance = ((ours - theirs).square().mean(-1) / theirs.square().mean(-1)).sum()
    assert value(with_states - bare) == pytest.approx(0.5 * value(distance) / 3.0, rel=1e-4)
