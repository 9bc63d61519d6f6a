"""Tiny trainings of every kind in one process or several; run under a launcher by
test_training.py."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_model
from tests.train import tiny_language_training, tiny_training
from tests.train.tiny import TinyStudent
from tests.train.tiny_language import tiny_student, tiny_targets, tiny_teacher
from tests.train.tiny_language_training import TRAIN, VALIDATION
from tests.train.tiny_training import Listening
from transformers.modeling_outputs import SequenceClassifierOutput

from tutelage.losses import Objective
from tutelage.processes import crew
from tutelage.train import StoredTargets

KINDS = ("classes", "pruned", "rnn", "lora")
STOPPED_AT = {"classes": 5, "pruned": 5, "rnn": 5, "lora": 5}
CLASSES = replace(
    tiny_training.FAST, batch_size=8, gradient_accumulation=2, ema_decay=0.9,
    checkpoint_every_steps=3,
)  # fmt: skip
TOKENS = replace(tiny_language_training.FAST, batch_tokens=64, checkpoint_every_steps=3)


class Student(TinyStudent):
    """Answers as models of transformers do: FSDP2 looks for tensors in what a module gives."""

    def forward(self, input_ids, attention_mask):
        return SequenceClassifierOutput(logits=super().forward(input_ids, attention_mask).logits)


def write_targets(folder: Path) -> None:
    tiny_targets(tiny_teacher(), [*TRAIN, *VALIDATION], folder, threshold=0.05)


def targets(folder: Path) -> Any:
    from tutelage.targets import TargetStore

    return StoredTargets(TargetStore.open(folder))


def train(out: Path, kind: str, source: Any, *, stop: bool = False) -> None:
    """Train one student without dropout and save its weights, or stop it in the middle."""
    progress = Listening(stop_at=STOPPED_AT[kind] if stop else None)
    try:
        if kind == "classes":
            model, _ = tiny_training.train(
                out, model=Student(dropout=0.0), settings=CLASSES, progress=progress
            )
        else:
            model, _ = tiny_language_training.train(
                out,
                model=tiny_student(kind),
                source=source,
                settings=TOKENS,
                objective=Objective(soft_weight=0.9, soft_weight_final=0.2),
                progress=progress,
            )
    except KeyboardInterrupt:
        return
    if crew().leads:
        (out / "said").write_text("\n".join(progress.said), encoding="utf-8")
        save_model(model, str(out / "weights.safetensors"))


def main(root: Path) -> None:
    """Every kind with whole and with sharded weights: to the end, and stopped; and what one process
    left stopped, to its end."""
    source = targets(root / "targets")
    for form in ("whole", "sharded"):
        os.environ["ACCELERATE_USE_FSDP"] = str(form == "sharded").lower()
        os.environ["FSDP_VERSION"] = "2"
        for kind in KINDS:
            train(root / form / kind, kind, source)
            train(root / f"{form}-stopped" / kind, kind, source, stop=True)
            train(root / f"{form}-from-one" / kind, kind, source)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
