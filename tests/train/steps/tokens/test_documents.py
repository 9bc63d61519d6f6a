"""Documents in the loop of a language model: which are refused, and what of them does or does not
count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.tiny_language import (
    PAD,
    VOCABULARY,
    tiny_documents,
    tiny_llama,
    tiny_targets,
    tiny_teacher,
)
from tests.train.tiny_language_training import FAST, TRAIN, VALIDATION, train, trainings
from tests.train.tiny_training import records, same_weights

from tutelage.errors import DataError, TargetsIncomplete
from tutelage.losses import Objective
from tutelage.train import LiveTargets
from tutelage.train.steps.tokens.loss import TokenLoss, micro_batch
from tutelage.types import Document

CPU = torch.device("cpu")


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
    with pytest.raises(
        TargetsIncomplete,
        match=r"1 of 30 documents, the first is train\.jsonl row 6 \(\d+ tokens\)",
    ):
        train(tmp_path / "out", model=Untouchable(tiny_llama()), source=source)
    assert not (tmp_path / "out").exists()


def test_documents_that_cannot_be_trained_on_are_told_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    nothing = [Document(document.token_ids, document.trained & False) for document in TRAIN]
    short = replace(FAST, sequence_length=4)
    model = Untouchable(tiny_llama())
    with pytest.raises(
        DataError, match="nothing to learn from; expected texts of two tokens or more"
    ):
        train(tmp_path, model=model, train=nothing)
    with pytest.raises(DataError, match="nothing to validate on"):
        train(tmp_path, model=model, validation=nothing)
    few = [document for document in TRAIN if len(document.token_ids) <= 4]
    for changes in ({}, {"train": few}):
        with pytest.raises(
            DataError, match=r"train\.jsonl row \d+ has \d+ tokens, more than sequence_length 4"
        ):
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


def test_the_loss_does_not_depend_on_how_much_of_a_batch_is_trained(tmp_path: Path) -> None:
    """Twice the same document in a step costs what it costs once: a mean over trained tokens, not
    over documents."""
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
    """A prompt, or the output of a tool: without a mask the student learns to write it, with one it
    does not."""
    draw = np.random.default_rng(0)
    ids = [np.array([1, *draw.integers(20, 24, 6), *range(30, 34)], np.int32) for _ in range(24)]
    prompts, answers = np.arange(11) < 7, np.arange(11) >= 7
    settings = replace(FAST, epochs=5, learning_rate=3e-2, schedule="wsd")

    def learned(name: str, trained: Any) -> tuple[float, float]:
        documents = [Document(one, trained) for one in ids]
        model, _ = train(
            tmp_path / name,
            model=tiny_llama(1, spread=1.0),
            settings=settings,
            train=documents,
            validation=documents,
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
    batch = micro_batch(
        documents, [[place] for place in range(len(ids))], source=None, pad_id=PAD, device=CPU
    )
    with torch.no_grad():
        step = TokenLoss(model.eval(), Objective(), vocabulary=VOCABULARY)
        return step(batch, soft_weight=0.0, total=len(batch.packed.labels))[0].item()
