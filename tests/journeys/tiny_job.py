"""A tiny job: a made-up sentiment data set and a random two-layer language model, small enough for
seconds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tutelage.recipes.run import Outcome, Until

LABELS = ("negative", "neutral", "positive")
WORDS = {
    "negative": ["awful", "broken", "terrible", "useless", "poor"],
    "neutral": ["box", "manual", "tuesday", "cable", "grey"],
    "positive": ["great", "lovely", "superb", "perfect", "happy"],
}
FILLER = ["the", "a", "phone", "it", "was", "with", "and", "this", "camera", "very", "of", "sound"]


def sentences(count: int, *, seed: int) -> list[tuple[str, str]]:
    """Distinct texts whose class is told by one or two of their words."""
    random_state = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        label = LABELS[len(rows) % 3]
        words = random_state.choices(FILLER, k=random_state.randint(3, 7))
        for word in random_state.choices(WORDS[label], k=random_state.randint(1, 2)):
            words.insert(random_state.randint(0, len(words)), word)
        rows[" ".join(words)] = label
    return list(rows.items())


def write_csv(path: Path, rows: list[tuple[str, str]]) -> None:
    path.write_text(
        "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8"
    )


RECIPE = """\
name: tiny
task: {{kind: classification, labels: [negative, neutral, positive]}}
data: {{train: train.csv, validation: validation.csv, test: test.csv}}
teacher: {{kind: classifier, model: {model}, fit: {{method: head, cross_fit: 2}}}}
students:
  gru: {{kind: rnn, hidden_size: 16, embedding_size: 16, tokenizer: {{vocabulary_size: 300}}, embeddings: teacher}}
train: {{epochs: 8, batch_size: 16, learning_rate: 2e-2, checkpoint_every_steps: 5}}
evaluate: {{control: true, bootstrap_samples: 100, latency_examples: 5}}
"""


def write_job(folder: Path, model: Path) -> Path:
    """Write recipe.yaml and its data into a folder."""
    rows = sentences(200, seed=0)
    for name, part in (("train", rows[:120]), ("validation", rows[120:150]), ("test", rows[150:])):
        write_csv(folder / f"{name}.csv", part)
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model), encoding="utf-8")
    return folder


def environment(folder: Path) -> dict[str, str]:
    cache = str(folder / "cache")
    return {
        **os.environ,
        "TUTELAGE_CACHE": cache,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }


def tutelage(*words: object, cwd: Path, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own and hold it to an exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "tutelage", *map(str, words)],
        cwd=cwd, env=environment(cwd), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if check is not None:
        assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def tutelage_json(*words: object, cwd: Path) -> dict:
    return json.loads(tutelage(*words, "--json", cwd=cwd).stdout)


def run_here(job: Path, *overrides: str, root: str = "runs", until: Until = "train") -> Outcome:
    """Run the recipe in this process, which saves the seconds that starting another takes."""
    from tutelage.recipes.loading import load_recipe
    from tutelage.recipes.run import run

    return run(load_recipe(job / "recipe.yaml", overrides=overrides), root=job / root, until=until)
