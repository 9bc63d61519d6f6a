"""Writes the golden stores of format 1. Each was written once; the files are the promise that they
stay readable.

Never write one again: a reader that cannot read the old files has broken the contract, not the
files. For a new kind or format, add a golden store of its own beside them: python
tests/contracts/write_golden_store.py writes what lacks.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

from tutelage.targets import (
    HiddenTargets,
    SparseTargets,
    TargetWriter,
    write_output_matrix,
)
from tutelage.targets.contexts import Contexts
from tutelage.types import Document, example_id

GOLDEN = Path(__file__).parent / "golden"
FOLDER = GOLDEN / "store_v1"
LABELS = ("negative", "neutral", "positive")
ROWS = {
    "Broke after two days.": (0.875, 0.09375, 0.03125),
    "It is a cable.": (0.0625, 0.875, 0.0625),
    "Best purchase this year, très bien!": (0.0, 0.0, 1.0),
    "Not bad, not good.": (0.25, 0.5, 0.25),
    "": (0.3, 0.4, 0.3),
}

VOCABULARY, THRESHOLD, K, HIDDEN = 300, 0.05, 5, 4
RARE = 40
"""Ids more that the stores with contexts have."""
TOKENS = {
    "teacher": "0123456789abcdef",
    "tokenizer": "fedcba9876543210",
    "vocabulary_size": VOCABULARY,
    "seed": 7,
}
ENCODINGS = {"sampled": {"threshold": THRESHOLD}, "top_k": {"k": K}, "hidden": {"bits": 8}}
DOCUMENTS = [
    Document(np.arange(3, 3 + length, dtype=np.int32), np.arange(length) >= prompt)
    for length, prompt in ((60, 1), (1, 1), (25, 20), (2, 1), (40, 1))
]
"""One of them has no trained token."""


def teacher(document: Document) -> np.ndarray:
    """Log-probabilities `[P, V]`, sharper at every third position, as if a model had said them."""
    chance = np.random.default_rng(len(document.token_ids))
    logits = -1.1 * np.log(np.arange(1, VOCABULARY + 1)) + chance.normal(
        size=(document.positions, VOCABULARY)
    )
    logits[::3] *= 5
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def sparse(logprobs: np.ndarray, *, kind: str) -> SparseTargets:
    """The K best, or the head and a tail whose entries stand for equal masses."""
    counts, heads, ids, kept = [], [], [], []
    for row, logprob in enumerate(logprobs):
        best = np.argsort(-logprob)
        head = best[:K] if kind == "top_k" else best[np.exp(logprob[best]) >= THRESHOLD]
        mass = 1 - np.exp(logprob[head]).sum()
        tails = 0 if kind == "top_k" else max(1, int(mass / THRESHOLD))
        tail = best[len(head) + row : len(head) + row + tails]
        counts.append(len(head) + tails)
        heads.append(len(head))
        ids += [head, tail]
        kept += [logprob[head], np.full(tails, np.log(mass / max(tails, 1)))]
    none = [np.zeros(0)]
    return SparseTargets(
        np.array(counts, np.uint16),
        np.array(heads, np.uint16),
        np.concatenate(ids or none).astype(np.int32),
        np.concatenate(kept or none).astype(np.float32),
        entropies(logprobs),
    )


def hidden(document: Document) -> HiddenTargets:
    """States of four channels."""
    chance = np.random.default_rng(len(document.token_ids))
    states = chance.integers(-127, 128, (document.positions, HIDDEN)).astype(np.int8)
    return HiddenTargets(
        states,
        np.linspace(0.01, 0.02, document.positions, dtype=np.float32),
        entropies(teacher(document)),
    )


def entropies(logprobs: np.ndarray) -> np.ndarray:
    return -(np.exp(logprobs) * logprobs).sum(axis=1).astype(np.float32)


def values(kind: str) -> list:
    """What the teacher says of each document."""
    if kind == "hidden":
        return [hidden(document) for document in DOCUMENTS]
    return [sparse(teacher(document), kind=kind) for document in DOCUMENTS]


def values_for_contexts(kind: str) -> list:
    """The same, but some positions begin with an id of their own, and of `sampled` some have no
    head."""
    changed, rare = [], iter(range(VOCABULARY, VOCABULARY + RARE))
    for value in values(kind):
        heads, ids, logprobs = value.heads.copy(), value.ids.copy(), value.logprobs.copy()
        starts = np.cumsum(value.counts, dtype=np.int64) - value.counts
        for position, (start, count) in enumerate(
            zip(starts.tolist(), value.counts.tolist(), strict=True)
        ):
            if kind == "sampled" and position % 13 == 2:
                heads[position], logprobs[start : start + count] = 0, -np.log(count)
            elif position % 17 == 16:
                ids[start] = next(rare)
        changed.append(SparseTargets(value.counts, heads, ids, logprobs, value.entropies))
    return changed


def output_matrix() -> dict:
    """A matrix that bfloat16 holds exactly, and what goes with it."""
    weight = np.random.default_rng(1).integers(-32, 32, (VOCABULARY, HIDDEN)) / 16
    return {"weight": weight, "scale": 0.5, "cap": 30.0, "channels": [1.0, 2.0, 4.0, 0.5]}


def write_token_store(kind: str, folder: Path, *, with_contexts: bool = False) -> None:
    """Two parts; `with_contexts` as if they were large."""
    if kind == "hidden":
        write_output_matrix(folder, **output_matrix())
    ids = [document.example_id for document in DOCUMENTS]
    settings = {"kind": kind, "encoding": ENCODINGS[kind], "rows_per_part": 3, **TOKENS}
    with ExitStack() as stack:
        if with_contexts:
            settings["vocabulary_size"] = VOCABULARY + RARE
            small = partial(Contexts.learn, contexts=((1, 3),), fewest_uses=2)
            stack.enter_context(patch.object(Contexts, "learn", small))
        writer = stack.enter_context(TargetWriter.open(folder, **settings))
        writer.missing(ids)
        writer.add(ids, values_for_contexts(kind) if with_contexts else values(kind))
        writer.finish()


if __name__ == "__main__":
    if not FOLDER.exists():
        settings = {
            "kind": "class_probabilities",
            "teacher": "0123456789abcdef",
            "labels": LABELS,
            "seed": 7,
        }
        with TargetWriter.open(FOLDER, rows_per_part=3, **settings) as class_writer:
            class_writer.missing([example_id(text) for text in ROWS])
            class_writer.add([example_id(text) for text in ROWS], np.array(list(ROWS.values())))
            class_writer.finish()
    for name in ENCODINGS:
        if not (GOLDEN / f"store_v1_{name}").exists():
            write_token_store(name, GOLDEN / f"store_v1_{name}")
    for name in ("sampled", "top_k"):
        if not (GOLDEN / f"store_v1_{name}_small").exists():
            write_token_store(name, GOLDEN / f"store_v1_{name}_small")
        if not (GOLDEN / f"store_v1_{name}_contexts").exists():
            write_token_store(name, GOLDEN / f"store_v1_{name}_contexts", with_contexts=True)
