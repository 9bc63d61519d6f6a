"""Both training loops and recurrent kernels on a device: the same numbers as on the processor up to
rounding, and a run that was stopped goes on to where an unbroken one ends.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.gpu.placing import training_on
from tests.students.test_rnn import padded
from tests.students.test_rnn import tiny as tiny_rnn
from tests.train import tiny_language_training, tiny_training
from tests.train.tiny import TinyStudent
from tests.train.tiny_language import tiny_student, tiny_targets, tiny_teacher
from tests.train.tiny_training import records

FAST = replace(tiny_training.FAST, epochs=2)
LANGUAGE = tiny_language_training.FAST


class Stopping:
    """A display that interrupts when 0.7 of all is done."""

    @contextlib.contextmanager
    def bar(self, title: str, *, total: int, unit: str) -> Iterator[Any]:
        left = 0.7 * total

        def advance(units: int) -> None:
            nonlocal left
            left -= units
            if left <= 0:
                raise KeyboardInterrupt

        yield advance

    def say(self, message: str) -> None:
        pass


def of_classes(out: Path, device: str, *, settings: Any = FAST, **options: Any) -> Any:
    with training_on(device):
        model = options.pop("model", None) or TinyStudent(dropout=0.0)
        return tiny_training.train(out, model=model, settings=settings, **options)[0].cpu()


def of_tokens(out: Path, device: str, source: Any, *, settings: Any = LANGUAGE, kind: str = "pruned", **options: Any) -> Any:  # fmt: skip
    with training_on(device):
        return tiny_language_training.train(
            out, model=tiny_student(kind), source=source, settings=settings, **options
        )[0].cpu()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Any:
    documents = [*tiny_language_training.TRAIN, *tiny_language_training.VALIDATION]
    return tiny_targets(
        tiny_teacher(), documents, tmp_path_factory.mktemp("targets"), threshold=0.05
    )


def losses(out: Path) -> list[float]:
    return [record["train_loss"] for record in records(out) if "train_loss" in record]


def require_close(one: Any, other: Any, *, most: float) -> None:
    """Weights differ by no more than this share of their size."""
    for name, value in one.state_dict().items():
        theirs = other.state_dict()[name]
        assert float((value - theirs).norm()) <= most * (float(theirs.norm()) + 1e-3), name


def test_a_classifier_is_trained_as_on_the_processor(device: str, tmp_path: Path) -> None:
    found = of_classes(tmp_path / "there", device)
    expected = of_classes(tmp_path / "here", "cpu")
    assert losses(tmp_path / "there")[-1] < losses(tmp_path / "there")[0]
    assert losses(tmp_path / "there") == pytest.approx(losses(tmp_path / "here"), rel=1e-3)
    require_close(found, expected, most=1e-2)


@pytest.mark.parametrize("kind", ["pruned", "rnn"])
def test_a_language_model_is_trained_as_on_the_processor(
    device: str, kind: str, source: Any, tmp_path: Path
) -> None:
    settings = replace(LANGUAGE, epochs=4, learning_rate=1e-2 if kind == "rnn" else 1e-3)
    found = of_tokens(tmp_path / "there", device, source, kind=kind, settings=settings)
    expected = of_tokens(tmp_path / "here", "cpu", source, kind=kind, settings=settings)
    assert losses(tmp_path / "there")[-1] < losses(tmp_path / "there")[0]
    assert losses(tmp_path / "there") == pytest.approx(losses(tmp_path / "here"), rel=5e-3)
    require_close(found, expected, most=2e-2)


def test_in_bfloat16_the_loss_falls_as_in_float32(device: str, source: Any, tmp_path: Path) -> None:
    of_tokens(tmp_path / "b", device, source, settings=replace(LANGUAGE, precision="bfloat16"))
    of_tokens(tmp_path / "f", device, source)
    assert losses(tmp_path / "b")[-1] < losses(tmp_path / "b")[0]
    assert losses(tmp_path / "b") == pytest.approx(losses(tmp_path / "f"), rel=0.05)


@pytest.mark.parametrize("task", ["classes", "tokens"])
def test_a_stopped_training_goes_on(device: str, task: str, source: Any, tmp_path: Path) -> None:
    """To rounding: kernels of a GPU may add in another order each time."""
    if task == "classes":
        settings = replace(FAST, checkpoint_every_steps=3, word_dropout=0.2)

        def train(out: str, **options: Any) -> Any:
            model = TinyStudent()  # with dropout, whose random numbers must go on too
            return of_classes(tmp_path / out, device, settings=settings, model=model, **options)
    else:
        settings = replace(LANGUAGE, batch_tokens=32, checkpoint_every_steps=2)

        def train(out: str, **options: Any) -> Any:
            return of_tokens(tmp_path / out, device, source, settings=settings, **options)

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("broken", progress=Stopping())
    again = train("broken")
    require_close(again, whole, most=1e-4)
    assert losses(tmp_path / "broken") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_recurrent_kernels_read_padded_texts_alike(device: str, cell: str, layers: int) -> None:
    """cuDNN takes packed sequences, the processor padded ones."""
    here = tiny_rnn(cell=cell, pooling="mean_max", bidirectional=True, layers=layers, dropout=0.0)
    there = copy.deepcopy(here).to(device).train()
    here.train()
    rows = [[1, 2, 3, 4, 5, 6, 7], [8], [9, 10, 11], list(range(1, 20))]
    ids, mask = padded(rows, 23)
    expected = here(input_ids=ids, attention_mask=mask).logits
    found = there(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)
    expected.square().sum().backward()
    found.square().sum().backward()
    slopes = dict(there.named_parameters())
    for name, parameter in here.named_parameters():
        slope = slopes[name].grad
        assert (slope is None) == (parameter.grad is None), name
        if parameter.grad is not None:
            torch.testing.assert_close(slope.cpu(), parameter.grad, rtol=1e-3, atol=1e-4)
