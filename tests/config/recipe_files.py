"""A minimal recipe of a classification, and recipes written to a folder and loaded from it."""

from __future__ import annotations

from pathlib import Path

from tutelage.recipes.loading import load_recipe
from tutelage.tasks.classification.recipe import Recipe

MINIMAL = """\
task: {kind: classification, labels: [bad, good]}
data: {train: train.csv, test: ../test.jsonl}
teacher: {kind: prompted, model: owner/name}
students:
  gru: {kind: rnn}
"""


def write(folder: Path, text: str, name: str = "reviews.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, *overrides: str) -> Recipe:
    return load_recipe(write(folder, text), overrides=overrides)
