"""What a target store costs on disk and what it is worth: bytes a token against the angle of the
gradient it gives.

SmolLM2-135M-Instruct speaks about IMDb reviews. Every kind of store is written over the same
tokens, and its whole folder is weighed. The gradient that a *trained* student gets from it, with
respect to the student's output matrix over a batch, is held against the one from the teacher's
whole distributions. Beside ours: i.i.d. sampling (random-sampling KD), its counts coded with the
best coding of ours and its ids also at the 3 bytes that were published; top-k with and without a
bucket for the tail; and the sizes that DistillKit publishes for its codec.

The same run measures how fast a store is read and how fast a student pruned to 10 of 30 layers
trains.

    python benchmarks/target_store.py                 # everything; intermediate results are kept in
    benchmarks/.work python benchmarks/target_store.py --only states   # one stage: states, student,
    drawn, stores, reading python benchmarks/target_store.py --student
    demo-lm/runs/demo-lm/students/pruned   # trained by the demo python benchmarks/target_store.py
    --words 600 1400 --sequence-length 2048 --large-reviews 0 --name target_store_long

Writes `benchmarks/results/target_store.{json,md}` and exits 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from machine import RESULTS, keep, machine
from random_sampling import iid_bytes
from target_store_bench import (
    ALONE,
    BATCH_TOKENS,
    BUCKETS,
    IID,
    LARGE,
    SAMPLED,
    TOP_K,
    Bench,
    first_tokens,
    kind_of,
)
from target_store_gradients import gradient_angles
from target_store_page import DEFAULT, DISTILLKIT, as_markdown, bars
from tutelage.losses import Objective
from tutelage.recipes.demo.language import WORDS
from tutelage.runs import atomic_write_json
from tutelage.students import prune
from tutelage.targets import SparseTargets, TargetStore
from tutelage.teachers.causal.drawing import join
from tutelage.train import LanguageTrainSettings
from tutelage.train.optimizer import adamw
from tutelage.train.steps.tokens.loss import TokenLoss, micro_batch
from tutelage.train.steps.tokens.targets import StoredTargets, sparse_side

WORK = Path(__file__).parent / ".work"
IID_ROW_BYTES = 17
"""What a document's content id takes."""


def folder_bytes(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )


def measure_stores(bench: Bench, layers: int) -> dict[str, Any]:
    """Every store's size and the angle of its gradient; what is decoded from disk is what is
    compared."""
    targets = bench.targets()
    positions = sum(document.positions for document in bench.measured)
    ids = [document.example_id for document in bench.measured]
    rows: dict[str, dict[str, Any]] = {}
    stored: dict[str, list[SparseTargets]] = {}
    for name in [*SAMPLED, *ALONE, *TOP_K]:
        kind = kind_of(name)
        encoding = {"k": TOP_K[name]} if kind == "top_k" else {"threshold": (SAMPLED | ALONE)[name]}
        folder = bench.write(name, kind, encoding, targets[name])
        stored[name] = TargetStore.open(folder).lookup(ids)
        whole = join(stored[name])
        rows[name] = {
            "kind": "alone" if name in ALONE else kind,
            "bytes_per_token": folder_bytes(folder) / positions,
            "head": float(whole.heads.mean()),
            "ids": float(whole.counts.mean()),
        }
    large_positions = sum(document.positions for document in bench.large)
    for name in LARGE if bench.large else ():
        folder = bench.write_large(name)
        stored[name] = TargetStore.open(folder).lookup(ids)
        whole = join(stored[name])
        rows[name] = {
            "kind": "sampled",
            "bytes_per_token": folder_bytes(folder) / large_positions,
            "head": float(whole.heads.mean()),
            "ids": float(whole.counts.mean()),
        }
    reference = bench.work / "stores" / next(iter(SAMPLED))
    (part,) = reference.glob("part-*.parquet")
    coded = np.concatenate(
        [np.array(row, np.uint8) for row in pq.read_table(part)["entropies"].to_pylist()]
    )
    besides = folder_bytes(reference) - part.stat().st_size + IID_ROW_BYTES * len(ids)
    # The entropies of a part lie in the order of its rows, that of ids.
    order = np.argsort(np.array(ids, "S16"), kind="stable")
    for name, number in IID.items():
        stored[name] = targets[name]
        whole = join(targets[name])
        size = iid_bytes([targets[name][place] for place in order], number, coded) + besides
        rows[name] = {
            "kind": "iid",
            "bytes_per_token": size / positions,
            "published_bytes_per_token": 3 * float(whole.counts.mean()),
            "head": float(whole.heads.mean()),
            "ids": float(whole.counts.mean()),
        }
    angles = gradient_angles(bench, bench.student(layers), stored)
    trained = {"layers": layers, "origin": bench.student_origin}
    facts = {"positions": positions, "documents": len(ids), "batch_tokens": BATCH_TOKENS}
    facts["large_positions"] = large_positions
    for name, row in rows.items():
        if name in TOP_K:
            row["renormalised"] = angles[f"{name}, renormalised"]
            row |= {"bucket": angles[f"{name}, tail bucket"]} if name in BUCKETS else {}
        else:
            row |= angles[name]
    mean_entropy = float(join(targets[next(iter(SAMPLED))]).entropies.mean())
    return facts | {
        "mean_entropy_nats": mean_entropy,
        "student": trained | angles["student"],
        "stores": rows,
    }


def measure_reading(bench: Bench) -> dict[str, float]:
    """Tokens a second that come off a store as tensors, and that the demo's pruned student trains
    on."""
    store = TargetStore.open(bench.work / "stores" / DEFAULT)
    documents = first_tokens(bench.measured, 256)  # of which training makes one micro-batch
    ids = [document.example_id for document in first_tokens(bench.measured, 2048)]
    read_tokens = sum(document.positions for document in first_tokens(bench.measured, 2048))
    tokens = sum(document.positions for document in documents)
    model = prune(bench.teacher.language_model.model, layers=10)
    model.train()
    step = TokenLoss(model, Objective(), vocabulary=bench.teacher.vocabulary)
    optimizer = adamw(model, LanguageTrainSettings(), betas=(0.9, 0.95))
    source, pad = StoredTargets(store), int(bench.teacher.tokenizer.pad_token_id)

    def read() -> None:
        sparse_side(store.lookup(ids), kind="sampled")

    rows = [[place] for place in range(len(documents))]

    def train() -> None:
        batch = micro_batch(documents, rows, source=source, pad_id=pad, device=torch.device("cpu"))
        step(batch, soft_weight=0.8, total=tokens)[0].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    read_seconds, train_seconds = [], []
    for turn in range(3):  # by turns, so that both meet the same machine
        read_seconds += [seconds(read) for _ in range(5)]
        spent = seconds(train)
        train_seconds += [spent] if turn else []  # the first one warms up
    reading, training = read_tokens / min(read_seconds), tokens / min(train_seconds)
    return {
        "tokens": read_tokens,
        "trained_tokens": tokens,
        "read_tokens_per_second": reading,
        "train_tokens_per_second": training,
        "ratio": reading / training,
    }


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def kept(path: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A result of an earlier call, or a new one."""
    if not path.is_file():
        atomic_write_json(path, work())
    return json.loads(path.read_text("utf-8"))


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work",
        type=Path,
        help="of intermediate results of these options; remove it to measure anew",
    )
    parser.add_argument("--only", choices=("states", "student", "drawn", "stores", "reading"))
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--learned-tokens", type=int, default=40_960)
    parser.add_argument(
        "--large-reviews", type=int, default=500, help="of the store that tells what bytes come to"
    )
    parser.add_argument(
        "--words", type=int, nargs=2, default=WORDS, help="fewest and most of a measured review"
    )
    parser.add_argument("--sequence-length", type=int, default=512, help="longer reviews are cut")
    parser.add_argument("--name", default="target_store", help="of the results")
    parser.add_argument(
        "--student", type=Path, help="folder of a pruned student that has been trained elsewhere"
    )
    parser.add_argument(
        "--origin", default="elsewhere on other reviews", help="of that student, for the report"
    )
    parser.add_argument("--layers", type=int, default=6, help="of the student")
    parser.add_argument(
        "--note",
        action="append",
        default=[],
        help="a sentence about the circumstances, for the report",
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.work = args.work or WORK / args.name
    args.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        work=args.work,
        tokens=args.tokens,
        learned_tokens=args.learned_tokens,
        large_reviews=args.large_reviews,
        words=tuple(args.words),
        sequence_length=args.sequence_length,
        given=args.student,
        origin=args.origin,
    )
    stages: dict[str, Callable[[], Any]] = {
        "states": bench.states,
        "student": lambda: bench.student(args.layers),
        "drawn": bench.targets,
        "stores": lambda: kept(
            args.work / f"stores-{args.tokens}.json", lambda: measure_stores(bench, args.layers)
        ),
        "reading": lambda: kept(args.work / "reading.json", lambda: measure_reading(bench)),
    }
    found: dict[str, Any] = {}
    for name, stage in stages.items():
        if args.only in (None, name):
            started = time.monotonic()
            found[name] = stage()
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    if args.only is not None:
        return 0
    low, high = args.words
    chosen = f" --words {low} {high} --sequence-length {args.sequence_length} --large-reviews {args.large_reviews}"
    options = "" if args.name == "target_store" else f"{chosen} --name {args.name}"
    options += "" if args.student is None else " --student FOLDER"
    report = {
        "benchmark": args.name,
        "measured": found["stores"],
        "reading": found["reading"],
        "distillkit_published_bytes_per_token": DISTILLKIT,
        "notes": args.note,
        "options": options,
        "bars": bars(found["stores"]["stores"], found["reading"]),
        "machine": machine("torch", "transformers", "numpy", "pyarrow"),
    }
    keep(report, as_markdown, out=args.out)
    return 0 if all(bar["passed"] for bar in report["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
