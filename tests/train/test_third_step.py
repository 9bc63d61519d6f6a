"""A kind of student that the package does not know, a tiny regression, in the same loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.tiny_training import Listening, records
from torch import Tensor, nn

from tutelage.errors import TrainingDiverged
from tutelage.train import Course, LoopSettings, Step, TrainResult, train
from tutelage.train.journal import read_newest

SETTINGS = LoopSettings(
    epochs=4,
    learning_rate=0.05,
    embedding_learning_rate=None,
    weight_decay=0.0,
    warmup_share=0.1,
    clip_norm=1.0,
    checkpoint_every_steps=3,
)
ROWS, ROWS_PER_STEP, ROWS_PER_BATCH = 40, 8, 4
STEPS_PER_EPOCH = ROWS // ROWS_PER_STEP


class RegressionStep:
    """Numbers from vectors, with noise: rows in turn, squared errors."""

    def __init__(self, *, ceiling: float = 100.0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.inputs = torch.randn(ROWS, 3)
            self.answers = self.inputs @ torch.tensor([1.0, -2.0, 0.5])
            self.model = self.module = nn.Sequential(nn.Dropout(0.1), nn.Linear(3, 1))
        self.course = Course(
            total_steps=SETTINGS.epochs * STEPS_PER_EPOCH,
            steps_per_epoch=STEPS_PER_EPOCH,
            epoch_ends=range(STEPS_PER_EPOCH, 1000, STEPS_PER_EPOCH),
            log_every_steps=4,
            evaluate_every_steps=7,
            ema_decay=0.9,
        )
        self.identity = ("regression", (self.inputs.numpy(), self.answers.numpy(), ceiling))
        self.highest = ceiling

    def learning_rate_scale(self, step: int) -> float:
        return 1.0 if step < 10 else 0.5

    def size(self, step: int) -> int:
        return ROWS_PER_STEP

    def batches(self, step: int, accelerator: Any) -> Iterator[Tensor]:
        first = step % STEPS_PER_EPOCH * ROWS_PER_STEP
        yield from torch.arange(first, first + ROWS_PER_STEP).split(ROWS_PER_BATCH)

    def cost(self, module: Any, batch: Tensor, *, step: int) -> tuple[Tensor, Tensor]:
        errors = module(self.inputs[batch])[:, 0] - self.answers[batch]
        costs = errors.square()
        sums = torch.stack([costs.sum(), errors.abs().sum()])
        return costs.sum() / self.size(step), sums.detach()

    def describe(
        self, sums: Sequence[float], *, rows: int, gradient_norm: float | None
    ) -> tuple[float, dict[str, float | None]]:
        return sums[0] / rows, {"mean_error": sums[1] / rows}

    def validate(self, accelerator: Any) -> tuple[float, dict[str, float | None]]:
        self.model.eval()
        with torch.no_grad():
            loss = (self.model(self.inputs)[:, 0] - self.answers).square().mean()
        self.model.train()
        return float(loss), {"first_weight": self.model[1].weight[0, 0].item()}

    def ceiling(self, first_loss: float) -> float:
        return self.highest


def trained(
    out: Path, *, progress: Any = None, ceiling: float = 100.0
) -> tuple[RegressionStep, TrainResult]:
    step = RegressionStep(ceiling=ceiling)
    checked: Step = step
    progress = progress or Listening()
    return step, train(checked, settings=SETTINGS, out=out, progress=progress)


def test_it_is_trained_recorded_and_left_with_its_best_weights(tmp_path: Path) -> None:
    step, result = trained(tmp_path)
    found = records(tmp_path)
    learned = [record for record in found if "train_loss" in record]
    judged = [record for record in found if "validation_loss" in record]
    assert [record["step"] for record in learned] == [4, 5, 8, 10, 12, 15, 16, 20]
    assert [record["step"] for record in judged] == [5, 7, 10, 14, 15, 20]
    assert list(learned[0]) == ["step", "epoch", "train_loss", "mean_error", "learning_rate"]
    assert list(judged[0]) == ["step", "epoch", "validation_loss", "first_weight"]
    assert [record["learning_rate"] for record in learned] == [0.05] * 4 + [0.025] * 4
    assert judged[-1]["validation_loss"] < 0.7 * judged[0]["validation_loss"]
    assert result.best_validation_loss == min(record["validation_loss"] for record in judged)
    assert not step.model.training
    assert step.validate(None)[0] == result.best_validation_loss


def test_the_first_record_is_of_the_rows_since_the_beginning(tmp_path: Path) -> None:
    step = RegressionStep()
    step.model[0].p = 0.0
    frozen = replace(SETTINGS, learning_rate=1e-12)
    expected = (step.model(step.inputs)[:, 0] - step.answers).square()[: 4 * ROWS_PER_STEP].mean()
    train(step, settings=frozen, out=tmp_path)
    assert records(tmp_path)[0]["train_loss"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("stop_at", [1, 3, 4, 7, 11, 20])
def test_a_stopped_run_goes_on_and_leaves_the_same(tmp_path: Path, stop_at: int) -> None:
    whole, result = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", progress=Listening(stop_at))
    again = Listening()
    other, once_more = trained(tmp_path / "stopped", progress=again)
    known = max((step for step in (3, 5, 6, 9, 10, 12, 15, 18) if step < stop_at), default=0)
    assert again.said == ([f"Training: going on from step {known} of 20"] if known else [])
    assert (tmp_path / "stopped" / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()
    assert all(
        torch.equal(value, other.model.state_dict()[name])
        for name, value in whole.model.state_dict().items()
    )
    assert once_more.best_step == result.best_step


def test_a_loss_above_the_ceiling_stops_before_the_weights_move(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"at step 1 .*has exploded: it is above 0\.1"):
        trained(tmp_path, ceiling=0.1)
    assert read_newest(tmp_path / "checkpoints") is None
