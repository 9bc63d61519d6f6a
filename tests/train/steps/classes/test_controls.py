"""Controls without a teacher, validation, and the rows that the loop cannot use."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.train.tiny import PAD, TinyStudent, tiny_rows
from tests.train.tiny_training import FAST, same_weights, train

from tutelage.data.examples.collate import collate
from tutelage.errors import DataError
from tutelage.losses import ForwardKL
from tutelage.train.steps.classes.step import validate_rows


class Recording(torch.nn.Module):
    """A student that remembers the batches it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = TinyStudent()
        self.seen: list[list[list[int]]] = []

    def forward(self, input_ids, attention_mask):
        if self.training:
            self.seen.append(input_ids.tolist())
        return self.inner(input_ids, attention_mask)


@pytest.mark.parametrize("word_dropout", [0.0, 0.3])
def test_a_control_on_labelled_rows_sees_the_very_same_batches(tmp_path, word_dropout):
    settings = replace(FAST, word_dropout=word_dropout)
    soft, soft_result = train(tmp_path / "soft", model=Recording(), settings=settings)
    hard, hard_result = train(
        tmp_path / "hard", model=Recording(), settings=settings, use_teacher=False
    )
    assert soft.seen == hard.seen
    assert len(soft.seen) == hard_result.steps == soft_result.steps == 18
    assert not same_weights(soft, hard)


def test_a_control_without_the_unlabelled_rows_takes_as_many_steps(tmp_path):
    rows = tiny_rows(labelled=0.3)
    _, soft = train(tmp_path / "soft", rows=rows)
    control, hard = train(tmp_path / "hard", model=Recording(), rows=rows, use_teacher=False)
    assert hard.steps == soft.steps
    labelled = {tuple(rows.input_ids[row]) for row in rows.labelled}
    seen = [
        tuple(token for token in ids if token != PAD) for batch in control.seen for ids in batch
    ]
    assert set(seen) == labelled
    assert len(seen) == 3 * len(rows)


def test_a_control_is_validated_by_cross_entropy_and_does_not_look_at_soft_targets(tmp_path):
    with_targets, result = train(tmp_path / "a", use_teacher=False)
    bare = tiny_rows(teacher=False), tiny_rows(40, seed=1, teacher=False)
    without, again = train(tmp_path / "b", rows=bare[0], validation=bare[1], use_teacher=False)
    assert same_weights(with_targets, without)
    assert result.best_validation_loss == again.best_validation_loss
    batch = collate(bare[1], np.arange(40), pad_id=PAD)
    logits = with_targets(batch["input_ids"], batch["attention_mask"]).logits
    expected = torch.nn.functional.cross_entropy(logits, batch["labels"]).item()
    assert result.best_validation_loss == pytest.approx(expected, rel=1e-5)


def test_validation_is_the_objective_without_noise_and_knows_its_labels():
    rows = tiny_rows(300, labelled=0.5)
    student = TinyStudent(dropout=0.9).train()
    found = validate_rows(
        student, rows, ForwardKL(loss_temperature=2.0, soft_weight=0.6), pad_id=PAD
    )
    assert student.training
    student.eval()
    batch = collate(rows, np.arange(300), pad_id=PAD)
    logits = student(batch["input_ids"], batch["attention_mask"]).logits
    costs = ForwardKL(loss_temperature=2.0, soft_weight=0.6)(
        logits, batch["teacher_logprobs"], batch["labels"]
    )
    assert found.loss == pytest.approx(costs.mean().item(), rel=1e-5)
    right = (logits.argmax(dim=-1).numpy() == rows.labels)[rows.labelled]
    assert found.accuracy == pytest.approx(right.mean())
    assert (
        validate_rows(student, tiny_rows(9, labelled=0.0), ForwardKL(), pad_id=PAD).accuracy is None
    )


def test_validation_rows_without_soft_targets_are_measured_by_their_labels(tmp_path):
    validation = tiny_rows(40, seed=1, teacher=False)
    model, result = train(tmp_path, validation=validation)
    hard = validate_rows(model, validation, ForwardKL(), pad_id=PAD)
    assert result.best_validation_loss == hard.loss


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"rows": tiny_rows(teacher=False)},
            r"training rows carry no soft targets: label them first",
        ),
        (
            {"rows": tiny_rows(labelled=0.0), "use_teacher": False},
            r"none of the 90 training rows has a label",
        ),
        ({"rows": tiny_rows().select([])}, r"no row to learn from"),
        (
            {"validation": tiny_rows(8, labelled=0.0, teacher=False)},
            r"8 validation rows have neither labels nor soft targets.*give labelled rows",
        ),
        (
            {"validation": tiny_rows(8, labelled=0.0), "use_teacher": False},
            r"8 validation rows have no labels",
        ),
        (
            {"settings": replace(FAST, word_dropout=0.1), "unknown_id": None},
            r"word_dropout=0.1 given, but the tokenizer",
        ),
    ],
)
def test_rows_that_cannot_be_used_are_refused_before_anything_is_written(
    tmp_path, options, message
):
    with pytest.raises(DataError, match=message):
        train(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
