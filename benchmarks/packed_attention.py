"""Packed rows on a processor: attention document by document against one block-diagonal mask.

Layers as SmolLM2-135M has them (six of them, random weights, no output matrix), forward and
backward, both ways by turns in one run. Each is timed three times and the fastest counts.

    python benchmarks/packed_attention.py

Writes `benchmarks/results/packed_attention.{json,md}`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from machine import RESULTS, keep, machine
from tutelage.models import attention
from tutelage.models.final_states import final_states

LAYERS, TURNS = 6, 3
BATCHES = {
    "3 documents of 150 to 190": (1, [190, 170, 150]),
    "34 documents of 30, twice": (2, [30] * 34),
    "20 documents of 100": (1, [100] * 20),
    "3 documents of 500 to 800": (1, [500, 700, 800]),
}
"""Rows and the documents of each."""


def seconds(model: Any, rows: int, lengths: list[int]) -> float:
    """Of one forward and backward pass."""
    segments = torch.cat(
        [torch.full((length,), number + 1) for number, length in enumerate(lengths)]
    ).repeat(rows, 1)
    ids = torch.randint(0, model.config.vocab_size, segments.shape)
    model.zero_grad()
    started = time.perf_counter()
    final_states(model, ids, None, segments).square().sum().backward()
    return time.perf_counter() - started


def as_markdown(report: dict[str, Any]) -> str:
    lines = [
        f"| {name} | {row['tokens']:,} | {row['mask']:.2f} | {row['documents']:.2f} | "
        f"{row['ratio']:.2f} |"
        for name, row in report["batches"].items()
    ]
    facts = report["machine"]
    return (
        "# Packed rows: attention by mask and by document\n\n"
        f"Seconds of forward and backward through {LAYERS} layers of SmolLM2-135M's shape, "
        "float32.\n\n"
        "| a row | tokens | mask | document by document | times as fast "
        "|\n|---|---:|---:|---:|---:|\n"
        + "\n".join(lines)
        + f"\n\n{facts['processor']}, {facts['threads']} threads; "
        + ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
        + ". Again: `python benchmarks/packed_attention.py`\n"
    )


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=100, num_hidden_layers=LAYERS, **shape)).train()
    cut = attention.attends_through_the_interface
    batches = {}
    for name, (rows, lengths) in BATCHES.items():
        spent: dict[str, list[float]] = {"mask": [], "documents": []}
        for _ in range(TURNS):
            for way, through in (("mask", lambda _model: False), ("documents", cut)):
                attention.attends_through_the_interface = through
                spent[way].append(seconds(model, rows, lengths))
        mask, documents = min(spent["mask"]), min(spent["documents"])
        batches[name] = {
            "tokens": rows * sum(lengths),
            "mask": mask,
            "documents": documents,
            "ratio": mask / documents,
        }
    report = {
        "benchmark": "packed_attention",
        "batches": batches,
        "machine": machine("torch", "transformers"),
    }
    keep(report, as_markdown, out=args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
