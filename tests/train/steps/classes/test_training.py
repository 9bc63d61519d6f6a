"""The loop: what it learns, what it writes, what it promises about accumulation, patience and
divergence."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.train.tiny import CLASSES, PAD, TinyStudent, tiny_rows
from tests.train.tiny_training import FAST, Listening, records, same_weights, train

from tutelage.data.examples.collate import EncodedSet
from tutelage.errors import TrainingDiverged
from tutelage.losses import ForwardKL, Objective
from tutelage.train.journal import read_newest
from tutelage.train.steps.classes.step import TIMES_GUESSING_A_CLASS, validate_rows


def test_it_learns_and_writes_what_it_learnt(tmp_path):
    before = validate_rows(TinyStudent(), tiny_rows(40, seed=1), ForwardKL(), pad_id=PAD)
    progress = Listening()
    model, result = train(
        tmp_path, progress=progress, settings=replace(FAST, learning_rate=3e-2, epochs=9)
    )
    assert not model.training
    validations = [record for record in records(tmp_path) if "validation_loss" in record]
    trainings = [record for record in records(tmp_path) if "train_loss" in record]
    assert [(record["step"], record["epoch"]) for record in validations] == [
        (6 * n, float(n)) for n in range(1, 10)
    ]
    assert {*range(6, 55, 6), 20, 40} == {record["step"] for record in trainings}
    assert {*trainings[0]} == {"step", "epoch", "train_loss", "learning_rate"}
    assert {*validations[0]} == {"step", "epoch", "validation_loss", "validation_accuracy"}
    assert result.steps == progress.total == progress.done == 54
    assert result.best_validation_loss == min(record["validation_loss"] for record in validations)
    assert result.best_validation_loss < 0.5 * before.loss
    assert validations[-1]["validation_accuracy"] > 0.8
    assert result.seconds > 0
    assert list((tmp_path / "tensorboard").rglob("events.out.tfevents.*"))
    assert not [
        path for path in tmp_path.rglob("*") if path.suffix in {".bin", ".pt", ".pkl", ".pth"}
    ]


def test_training_loss_is_recorded_every_twenty_steps_and_at_the_end_of_an_epoch(tmp_path):
    train(tmp_path, settings=replace(FAST, batch_size=2, epochs=1))
    assert [record["step"] for record in records(tmp_path) if "train_loss" in record] == [
        20,
        40,
        45,
    ]


def test_the_first_record_is_the_mean_cost_of_its_rows(tmp_path):
    rows = tiny_rows(48)
    settings = replace(FAST, epochs=1, batch_size=48)
    train(tmp_path, model=TinyStudent(dropout=0.0), rows=rows, settings=settings)
    expected = validate_rows(TinyStudent(dropout=0.0), rows, ForwardKL(), pad_id=PAD).loss
    assert records(tmp_path)[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_best_weights_are_left_in_the_model(tmp_path):
    settings = replace(FAST, epochs=6, learning_rate=0.3)
    rows = tiny_rows(labelled=0.0)
    wrong = tiny_rows(40, seed=1)
    wrong = EncodedSet(
        wrong.input_ids, wrong.labels, np.roll(wrong.teacher_probs, 1, axis=1)
    )  # learning makes it worse
    model, result = train(tmp_path, rows=rows, validation=wrong, settings=settings)
    losses = [
        record["validation_loss"] for record in records(tmp_path) if "validation_loss" in record
    ]
    assert result.best_step < result.steps
    assert result.best_validation_loss == min(losses) < losses[-1]
    assert validate_rows(model, wrong, ForwardKL(), pad_id=PAD).loss == result.best_validation_loss


def test_patience_ends_a_run(tmp_path):
    wrong = tiny_rows(40, seed=1)
    wrong = EncodedSet(wrong.input_ids, wrong.labels, np.roll(wrong.teacher_probs, 1, axis=1))
    _, result = train(
        tmp_path, validation=wrong, settings=replace(FAST, epochs=30, learning_rate=0.1, patience=2)
    )
    assert result.steps == result.best_step + 2 * 6
    assert result.steps < 30 * 6
    _, again = train(
        tmp_path, validation=wrong, settings=replace(FAST, epochs=30, learning_rate=0.1, patience=2)
    )
    assert (again.steps, again.best_step, again.best_validation_loss) == (
        result.steps,
        result.best_step,
        result.best_validation_loss,
    )


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_what_is_validated_is_what_is_saved(tmp_path, ema_decay):
    model, result = train(tmp_path, settings=replace(FAST, ema_decay=ema_decay))
    assert (
        validate_rows(model, tiny_rows(40, seed=1), ForwardKL(), pad_id=PAD).loss
        == result.best_validation_loss
    )
    found = read_newest(tmp_path / "checkpoints")
    assert found is not None
    assert result.best_step == result.steps
    raw = found[0]["model.out.weight"]
    assert torch.equal(model.out.weight, raw) == (ema_decay is None)
    if ema_decay is not None:
        assert torch.equal(model.out.weight, found[0]["average.out.weight"])


def test_accumulation_changes_nothing(tmp_path):
    """The same steps in one batch of 16 and in eight of 2: equal up to the order of float32
    sums."""
    rows = tiny_rows(labelled=0.6)
    results = {}
    for batch_size, accumulation in ((16, 1), (2, 8), (4, 4)):
        settings = replace(
            FAST,
            batch_size=batch_size,
            gradient_accumulation=accumulation,
            word_dropout=0.2,
            ema_decay=0.9,
        )
        out = tmp_path / str(batch_size)
        model, _ = train(out, model=TinyStudent(dropout=0.0), rows=rows, settings=settings)
        results[batch_size] = (model.state_dict(), records(out))
    for batch_size in (2, 4):
        for name, value in results[16][0].items():
            torch.testing.assert_close(results[batch_size][0][name], value, rtol=1e-3, atol=1e-5)
        for one, other in zip(results[16][1], results[batch_size][1], strict=True):
            assert one == pytest.approx(other, rel=1e-4)


class Breaking(TinyStudent):
    """A student whose answers break after so many training batches."""

    def __init__(self, after: int, factor: float, gradient_only: bool = False) -> None:
        super().__init__()
        self.left, self.factor, self.gradient_only = after, factor, gradient_only

    def forward(self, input_ids, attention_mask):
        logits = super().forward(input_ids, attention_mask).logits
        if self.training:
            self.left -= 1
            if self.left < 0:
                if self.gradient_only:
                    logits.register_hook(lambda gradient: gradient * self.factor)
                else:
                    logits = logits * self.factor
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize(
    ("factor", "gradient_only", "message"),
    [
        (float("nan"), False, r"step \d+ \(nan\) is not a number. Lower learning_rate"),
        (float("inf"), True, r"loss or its gradient at step \d+ \(nan\) is not a number"),
        (1e6, False, r"has exploded: it is above 22"),
    ],
)
@pytest.mark.parametrize("after", [3, 7, 20])
def test_a_run_that_diverges_stops_and_keeps_its_last_good_checkpoint(
    tmp_path, factor, gradient_only, message, after
):
    settings = replace(FAST, batch_size=4, epochs=4, checkpoint_every_steps=4)
    with pytest.raises(TrainingDiverged, match=message) as caught:
        train(tmp_path, model=Breaking(after, factor, gradient_only), settings=settings)
    found = read_newest(tmp_path / "checkpoints")
    if after == 3:
        assert found is None
        assert "there was no checkpoint yet" in str(caught.value)
        return
    assert found is not None
    assert str(tmp_path / "checkpoints") in str(caught.value)
    assert found[1]["counters"]["step"] == after - after % 4
    assert all(
        torch.isfinite(value).all()
        for name, value in found[0].items()
        if name.startswith(("model.", "optimizer."))
    )
    assert all(np.isfinite(record.get("train_loss", 0.0)) for record in records(tmp_path))


def test_students_are_trained_one_after_another_without_touching_each_other(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, _ = train(tmp_path / "a")
    second, _ = train(tmp_path / "b", settings=replace(FAST, seed=1))
    third, _ = train(tmp_path / "c")
    assert torch.equal(torch.rand(3), expected), "the generator of the caller was moved"
    assert same_weights(first, third)
    assert not same_weights(first, second)
    assert (tmp_path / "a" / "metrics.jsonl").read_bytes() == (
        tmp_path / "c" / "metrics.jsonl"
    ).read_bytes()


def test_a_stock_encoder_is_trained(tmp_path):
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=CLASSES,
    )
    model = transformers.BertForSequenceClassification(config)
    _, result = train(tmp_path, model=model, settings=replace(FAST, ema_decay=0.9, epochs=4))
    losses = [
        record["validation_loss"] for record in records(tmp_path) if "validation_loss" in record
    ]
    assert result.best_validation_loss == min(losses) < 0.9 * losses[0]


def test_a_loss_that_began_far_above_guessing_has_not_exploded(tmp_path):
    rows = tiny_rows()
    sure = np.full_like(rows.teacher_probs, 1e-37)
    sure[:, 0] = 1.0
    objective = Objective("reverse_kl", loss_temperature=2.0, soft_weight=1.0)
    _, result = train(tmp_path, rows=replace(rows, teacher_probs=sure), objective=objective)
    first = records(tmp_path)[0]["train_loss"]
    assert first > TIMES_GUESSING_A_CLASS * np.log(CLASSES) * 2.0**2
    assert result.best_validation_loss < first
