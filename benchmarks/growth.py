"""How time and memory of every stage grow with the rows of a job.

Made-up rows at 1, 10 and 100 times a number: a random language model of two layers is the teacher
(with a head fitted to labels), a small recurrent network and a linear model are the students. Every
stage is a command of its own, `check`, `label`, `train`, `evaluate`, `report`, and then `run` once
more, which finds everything done; of each the processor seconds and the largest memory are kept, and
what they were at the smallest size and beyond it. Of language models the soft targets are simulated:
a store of so many positions is written, opened, looked up in a random order, and verified.

    python benchmarks/growth.py --rows 10000 100000 1000000 --positions 1000000 10000000 100000000

Writes `benchmarks/results/growth.{json,md}` and exits 1 where a stage grows faster than its rows. A half
that is not asked for (`--rows` or `--positions` without numbers) stays as it was measured before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import log
from pathlib import Path
from typing import Any

from machine import RESULTS, keep, machine, processor

LABELS = ("negative", "neutral", "positive")
WORDS = {
    "negative": ("awful", "broken", "terrible", "useless", "poor"),
    "neutral": ("box", "manual", "tuesday", "cable", "grey"),
    "positive": ("great", "lovely", "superb", "perfect", "happy"),
}
FILLER = (
    *("the", "a", "phone", "it", "was", "with", "and", "this", "camera", "very", "of", "sound"),
    *("battery", "screen", "for", "price", "my", "after", "week", "button", "case", "not"),
)
RECIPE = """\
name: growth
task: {{kind: classification, labels: [negative, neutral, positive]}}
data: {{train: train.csv, validation: validation.csv, test: test.csv}}
teacher: {{kind: classifier, model: {model}, fit: {{method: head, cross_fit: 2}}}}
students:
  gru: {{kind: rnn, hidden_size: 16, embedding_size: 16, tokenizer: {{vocabulary_size: 300}}}}
  linear: {{kind: linear}}
train: {{epochs: 1, batch_size: 256, learning_rate: 1e-2}}
evaluate: {{control: false, latency_examples: 5}}
"""
STAGES = ("check", "label", "train", "evaluate", "report", "run")
SELF = (sys.executable, str(Path(__file__).resolve()))
GROWTH = 1.15
"""The largest exponent of processor time in the rows that still counts as linear: between 10 and
100 times, measured on machines that do other things too."""


def texts(rows: int, *, seed: int) -> Iterator[tuple[str, str]]:
    """Distinct sentences of about ten words with a class that some of the words tell."""
    draw = random.Random(seed)
    seen: set[int] = set()
    while len(seen) < rows:
        label = LABELS[len(seen) % 3]
        words = [*draw.choices(FILLER, k=draw.randint(6, 10)), *draw.choices(WORDS[label], k=2)]
        draw.shuffle(words)
        text = " ".join(words)
        if hash(text) not in seen:
            seen.add(hash(text))
            yield text, label


def write_rows(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), "utf-8")


def write_model(folder: Path) -> None:
    """A random Llama of two layers, with a tokenizer of 400 tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([text for text, _ in texts(500, seed=1)], trainer)
    special = dict.fromkeys(("eos_token", "bos_token", "pad_token"), "<|end|>")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)


def measured(command: Sequence[str], *, cwd: Path, env: dict[str, str]) -> dict[str, float]:
    """Run a command to its end: seconds, processor seconds, and MB: of the largest memory, and of
    what is in it that the system cannot take back for others (all but pages of files).
    """
    started = time.monotonic()
    with (cwd / "said.txt").open("ab") as said:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=said, stderr=said)
        held = 0
        waited: Any = (0, 0, None)
        while not waited[0]:
            with suppress(OSError, IndexError, ValueError):
                status_file = Path(f"/proc/{process.pid}/status").read_text("utf-8")
                held = max(held, int(status_file.split("RssAnon:")[1].split()[0]))
            time.sleep(0.05)
            waited = os.wait4(process.pid, os.WNOHANG)
        _, status, used = waited
        process.returncode = os.waitstatus_to_exitcode(status)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit((cwd / "said.txt").read_text("utf-8", errors="replace")[-3000:])
    return {
        "seconds": time.monotonic() - started,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "megabytes": used.ru_maxrss / 1024,
        "held_megabytes": held / 1024,
    }


def measure_job(rows: int, *, scratch: Path) -> dict[str, dict[str, float]]:
    """Every stage of a classification job of so many training rows."""
    folder = scratch / f"rows-{rows}"
    folder.mkdir()
    model = scratch / "model"
    if not model.exists():  # elsewhere: what a process holds counts as its child's at first
        subprocess.run([*SELF, "--model", str(model)], check=True)
    aside = max(300, rows // 50)
    made = list(texts(rows + 2 * aside, seed=0))
    write_rows(folder / "train.csv", made[:rows])
    write_rows(folder / "validation.csv", made[rows : rows + aside])
    write_rows(folder / "test.csv", made[rows + aside :])
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model), "utf-8")
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TUTELAGE_CACHE": str(scratch / "cache"),
    }
    found = {}
    for stage in STAGES:
        command = [sys.executable, "-m", "tutelage", stage, "recipe.yaml", "--quiet"]
        found[stage] = measured(command, cwd=folder, env=env)
        print(rows, stage, {name: round(value, 1) for name, value in found[stage].items()})
    shutil.rmtree(folder)
    return found


VOCABULARY = 49_152
DOCUMENT_TOKENS = 500
BATCH_DOCUMENTS = 16
STORE_STEPS = ("write", "open", "look up", "verify")


def simulated(draw: Any) -> Any:
    """A document's random targets, as sampling with a threshold of 0.05 keeps them."""
    import numpy as np

    from tutelage.targets import SparseTargets

    first = draw.uniform(0.3, 0.95, DOCUMENT_TOKENS)
    rest = (1 - first) / 2
    tails = np.maximum(1, (rest / 0.05).astype(np.int64))
    counts = 2 + tails
    ends = np.cumsum(counts)
    starts = ends - counts
    logprobs = np.repeat(np.log(rest / tails), counts)
    logprobs[starts], logprobs[starts + 1] = np.log(first), np.log(rest)
    # Ids of a position differ: they go up from one that is small more often than not.
    steps = draw.integers(1, 500, ends[-1])
    sums = np.cumsum(steps)
    base = (VOCABULARY * draw.random(DOCUMENT_TOKENS) ** 3).astype(np.int64)
    ids = (np.repeat(base - sums[starts], counts) + sums) % VOCABULARY
    return SparseTargets(
        counts=counts.astype(np.uint16),
        heads=np.full(DOCUMENT_TOKENS, 2, np.uint16),
        ids=ids.astype(np.int32),
        logprobs=logprobs.astype(np.float32),
        entropies=draw.uniform(0.5, 3.0, DOCUMENT_TOKENS).astype(np.float32),
    )


def store_step(step: str, folder: Path, positions: int) -> None:
    """One thing done with a store of so many positions, in a process of its own."""
    import numpy as np

    from tutelage.targets import TargetStore, TargetWriter, verify

    documents = positions // DOCUMENT_TOKENS
    names = [number.to_bytes(8, "big") + bytes(8) for number in range(documents)]
    if step == "write":
        draw = np.random.default_rng(0)
        with TargetWriter.open(
            folder,
            kind="sampled",
            teacher="simulated",
            tokenizer="simulated",
            vocabulary_size=VOCABULARY,
            encoding={"threshold": 0.05},
        ) as writer:
            writer.missing(names)
            for start in range(0, documents, BATCH_DOCUMENTS):
                batch = names[start : start + BATCH_DOCUMENTS]
                writer.add(batch, [simulated(draw) for _ in batch])
            writer.finish()
    elif step == "verify":
        if broken := verify(folder):
            raise SystemExit("\n".join(map(str, broken)))
    else:
        store = TargetStore.open(folder)
        if step == "open":
            assert len(store) == documents
            return
        order = np.random.default_rng(1).permutation(documents)
        for start in range(0, documents, BATCH_DOCUMENTS):
            store.lookup([names[place] for place in order[start : start + BATCH_DOCUMENTS]])


def measure_store(positions: int, *, scratch: Path) -> dict[str, dict[str, float]]:
    """A simulated store of so many positions."""
    folder = scratch / f"positions-{positions}"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    found: dict[str, dict[str, float]] = {}
    for step in STORE_STEPS:
        options = ["--store-step", step, str(folder), str(positions)]
        command = [*SELF, *options]
        found[step] = measured(command, cwd=scratch, env=env)
        found[step]["bytes"] = sum(path.stat().st_size for path in folder.iterdir())
        print(positions, step, {name: round(value, 1) for name, value in found[step].items()})
    shutil.rmtree(folder)
    return found


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The power of the rows with which the last tenfold of rows grew."""
    if len(sizes) < 2:
        return 0.0
    return log(max(seconds[-1], 1e-3) / max(seconds[-2], 1e-3)) / log(sizes[-1] / sizes[-2])


def as_markdown(report: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# Growth of cost",
        "",
        "Processor seconds (all threads, start of Python included) and largest memory of every "
        "stage, each a process of its own; memory without pages of files, which the system takes "
        "back when others need them. Power: of the rows with which processor time grew over "
        "the last tenfold (1 is linear). Bytes a row: memory at the largest size beyond that at "
        "the smallest, by row.",
    ]
    for title, unit, half in (
        ("Classification", "rows", "classification"),
        ("Targets of language models (simulated)", "positions", "store"),
    ):
        table = report[half]
        if not table:
            continue
        sizes = [int(size) for size in table]
        lines += ["", f"## {title}", ""]
        heads = [f"{size:,} {unit}: s | MB" for size in sizes]
        lines += [f"| stage | {' | '.join(heads)} | power | bytes a {unit[:-1]} |"]
        lines += ["|---|" + "---|" * (2 * len(sizes) + 2)]
        for stage in table[str(sizes[0])]:
            ones = [table[str(size)][stage] for size in sizes]
            cells = [
                f"{one['processor_seconds']:,.1f} | {one['held_megabytes']:,.0f}" for one in ones
            ]
            power = exponent(sizes, [one["processor_seconds"] for one in ones])
            more = (ones[-1]["held_megabytes"] - ones[0]["held_megabytes"]) * 2**20
            per_row = more / max(1, sizes[-1] - sizes[0])
            lines.append(f"| {stage} | {' | '.join(cells)} | {power:.2f} | {per_row:,.1f} |")
        where = report["machines"][half]["processor"]
        lines += ["", f"{where}, one thread a process; others were at work beside it."]
    return "\n".join([*lines, ""])


def main() -> int:
    """Measure, write, and say whether every stage is at most linear."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--positions", type=int, nargs="*", default=[1_000_000, 10_000_000, 100_000_000]
    )
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--store-step", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.model:
        write_model(options.model)
        return 0
    if options.store_step:
        step, folder, positions = options.store_step
        store_step(step, Path(folder), int(positions))
        return 0
    scratch = Path(tempfile.mkdtemp(prefix="growth-"))
    try:
        jobs = {str(rows): measure_job(rows, scratch=scratch) for rows in options.rows}
        stores = {str(count): measure_store(count, scratch=scratch) for count in options.positions}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    before = options.out / "growth.json"
    report: dict[str, Any] = {"classification": {}, "store": {}, "machines": {}}
    if before.is_file():
        report = json.loads(before.read_text("utf-8"))
    report["benchmark"] = "growth"
    for half, found in (("classification", jobs), ("store", stores)):
        if found:
            report[half] = found
            report["machines"][half] = machine("torch", "pyarrow") | {"processor": processor()}
    keep(report, as_markdown, out=options.out)
    powers = [
        exponent(
            [int(size) for size in table],
            [one[stage]["processor_seconds"] for one in table.values()],
        )
        for table in (jobs, stores)
        if table
        for stage in next(iter(table.values()))
    ]
    return int(max(powers, default=0.0) > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
