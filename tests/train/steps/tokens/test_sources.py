"""Targets as training meets them: capped and scaled heads, states from a store, draws in the mean,
work skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.tiny_heads import CONFIGS, tiny_model
from tests.train.tiny_language import (
    PAD,
    VOCABULARY,
    loss_by_definition,
    tiny_documents,
    tiny_llama,
    tiny_targets,
    tiny_teacher,
)

from tutelage.losses import Objective
from tutelage.targets import inspect
from tutelage.teachers import label_documents
from tutelage.train import LiveTargets, StoredTargets
from tutelage.train.steps.tokens import loss as loss_module
from tutelage.train.steps.tokens.loss import TokenLoss, micro_batch, validate_tokens

CPU = torch.device("cpu")


def costed(
    model: Any,
    documents: Any,
    source: Any,
    objective: Objective,
    *,
    total: float = 17.0,
    hidden_weight: float = 0.0,
) -> Any:
    """The loss and its gradients."""
    batch = micro_batch(
        documents,
        [[place] for place in range(len(documents))],
        source=source,
        pad_id=PAD,
        device=CPU,
    )
    step = TokenLoss(model.eval(), objective, vocabulary=VOCABULARY, hidden_weight=hidden_weight)
    model.zero_grad()
    loss = step(batch, soft_weight=objective.soft_weight, total=total)[0]
    loss.backward()
    return float(loss.detach()), {
        name: value.grad.clone() for name, value in model.named_parameters()
    }


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("stored", [None, "hidden", "sampled"])
def test_cap_and_scale_of_teacher_and_student_reach_the_loss(
    kind: str, stored: str | None, tmp_path: Path
) -> None:
    documents, teacher, model = (
        tiny_documents(5, share=0.6),
        tiny_teacher(tiny_model(kind, seed=7)),
        tiny_model(kind, seed=1),
    )
    source: Any = (
        LiveTargets(teacher)
        if stored is None
        else tiny_targets(teacher, documents, tmp_path, stored)
    )
    objective = Objective(soft_weight=0.7)
    loss, found = costed(model, documents, source, objective)
    model.zero_grad()
    expected = loss_by_definition(model, documents, teacher, objective, total=17.0)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=2e-5 if stored is None else 0.03)
    for name, weight in model.named_parameters():
        assert weight.grad is not None
        scale = float(weight.grad.abs().max())
        near = 1e-4 if stored is None else 0.1
        assert float((found[name] - weight.grad).abs().max()) <= near * max(scale, 1e-3), name


def test_states_from_a_store_are_the_teachers_own(tmp_path: Path) -> None:
    """Both the states and what they are multiplied by, not only their product: hidden matching
    needs the states."""
    documents, teacher = tiny_documents(6, share=0.8), tiny_teacher()
    source = tiny_targets(teacher, documents, tmp_path, "hidden")
    channels = source.store.output_matrix().channels
    assert channels is not None
    assert np.ptp(channels) > 0.1
    side: Any = source.teacher_side(documents, CPU)
    theirs = torch.cat(teacher.hidden_states(documents))
    assert float(((side.hidden - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max()) < 0.02
    torch.testing.assert_close(
        side.weight[:VOCABULARY], teacher.head.weight[:VOCABULARY].float(), rtol=1e-5, atol=1e-6
    )
    student = tiny_llama(1)
    stored, living = (
        costed(student, documents, one, Objective(), hidden_weight=0.5)[0]
        for one in (source, LiveTargets(teacher))
    )
    bare, living_bare = (
        costed(student, documents, one, Objective())[0] for one in (source, LiveTargets(teacher))
    )
    assert stored - bare == pytest.approx(living - living_bare, rel=0.02)


def test_drawn_targets_give_the_dense_gradient_in_the_mean(tmp_path: Path) -> None:
    """The whole way: walk, balance, rounding, disk, lookup, loss, over 64 draws."""
    documents, teacher, model = (
        tiny_documents(3, longest=8),
        tiny_teacher(tiny_llama(7, spread=2.0)),
        tiny_llama(1),
    )
    objective = Objective(soft_weight=1.0)
    dense = costed(model, documents, LiveTargets(teacher), objective)[1]["lm_head.weight"]
    draws = []
    for seed in range(64):
        store = label_documents(
            teacher,
            documents,
            out=tmp_path / str(seed),
            kind="sampled",
            encoding={"threshold": 0.05},
            seed=seed,
        )
        draws.append(costed(model, documents, StoredTargets(store), objective)[1]["lm_head.weight"])
    assert inspect(tmp_path / "0")["mean_tail"] > 1
    found = torch.stack(draws)
    errors = found.std(dim=0) / 8
    moved = errors > 1e-6 * float(dense.abs().max())
    assert int(moved.sum()) > 1000
    deviations = ((found.mean(dim=0) - dense) / errors)[moved]
    assert (
        float(deviations.abs().max()) < 7
    )  # of some thousand, in units of a standard error of 64 draws
    assert float(deviations.square().mean()) < 1.5
    noise, bias = (float(value.norm()) for value in (found[0] - dense, found.mean(dim=0) - dense))
    assert bias < 0.2 * noise


@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("compiled", [False, True])
def test_only_trained_positions_reach_the_output_matrix(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = tiny_documents(4, share=0.2)
    seen: list[int] = []
    real: Any = loss_module.linear_divergence

    def noted(hidden: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        seen.append(len(hidden))
        return real(hidden, *arguments, **options)

    monkeypatch.setattr(
        loss_module, "linear_divergence", torch.compiler.disable(noted) if compiled else noted
    )
    batch = micro_batch(documents, [[0, 1], [2, 3]], source=None, pad_id=PAD, device=CPU)
    step: Any = TokenLoss(tiny_llama(1), Objective(), vocabulary=VOCABULARY)
    plain = step(batch, soft_weight=0.0, total=1.0)[0]
    if compiled:
        found = torch.compile(step, backend="aot_eager")(batch, soft_weight=0.0, total=1.0)[0]
        torch.testing.assert_close(found, plain)
        weight = step.model.lm_head.weight
        torch.testing.assert_close(
            torch.autograd.grad(found, weight), torch.autograd.grad(plain, weight)
        )
    trained = sum(document.positions for document in documents)
    assert set(seen) == {trained}
    assert trained < sum(len(document.token_ids) for document in documents) / 2


@pytest.mark.parametrize("hidden_weight", [0.0, 0.4])
def test_validation_is_the_objective_over_positions(hidden_weight: float) -> None:
    documents, teacher, model = (
        tiny_documents(6, seed=1, share=0.7),
        tiny_teacher(),
        tiny_llama(1).train(),
    )
    objective = Objective(soft_weight=0.7, soft_weight_final=0.1)
    step = TokenLoss(model, objective, vocabulary=VOCABULARY, hidden_weight=hidden_weight)
    found = validate_tokens(step, documents, LiveTargets(teacher), pad_id=PAD, tokens=32)
    assert model.training
    total = sum(document.positions for document in documents)
    expected = float(
        loss_by_definition(model.eval(), documents, teacher, objective, total=total).detach()
    )
    if hidden_weight:
        ours, theirs = (
            torch.cat(one.hidden_states(documents)) for one in (tiny_teacher(model), teacher)
        )
        distances = (ours - theirs).square().mean(-1) / theirs.square().mean(-1)
        expected += hidden_weight * float(distances.mean())
    assert found.loss == pytest.approx(expected, rel=2e-5)
    assert found.divergence is not None
    mixed = 0.7 * found.divergence + 0.3 * found.nats
    assert (found.loss == pytest.approx(mixed, rel=1e-5)) == (hidden_weight == 0.0)
    alone = validate_tokens(step, documents, None, pad_id=PAD, tokens=32)
    assert (alone.loss, alone.divergence) == (alone.nats, None)
    assert alone.nats == pytest.approx(found.nats, rel=1e-6)
