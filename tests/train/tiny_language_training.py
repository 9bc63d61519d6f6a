"""Training of tiny language models: settings that are quick, documents, and what a run recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.train.tiny_language import PAD, VOCABULARY, tiny_documents, tiny_student
from tests.train.tiny_training import records

from tutelage.losses import Objective
from tutelage.train import LanguageTrainSettings, train_language_model

FAST = LanguageTrainSettings(
    epochs=2,
    batch_tokens=64,
    micro_batch_tokens=32,
    sequence_length=32,
    learning_rate=3e-3,
    precision="float32",
)
TRAIN, VALIDATION = tiny_documents(24, share=0.8), tiny_documents(6, seed=1)


def train(
    out: Path,
    *,
    model: Any = None,
    source: Any = None,
    settings=FAST,
    objective=None,
    train=TRAIN,
    **options,
):
    model = tiny_student("pruned") if model is None else model
    result = train_language_model(
        model,
        PAD,
        train,
        options.pop("validation", VALIDATION),
        source=source,
        objective=objective or Objective(soft_weight=0.8),
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
