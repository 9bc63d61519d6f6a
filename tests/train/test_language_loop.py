"""The loop of a language model: what changes nothing, what reaches the loss, what stops a run and what it leaves."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_loop import Listening, records, same_weights
from tests.train.tiny_language import (
    PAD,
    VOCABULARY,
    tiny_documents,
    tiny_llama,
    tiny_student,
    tiny_targets,
    tiny_teacher,
)

from tutelage.errors import DataError, TargetsIncomplete, TrainingDiverged
from tutelage.losses import Divergence
from tutelage.train import LanguageObjective, LanguageTrainSettings, LiveTargets, train_language_model
from tutelage.train.checkpoints import read_newest
from tutelage.train.language_settings import language_learning_rate_scale, soft_weight_at
from tutelage.train.language_step import LanguageStep, micro_batch
from tutelage.types import Document

CPU = torch.device("cpu")
FAST = LanguageTrainSettings(
    epochs=2, batch_tokens=64, micro_batch_tokens=32, sequence_length=32, learning_rate=3e-3, precision="float32"
)
TRAIN, VALIDATION = tiny_documents(24, share=0.8), tiny_documents(6, seed=1)


def train(out: Path, *, model: Any = None, source: Any = None, settings=FAST, objective=None, train=TRAIN, **options):
    model = tiny_student("pruned") if model is None else model
    result = train_language_model(
        model,
        PAD,
        train,
        options.pop("validation", VALIDATION),
        source=source,
        objective=objective or LanguageObjective(),
        settings=settings,
        out=out,
        vocabulary=VOCABULARY,
        **options,
    )
    return model, result


def trainings(out: Path) -> list[dict[str, Any]]:
    return [record for record in records(out) if "train_loss" in record]


def validations(out: Path) -> list[dict[str, Any]]:
    return [record for record in records(out) if "validation_loss" in record]


@pytest.fixture(scope="module")
def live() -> LiveTargets:
    return LiveTargets(tiny_teacher())


@pytest.mark.parametrize("student", ["pruned", "transformer", "rnn", "lora"])
def test_every_student_learns_from_the_teacher_and_its_best_weights_are_left(
    tmp_path: Path, live: LiveTargets, student: str
) -> None:
    settings = replace(FAST, epochs=6, learning_rate=2e-2)
    progress = Listening()
    model, result = train(
        tmp_path, model=tiny_student(student), source=live, settings=settings, train=VALIDATION, progress=progress
    )
    seen = validations(tmp_path)
    assert len(seen) == 6
    assert seen[-1]["validation_divergence"] < 0.96 * seen[0]["validation_divergence"]
    assert result.best_validation_loss == min(record["validation_loss"] for record in seen)
    assert result.steps == progress.total == progress.done == len(trainings(tmp_path))
    assert not model.training
    # Trained once more without a step's worth of learning, the first validation is that of the weights left.
    again, _ = train(
        tmp_path / "again", model=model, source=live, settings=replace(FAST, epochs=1, learning_rate=1e-12)
    )
    found = validations(tmp_path / "again")[0]["validation_loss"]
    assert found == pytest.approx(result.best_validation_loss, rel=1e-4)
    assert again is model


def test_weights_that_were_better_before_are_put_back(tmp_path: Path, live: LiveTargets) -> None:
    settings = replace(FAST, epochs=5, learning_rate=0.3, warmup_share=1.0)  # ever faster, and too fast in the end
    model, result = train(tmp_path, source=live, settings=settings)
    losses = [record["validation_loss"] for record in validations(tmp_path)]
    assert losses[-1] > 1.2 * min(losses)
    assert result.best_validation_loss == min(losses)
    train(tmp_path / "again", model=model, source=live, settings=replace(FAST, epochs=1, learning_rate=1e-12))
    found = validations(tmp_path / "again")[0]["validation_loss"]
    assert found == pytest.approx(result.best_validation_loss, rel=1e-4)


def test_accumulation_changes_nothing_but_rounding(tmp_path: Path, live: LiveTargets) -> None:
    documents = tiny_documents(32, longest=8)
    runs = {}
    for micro in (8, 16, 64):  # 8 micro-batches a step, 4, 1
        settings = replace(FAST, batch_tokens=64, micro_batch_tokens=micro, sequence_length=8, clip_norm=0.5)
        model, _ = train(
            tmp_path / str(micro), source=live, settings=settings, train=documents, validation=documents[:4]
        )
        runs[micro] = (model, records(tmp_path / str(micro)))
    for model, found in (runs[8], runs[16]):
        expected_model, expected = runs[64]
        assert len(found) == len(expected)
        for record, other in zip(found, expected, strict=True):
            assert record == pytest.approx(other, rel=2e-3)
        for name, weight in model.state_dict().items():
            other = expected_model.state_dict()[name]
            assert torch.allclose(weight, other, rtol=0, atol=2e-4 * max(1.0, other.abs().max().item())), name


def test_a_token_budget_ends_training_within_a_step(tmp_path: Path, live: LiveTargets) -> None:
    tokens = sum(len(document.token_ids) for document in TRAIN)
    for budget in (tokens // 2, 2 * tokens + 10):
        out = tmp_path / str(budget)
        settings = replace(FAST, token_budget=budget, epochs=1)
        model, result = train(out, source=live, settings=settings)
        assert result.steps * FAST.batch_tokens >= budget
        assert result.steps == len(trainings(out))
        # Steps are not quite full, so there are somewhat more than budget / batch.
        assert math.ceil(budget / FAST.batch_tokens) <= result.steps <= 1.5 * budget / FAST.batch_tokens + 1
        assert validations(out)[-1]["step"] == result.steps
        assert not model.training


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_schedule_and_soft_weight_reach_the_optimizer_and_the_loss(
    tmp_path: Path, live: LiveTargets, schedule: str
) -> None:
    settings = replace(FAST, epochs=3, schedule=schedule, warmup_share=0.3, decay_share=0.5)  # type: ignore[arg-type]
    objective = LanguageObjective(soft_weight=0.9, soft_weight_final=0.1, loss_temperature=2.0)
    _, result = train(tmp_path, source=live, settings=settings, objective=objective)
    weights = set()
    for record in trainings(tmp_path):
        step = record["step"] - 1
        scale = language_learning_rate_scale(step, result.steps, settings)
        assert record["learning_rate"] == pytest.approx(scale * settings.learning_rate)
        weight = soft_weight_at(step, result.steps, soft_weight=0.9, soft_weight_final=0.1, decay_share=0.5)
        mixed = weight * record["train_divergence"] + (1 - weight) * record["train_nats"]
        assert record["train_loss"] == pytest.approx(mixed, rel=1e-5)
        weights.add(round(weight, 6))
    assert max(weights) == 0.9
    assert min(weights) <= 0.2


def test_the_learning_rate_moves_the_weights_as_scheduled(tmp_path: Path) -> None:
    _, result = train(tmp_path, settings=replace(FAST, epochs=1, warmup_share=1.0, checkpoint_every_steps=1))
    assert result.steps >= 3
    first, _ = train(tmp_path / "one", settings=replace(FAST, token_budget=1, warmup_share=0.0, weight_decay=0.0))
    # Adam's first step moves every weight that has a gradient by the learning rate.
    moved = (first.lm_head.weight - tiny_student("pruned").lm_head.weight).abs().max()
    scale = language_learning_rate_scale(0, 1, FAST)
    assert moved.item() == pytest.approx(scale * FAST.learning_rate, rel=1e-2)


def test_the_temperature_reaches_the_loss_with_its_square(tmp_path: Path, live: LiveTargets) -> None:
    first = {}
    for heat in (1.0, 50.0, 100.0):
        objective = LanguageObjective(soft_weight=1.0, loss_temperature=heat)
        train(tmp_path / str(heat), source=live, settings=replace(FAST, token_budget=1), objective=objective)
        first[heat] = trainings(tmp_path / str(heat))[0]
    assert first[1.0]["train_nats"] == first[100.0]["train_nats"]  # the text is not softened
    assert first[1.0]["train_loss"] != first[50.0]["train_loss"]
    assert first[100.0]["train_loss"] > 0.1
    # Hot, it is half the variance of the difference of logits, whatever the temperature: the square keeps its size.
    assert first[50.0]["train_loss"] == pytest.approx(first[100.0]["train_loss"], rel=0.1)


@pytest.mark.parametrize("student", ["pruned", "rnn"])
def test_bfloat16_is_near_float32_and_leaves_float32_weights(tmp_path: Path, live: LiveTargets, student: str) -> None:
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


def test_gradients_are_clipped_and_their_norm_before_that_is_recorded(tmp_path: Path, live: LiveTargets) -> None:
    settings = replace(FAST, token_budget=1, clip_norm=0.01)
    train(tmp_path, source=live, settings=settings)
    assert trainings(tmp_path)[0]["gradient_norm"] > 1.0
    found = read_newest(tmp_path / "checkpoints")
    assert found is not None
    moments = [value for name, value in found[0].items() if name.startswith("optimizer.exp_avg.")]
    norm = math.sqrt(sum(value.double().square().sum().item() for value in moments)) / (1 - settings.betas[0])
    assert norm == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("learning_rate", "reason"), [(3.0, "has exploded"), (1e38, "is not a number")])
def test_a_run_that_explodes_stops_and_a_lower_learning_rate_trains(
    tmp_path: Path, live: LiveTargets, learning_rate: float, reason: str
) -> None:
    settings = replace(FAST, epochs=20, checkpoint_every_steps=1, learning_rate=learning_rate, warmup_share=0.0)
    with pytest.raises(TrainingDiverged, match=rf"at step \d+ .*{reason}.*Lower learning_rate.*checkpoint is in"):
        train(tmp_path, source=live, settings=settings)
    kept = read_newest(tmp_path / "checkpoints")
    assert kept is not None
    assert kept[1]["counters"]["step"] >= 1
    assert all(value.isfinite().all() for name, value in kept[0].items() if name.startswith("best."))
    # The same again says the same, from the checkpoint.
    with pytest.raises(TrainingDiverged, match=reason):
        train(tmp_path, source=live, settings=settings)
    model, result = train(tmp_path, source=live, settings=replace(settings, learning_rate=3e-3, epochs=1))
    assert math.isfinite(result.best_validation_loss)
    assert trainings(tmp_path)[0]["step"] == 1
    assert all(weight.isfinite().all() for weight in model.state_dict().values())


def test_a_student_that_begins_far_above_guessing_has_not_exploded(tmp_path: Path, live: LiveTargets) -> None:
    model = tiny_llama(1)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    train(tmp_path, model=model, source=live, settings=replace(FAST, epochs=1))
    assert trainings(tmp_path)[0]["train_loss"] > 5 * math.log(VOCABULARY)


class Untouchable(torch.nn.Module):
    """A student that must not be asked for anything."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config
        self.base_model = model.model

    def forward(self, *_: Any, **__: Any) -> None:
        raise AssertionError("something was computed")


def test_a_document_without_targets_is_named_before_anything_is_computed(tmp_path: Path) -> None:
    source = tiny_targets(tiny_teacher(), [*TRAIN, *VALIDATION[:-1]], tmp_path / "targets")
    with pytest.raises(TargetsIncomplete, match=r"1 of 30 documents, the first is train\.jsonl row 6 \(\d+ tokens\)"):
        train(tmp_path / "out", model=Untouchable(tiny_llama()), source=source)
    assert not (tmp_path / "out").exists()


def test_documents_that_cannot_be_trained_on_are_told_before_anything_is_computed(tmp_path: Path) -> None:
    nothing = [Document(document.token_ids, document.trained & False) for document in TRAIN]
    short = replace(FAST, sequence_length=4)
    model = Untouchable(tiny_llama())
    with pytest.raises(DataError, match="nothing to learn from; expected texts of two tokens or more"):
        train(tmp_path, model=model, train=nothing)
    with pytest.raises(DataError, match="nothing to validate on"):
        train(tmp_path, model=model, validation=nothing)
    few = [document for document in TRAIN if len(document.token_ids) <= 4]
    for changes in ({}, {"train": few}):
        with pytest.raises(DataError, match=r"train\.jsonl row \d+ has \d+ tokens, more than sequence_length 4"):
            train(tmp_path, model=model, settings=short, **changes)
    context = LiveTargets(tiny_teacher(tiny_llama(7, max_position_embeddings=12)))
    with pytest.raises(DataError, match="reads at most 12"):
        train(tmp_path, model=model, source=context)


def test_documents_with_nothing_to_predict_change_nothing(tmp_path: Path) -> None:
    silent = Document(TRAIN[0].token_ids, TRAIN[0].trained & False)
    one, _ = train(tmp_path / "one")
    other, _ = train(tmp_path / "other", train=[*TRAIN[:5], silent, *TRAIN[5:]])
    assert same_weights(one, other)


def test_targets_written_in_another_order_train_the_same_student(tmp_path: Path) -> None:
    documents = [*TRAIN, *VALIDATION]
    left = []
    for name, order in (("as it is", documents), ("backwards", documents[::-1])):
        source = tiny_targets(tiny_teacher(), order, tmp_path / name / "targets", threshold=0.05)
        train(tmp_path / name, source=source)
        left.append([list(record.values()) for record in records(tmp_path / name)])
    for one, other in zip(*left, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_control_is_the_same_run_without_the_teacher(tmp_path: Path, live: LiveTargets) -> None:
    objective = LanguageObjective(Divergence("reverse_kl"), soft_weight=0.3)
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
    nobody, _ = train(tmp_path / "nobody", source=live, objective=LanguageObjective(soft_weight=0.0))
    alone, _ = train(tmp_path / "alone")
    for name, weight in nobody.state_dict().items():
        assert torch.allclose(weight, alone.state_dict()[name], atol=1e-4), name


def test_the_loss_does_not_depend_on_how_much_of_a_batch_is_trained(tmp_path: Path) -> None:
    """Twice the same document in a step costs what it costs once: a mean over trained tokens, not over documents."""
    document = tiny_documents(1, longest=14, seed=5)[0]
    first = []
    for copies in (1, 2, 4):
        settings = replace(FAST, token_budget=1, batch_tokens=200, micro_batch_tokens=16)
        train(tmp_path / str(copies), settings=settings, train=[document] * copies)
        first.append(trainings(tmp_path / str(copies))[0])
    for record in first[1:]:
        assert record["train_loss"] == pytest.approx(first[0]["train_loss"], rel=1e-5)
        assert record["gradient_norm"] == pytest.approx(first[0]["gradient_norm"], rel=1e-4)


def test_what_is_masked_is_read_and_never_learned(tmp_path: Path) -> None:
    """A prompt, or the output of a tool: without a mask the student learns to write it, with one it does not."""
    draw = np.random.default_rng(0)
    ids = [np.array([1, *draw.integers(20, 24, 6), *range(30, 34)], np.int32) for _ in range(24)]
    prompts, answers = np.arange(11) < 7, np.arange(11) >= 7
    settings = replace(FAST, epochs=5, learning_rate=3e-2, schedule="wsd")

    def learned(name: str, trained: Any) -> tuple[float, float]:
        documents = [Document(one, trained) for one in ids]
        model, _ = train(
            tmp_path / name, model=tiny_llama(1, spread=1.0), settings=settings, train=documents, validation=documents
        )
        return nats_of(model, ids, prompts & (np.arange(11) > 0)), nats_of(model, ids, answers)

    prompt_masked, answer_masked = learned("masked", answers)
    prompt_all, answer_all = learned("all", np.arange(11) > 0)
    assert answer_masked < 0.3
    assert answer_all < 0.3
    assert prompt_all < 2.0  # four tokens by chance: log 4 is 1.4
    assert prompt_masked > 5.0


def nats_of(model: Any, ids: list[Any], trained: Any) -> float:
    documents = [Document(one, trained) for one in ids]
    batch = micro_batch(documents, [[place] for place in range(len(ids))], source=None, pad_id=PAD, device=CPU)
    with torch.no_grad():
        step = LanguageStep(model.eval(), LanguageObjective(), vocabulary=VOCABULARY)
        return step(batch, soft_weight=0.0, total=len(batch.packed.labels))[0].item()
