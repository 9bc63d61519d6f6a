"""A student that exists already, trained in part through the recipe: what stays as it is, and a run
that was stopped goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.journeys.tiny_job import sentences
from transformers import BertConfig, BertForSequenceClassification, BertModel

from tutelage.students import Predictor, Pretrained, train_tokenizer
from tutelage.students.language.lora import Lora
from tutelage.tasks.classification.distilling import distill
from tutelage.train import TrainSettings
from tutelage.types import Example

LABELS = ("negative", "neutral", "positive")
ROWS = [Example(text=text, label=LABELS.index(name)) for text, name in sentences(90, seed=0)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A tiny encoder of three layers."""
    folder = tmp_path_factory.mktemp("encoder")
    train_tokenizer(
        [row.text for row in ROWS], vocabulary_size=300, boundaries=True
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=300,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=24,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


class Stopped(Exception):
    """The run is stopped here."""


class StopsAfter:
    """A display that stops the run after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str) -> Iterator[Any]:
        del title, total, unit

        def advance(steps: int) -> None:
            self.left -= steps
            if self.left <= 0:
                raise Stopped

        yield advance

    def say(self, message: str) -> None:
        del message


SETTINGS = TrainSettings(
    epochs=3, batch_size=16, learning_rate=5e-3, checkpoint_every_steps=2, word_dropout=0.1
)


def spec(encoder: Path, **parts: Any) -> Pretrained:
    return Pretrained(labels=LABELS, model=encoder, max_length=32, **parts)


def trained(student: Pretrained, out: Path, **more: Any) -> dict[str, torch.Tensor]:
    distill(student, ROWS[:60], None, validation=ROWS[60:], settings=SETTINGS, out=out, **more)
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize(
    "parts",
    [{"freeze": 2, "head_learning_rate": 2e-2}, {"freeze": 1, "lora": Lora(rank=2)}],
    ids=["frozen", "adapted"],
)
def test_a_stopped_run_goes_on_and_frozen_weights_are_those_of_the_folder(
    encoder, tmp_path, parts
) -> None:
    student = spec(encoder, **parts)
    whole = trained(student, tmp_path / "whole")
    with pytest.raises(Stopped):
        trained(student, tmp_path / "stopped", progress=StopsAfter(7))
    assert (tmp_path / "stopped" / "checkpoints").is_dir()
    again = trained(student, tmp_path / "stopped")
    assert whole.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    kept = {
        f"bert.{name}": value for name, value in load_file(encoder / "model.safetensors").items()
    }
    below = ("bert.embeddings.", *(f"bert.encoder.layer.{n}." for n in range(parts["freeze"])))
    same = {name for name, value in kept.items() if torch.equal(value, whole[name])}
    assert same >= {name for name in kept if name.startswith(below)}
    assert not torch.equal(kept["bert.pooler.dense.weight"], whole["bert.pooler.dense.weight"])
    model = BertForSequenceClassification.from_pretrained(tmp_path / "whole")
    assert not [name for name, _ in model.named_parameters() if "lora" in name]
    assert Predictor.load(tmp_path / "whole").labels == list(LABELS)


def test_a_checkpoint_of_other_parts_is_not_gone_on_from(encoder, tmp_path) -> None:
    with pytest.raises(Stopped):
        trained(spec(encoder, freeze=3), tmp_path / "run", progress=StopsAfter(7))
    other = spec(encoder, freeze=1, head_learning_rate=1e-2)
    fresh, after = trained(other, tmp_path / "fresh"), trained(other, tmp_path / "run")
    assert all(torch.equal(value, after[name]) for name, value in fresh.items())
