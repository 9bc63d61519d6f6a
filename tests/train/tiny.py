"""A tiny student and rows for it.

Also a program that trains it, kills it at random moments and starts it again:
`python tiny.py ROOT KILLS SEED`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from tutelage.data.examples.collate import EncodedSet
from tutelage.losses import ForwardKL
from tutelage.train import TrainSettings, train_classifier

PAD, UNKNOWN, VOCABULARY, CLASSES = 0, 1, 40, 3


class TinyStudent(nn.Module):
    """Mean of embeddings, dropout, two layers."""

    def __init__(self, seed: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(VOCABULARY, 8, padding_idx=PAD)
            self.norm = nn.LayerNorm(8)
            self.hidden = nn.Linear(8, 16)
            self.out = nn.Linear(16, CLASSES)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids, attention_mask):
        mask = attention_mask.unsqueeze(-1).to(torch.float32)
        mean = (self.embedding(input_ids) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return SimpleNamespace(
            logits=self.out(torch.relu(self.hidden(self.dropout(self.norm(mean)))))
        )


def tiny_rows(
    rows: int = 90, *, seed: int = 0, labelled: float = 1.0, teacher: bool = True
) -> EncodedSet:
    """Rows whose words tell their class, with a teacher that knows it."""
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, CLASSES, rows)
    input_ids = []
    for label in gold:
        telling = generator.random(generator.integers(1, 12)) < 0.7
        words = np.where(
            telling,
            2 + 12 * label + generator.integers(0, 12, telling.size),
            generator.integers(2, VOCABULARY),
        )
        input_ids.append(words.tolist())
    probs = np.full((rows, CLASSES), 0.1, dtype=np.float32)
    probs[np.arange(rows), gold] = 0.8
    labels = np.where(generator.random(rows) < labelled, gold, -100)
    return EncodedSet(input_ids, labels, probs if teacher else None)


def train_with_all_noise(out: Path) -> None:
    """Train with everything that draws random numbers, and save the weights."""
    torch.set_num_threads(1)
    student = TinyStudent()
    train_classifier(
        student,
        PAD,
        tiny_rows(100, labelled=0.7),
        tiny_rows(30, seed=1),
        objective=ForwardKL(loss_temperature=2.0, soft_weight=0.8),
        settings=TrainSettings(
            epochs=12,
            batch_size=4,
            learning_rate=1e-2,
            embedding_learning_rate=2e-2,
            word_dropout=0.2,
            ema_decay=0.9,
            checkpoint_every_steps=7,
            gradient_accumulation=2,
        ),
        out=out,
        unknown_id=UNKNOWN,
    )
    save_file(student.state_dict(), out / "weights.safetensors")


def newest(out: Path) -> int:
    """The step of the newest checkpoint; 0: there is none."""
    return max((int(path.name[5:]) for path in (out / "checkpoints").glob("step-*")), default=0)


def killed_beyond(step: int, out: Path, *, delay: float) -> bool:
    """Train in a process of its own and kill it (SIGKILL) a moment after a checkpoint beyond a step
    is there.

    How fast this machine is does not matter, so.

    Returns:
        Whether it was still at work.
    """
    child = os.fork()
    if child == 0:
        train_with_all_noise(out)
        os._exit(0)
    while newest(out) <= step:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.WIFSIGNALED(status)
        time.sleep(0.002)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main(root: Path, kills: int, seed: int) -> None:
    """Train undisturbed in `root/whole`; in `root/killed`, kill at random moments so many times,
    then let it finish."""
    import accelerate.tracking  # noqa: F401  once, here: what a fork need not do again
    import torch._dynamo  # which optimizers import
    import torch.utils.tensorboard  # noqa: F401

    child = os.fork()
    if child == 0:
        train_with_all_noise(root / "whole")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    moments, reached, out = random.Random(seed), [], root / "killed"
    while len(reached) < kills:
        beyond = newest(out) + moments.choice(
            (-1, 0, 7)
        )  # -1: at once, while it reads what was there
        if not killed_beyond(beyond, out, delay=moments.uniform(0, 0.03)):
            break
        reached.append(newest(out))
    train_with_all_noise(root / "killed")
    print(json.dumps(reached))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
