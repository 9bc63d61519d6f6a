"""Class probabilities that a test can make up, and stores of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tutelage.targets import TargetWriter
from tutelage.types import example_id

LABELS = ("negative", "neutral", "positive")
IDS = [example_id(f"text {number}") for number in range(50)]
PROBS = np.random.default_rng(0).dirichlet([1, 1, 1], 50).astype(np.float32)


def open_writer(path: Path, **settings) -> TargetWriter:
    return TargetWriter.open(
        path,
        **{
            "kind": "class_probabilities",
            "teacher": "t1",
            "labels": LABELS,
            "rows_per_part": 8,
            **settings,
        },
    )


def write(path: Path, ids=IDS, probs=PROBS, **settings) -> Path:
    with open_writer(path, **settings) as writer:
        writer.add(ids, probs)
        writer.finish()
    return path


def files(path: Path) -> dict[str, bytes]:
    return {found.name: found.read_bytes() for found in path.iterdir()}
