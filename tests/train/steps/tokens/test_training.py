"""The loop of a language model: what it learns from whom, what reaches the loss, and what stops a
run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.train.tiny_language import VOCABULARY, tiny_documents, tiny_llama, tiny_student
from tests.train.tiny_language_training import (
    FAST,
    TRAIN,
    VALIDATION,
    train,
    trainings,
    validations,
)
from tests.train.tiny_training import Listening, records

from tutelage.errors import TrainingDiverged
from tutelage.losses import Objective
from tutelage.train import LiveTargets, learning_rate_scale
from tutelage.train.journal import read_newest
from tutelage.train.optimizer import soft_weight_at
from tutelage.train.steps.tokens.plan import plan_steps


@pytest.mark.parametrize("student", ["pruned", "transformer", "rnn", "lora"])
def test_every_student_learns_from_the_teacher_and_its_best_weights_are_left(
    tmp_path: Path, live: LiveTargets, student: str
) -> None:
    settings = replace(FAST, epochs=6, learning_rate=2e-2)
    progress = Listening()
    model, result = train(
        tmp_path,
        model=tiny_student(student),
        source=live,
        settings=settings,
        train=VALIDATION,
        progress=progress,
    )
    seen = validations(tmp_path)
    assert len(seen) == 6
    assert seen[-1]["validation_divergence"] < 0.96 * seen[0]["validation_divergence"]
    assert result.best_validation_loss == min(record["validation_loss"] for record in seen)
    assert result.steps == progress.total == progress.done == len(trainings(tmp_path))
    assert not model.training
    # Trained once more without a step's worth of learning, the first validation is that of the
    # weights left.
    again, _ = train(
        tmp_path / "again",
        model=model,
        source=live,
        settings=replace(FAST, epochs=1, learning_rate=1e-12),
    )
    found = validations(tmp_path / "again")[0]["validation_loss"]
    assert found == pytest.approx(result.best_validation_loss, rel=1e-4)
    assert again is model


def test_weights_that_were_better_before_are_put_back(tmp_path: Path, live: LiveTargets) -> None:
    settings = replace(
        FAST, epochs=5, learning_rate=0.3, warmup_share=1.0
    )  # ever faster, and too fast in the end
    model, result = train(tmp_path, source=live, settings=settings)
    losses = [record["validation_loss"] for record in validations(tmp_path)]
    assert losses[-1] > 1.2 * min(losses)
    assert result.best_validation_loss == min(losses)
    train(
        tmp_path / "again",
        model=model,
        source=live,
        settings=replace(FAST, epochs=1, learning_rate=1e-12),
    )
    found = validations(tmp_path / "again")[0]["validation_loss"]
    assert found == pytest.approx(result.best_validation_loss, rel=1e-4)


def test_accumulation_changes_nothing_but_rounding(tmp_path: Path, live: LiveTargets) -> None:
    documents = tiny_documents(32, longest=8)
    runs = {}
    for micro in (8, 16, 64):  # 8 micro-batches a step, 4, 1
        settings = replace(
            FAST, batch_tokens=64, micro_batch_tokens=micro, sequence_length=8, clip_norm=0.5
        )
        model, _ = train(
            tmp_path / str(micro),
            source=live,
            settings=settings,
            train=documents,
            validation=documents[:4],
        )
        runs[micro] = (model, records(tmp_path / str(micro)))
    for model, found in (runs[8], runs[16]):
        expected_model, expected = runs[64]
        assert len(found) == len(expected)
        for record, other in zip(found, expected, strict=True):
            assert record == pytest.approx(other, rel=2e-3)
        for name, weight in model.state_dict().items():
            other = expected_model.state_dict()[name]
            assert torch.allclose(
                weight, other, rtol=0, atol=2e-4 * max(1.0, other.abs().max().item())
            ), name


def test_a_token_budget_ends_training_within_a_step(tmp_path: Path, live: LiveTargets) -> None:
    tokens = sum(len(document.token_ids) for document in TRAIN)
    for budget in (tokens // 2, 2 * tokens + 10):
        out = tmp_path / str(budget)
        settings = replace(FAST, token_budget=budget, epochs=1)
        model, result = train(out, source=live, settings=settings)
        assert result.steps * FAST.batch_tokens >= budget
        assert result.steps == len(trainings(out))
        # Steps are not quite full, so there are somewhat more than budget / batch.
        assert (
            math.ceil(budget / FAST.batch_tokens)
            <= result.steps
            <= 1.5 * budget / FAST.batch_tokens + 1
        )
        assert validations(out)[-1]["step"] == result.steps
        assert not model.training


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_schedule_and_soft_weight_reach_the_optimizer_and_the_loss(
    tmp_path: Path, live: LiveTargets, schedule: str
) -> None:
    settings = replace(FAST, epochs=3, schedule=schedule, warmup_share=0.3, decay_share=0.5)  # type: ignore[arg-type]
    objective = Objective(soft_weight=0.9, soft_weight_final=0.1, loss_temperature=2.0)
    _, result = train(tmp_path, source=live, settings=settings, objective=objective)
    weights = set()
    for record in trainings(tmp_path):
        step = record["step"] - 1
        scale = learning_rate_scale(
            step, result.steps, warmup_share=0.3, schedule=settings.schedule, decay_share=0.5
        )
        assert record["learning_rate"] == pytest.approx(scale * settings.learning_rate)
        weight = soft_weight_at(
            step, result.steps, soft_weight=0.9, soft_weight_final=0.1, decay_share=0.5
        )
        mixed = weight * record["train_divergence"] + (1 - weight) * record["train_nats"]
        assert record["train_loss"] == pytest.approx(mixed, rel=1e-5)
        weights.add(round(weight, 6))
    assert max(weights) == 0.9
    assert min(weights) <= 0.2


def test_the_learning_rate_moves_the_weights_as_scheduled(tmp_path: Path) -> None:
    settings = replace(FAST, epochs=1, warmup_share=0.7)
    _, result = train(tmp_path, settings=settings)
    assert result.steps >= 3
    expected = [
        learning_rate_scale(step, result.steps, warmup_share=0.7) for step in range(result.steps)
    ]
    assert len(set(expected)) > 1
    rates = [record["learning_rate"] / settings.learning_rate for record in trainings(tmp_path)]
    assert rates == pytest.approx(expected)
    at_once = replace(FAST, token_budget=1, warmup_share=0.0, weight_decay=0.0)
    first, _ = train(tmp_path / "one", settings=at_once)
    # Adam's first step moves every weight that has a gradient by the learning rate.
    moved = (first.lm_head.weight - tiny_student("pruned").lm_head.weight).abs().max()
    scale = learning_rate_scale(0, 1, warmup_share=0.0)
    assert moved.item() == pytest.approx(scale * FAST.learning_rate, rel=1e-2)


def test_the_temperature_reaches_the_loss_with_its_square(
    tmp_path: Path, live: LiveTargets
) -> None:
    first = {}
    for heat in (1.0, 50.0, 100.0):
        objective = Objective(soft_weight=1.0, loss_temperature=heat)
        train(
            tmp_path / str(heat),
            source=live,
            settings=replace(FAST, token_budget=1),
            objective=objective,
        )
        first[heat] = trainings(tmp_path / str(heat))[0]
    assert first[1.0]["train_nats"] == first[100.0]["train_nats"]  # the text is not softened
    assert first[1.0]["train_loss"] != first[50.0]["train_loss"]
    assert first[100.0]["train_loss"] > 0.1
    # Hot, it is half the variance of the difference of logits, whatever the temperature: the square
    # keeps its size.
    assert first[50.0]["train_loss"] == pytest.approx(first[100.0]["train_loss"], rel=0.1)


@pytest.mark.parametrize("student", ["pruned", "rnn"])
def test_bfloat16_is_near_float32_and_leaves_float32_weights(
    tmp_path: Path, live: LiveTargets, student: str
) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        model, _ = train(
            tmp_path / precision,
            model=tiny_student(student),
            source=live,
            settings=replace(FAST, precision=precision),
        )
        losses[precision] = [record["train_loss"] for record in trainings(tmp_path / precision)]
        assert {weight.dtype for weight in model.state_dict().values()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.03)


def test_gradients_are_clipped_and_their_norm_before_that_is_recorded(
    tmp_path: Path, live: LiveTargets
) -> None:
    settings = replace(FAST, token_budget=1, clip_norm=0.01)
    train(tmp_path, source=live, settings=settings)
    assert trainings(tmp_path)[0]["gradient_norm"] > 1.0
    found = read_newest(tmp_path / "checkpoints")
    assert found is not None
    moments = [value for name, value in found[0].items() if name.startswith("optimizer.exp_avg.")]
    norm = math.sqrt(sum(value.double().square().sum().item() for value in moments)) / (
        1 - settings.betas[0]
    )
    assert norm == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("learning_rate", "reason"), [(3.0, "has exploded"), (1e38, "is not a number")]
)
def test_a_run_that_explodes_stops_and_a_lower_learning_rate_trains(
    tmp_path: Path, live: LiveTargets, learning_rate: float, reason: str
) -> None:
    settings = replace(
        FAST, epochs=20, checkpoint_every_steps=1, learning_rate=learning_rate, warmup_share=0.0
    )
    with pytest.raises(
        TrainingDiverged, match=rf"(at|after) step \d+ .*{reason}.*Lower learning_rate.*checkpoint"
    ):
        train(tmp_path, source=live, settings=settings)
    kept = read_newest(tmp_path / "checkpoints")
    assert (kept is None) == (
        learning_rate == 1e38
    )  # whose first step leaves no weight that is a number
    if kept is not None:
        assert kept[1]["counters"]["step"] >= 1
        assert all(
            value.isfinite().all() for value in kept[0].values() if value.is_floating_point()
        )
    # The same again says the same, from the checkpoint.
    with pytest.raises(TrainingDiverged, match=reason):
        train(tmp_path, source=live, settings=settings)
    model, result = train(
        tmp_path, source=live, settings=replace(settings, learning_rate=3e-3, epochs=1)
    )
    assert math.isfinite(result.best_validation_loss)
    assert trainings(tmp_path)[0]["step"] == 1
    assert all(weight.isfinite().all() for weight in model.state_dict().values())


def test_a_gradient_that_is_not_a_number_reaches_no_weight(
    tmp_path: Path, live: LiveTargets
) -> None:
    """The loss of that step is finite: only the norm of the gradient tells."""
    model, passes, settings = tiny_student("pruned"), [], replace(FAST, checkpoint_every_steps=1)
    healthy = sum(len(step) for step in plan_steps(TRAIN, settings, pack=True).steps[:2])

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        passes.append(1)
        return gradient * math.nan if len(passes) > healthy else gradient

    model.lm_head.weight.register_hook(spoil)
    with pytest.raises(TrainingDiverged, match=r"at step 3 .*is not a number"):
        train(tmp_path, model=model, source=live, settings=settings)
    kept = read_newest(tmp_path / "checkpoints")
    assert kept is not None
    assert kept[1]["counters"]["step"] == 2
    assert all(value.isfinite().all() for value in kept[0].values() if value.is_floating_point())


def test_a_student_that_begins_far_above_guessing_has_not_exploded(
    tmp_path: Path, live: LiveTargets
) -> None:
    model = tiny_llama(1)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    train(tmp_path, model=model, source=live, settings=replace(FAST, epochs=1))
    assert trainings(tmp_path)[0]["train_loss"] > 5 * math.log(VOCABULARY)


def test_a_control_is_the_same_run_without_the_teacher(tmp_path: Path, live: LiveTargets) -> None:
    objective = Objective("reverse_kl", soft_weight=0.3)
    train(tmp_path / "student", source=live, objective=objective)
    train(tmp_path / "control", objective=objective)
    ours, theirs = trainings(tmp_path / "student"), trainings(tmp_path / "control")
    assert [(one["step"], one["epoch"], one["learning_rate"]) for one in ours] == [
        (one["step"], one["epoch"], one["learning_rate"]) for one in theirs
    ]
    assert ours[0]["train_nats"] == theirs[0]["train_nats"]  # the same first batch, before any step
    assert all(record["train_divergence"] is None for record in theirs)
    assert all(record["train_loss"] == pytest.approx(record["train_nats"]) for record in theirs)
    # A teacher that weighs nothing is no teacher.
    nobody, _ = train(tmp_path / "nobody", source=live, objective=Objective(soft_weight=0.0))
    alone, _ = train(tmp_path / "alone")
    for name, weight in nobody.state_dict().items():
        assert torch.allclose(weight, alone.state_dict()[name], atol=1e-4), name
