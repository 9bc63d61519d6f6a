"""Whether labelling and training stay as they begin: memory, file handles and speed over an hour.

A random language model of four layers writes soft targets of made-up documents for half of the
time, and a student learns from a store of them for the other half; both are ended by the clock, as
Ctrl-C would. Every few seconds memory (without pages of files), handles and threads are noted, and
how much was done. A slope is fitted to what comes after the first fifth of a phase, with a 95 %
interval by resampling stretches of it.

    python benchmarks/long_run.py --minutes 60

Writes `benchmarks/results/long_run.{json,md}` and exits 1 where memory or handles grow.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from growth import texts
from machine import RESULTS, keep, machine
from tutelage.losses import Objective
from tutelage.models import load_language_model
from tutelage.teachers import CausalTeacher
from tutelage.teachers.labelling import label_documents
from tutelage.train import LanguageTrainSettings, StoredTargets, train_language_model
from tutelage.types import Document

EVERY_SECONDS = 5.0
TOKENS, BATCH_TOKENS = 256, 2048
STRETCHES = 12
GROWTH_MEGABYTES = 20.0
"""Memory may grow by so much an hour: less than what two measurements differ by."""


class TimeIsUp(KeyboardInterrupt):
    """Ends a phase."""


class Watch:
    """A `Progress` that counts what is done, notes the state of the process, and ends by the
    clock."""

    def __init__(self, seconds: float) -> None:
        self.rows: list[tuple[float, float, int, int, int, float]] = []
        self._ends = time.monotonic() + seconds
        self._done = 0
        self._over = threading.Event()

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        yield self._advance

    def say(self, message: str) -> None:
        pass

    def _advance(self, count: int) -> None:
        self._done += count
        if time.monotonic() > self._ends:
            raise TimeIsUp

    def _note(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            status = Path("/proc/self/status").read_text("utf-8")
            held = int(status.split("RssAnon:")[1].split()[0]) / 1024
            handles = sum(1 for _ in Path("/proc/self/fd").iterdir())
            used = time.process_time()
            row = (time.monotonic(), held, handles, threading.active_count(), self._done, used)
            self.rows.append(row)

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._note)
        thread.start()
        try:
            yield
        except TimeIsUp:
            pass
        finally:
            self._over.set()
            thread.join()


def write_model(folder: Path, *, hidden: int, layers: int) -> None:
    """A random Llama with a tokenizer of 2,000 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([text for text, _ in texts(5000, seed=1)], trainer)
    tokenizer.add_tokens([f"word{number}" for number in range(2000 - tokenizer.get_vocab_size())])
    special = dict.fromkeys(("eos_token", "bos_token", "pad_token"), "<|end|>")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2000, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)


def made_up(count: int, *, seed: int) -> list[Document]:
    """Documents of random tokens, all equally long."""
    draw = np.random.default_rng(seed)
    trained = np.ones(TOKENS, bool)
    trained[0] = False
    ids = draw.integers(1, 2000, (count, TOKENS)).astype(np.int32)
    return [Document(row, trained) for row in ids]


def slope(hours: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """What a value grows by in an hour, with a 95 % interval by resampling stretches of time."""
    draw = np.random.default_rng(0)
    fitted = np.polyfit(hours, values, 1)
    rest = np.array_split(values - np.polyval(fitted, hours), STRETCHES)
    shortest = min(map(len, rest))
    found = []
    for _ in range(500):
        chosen = [rest[place][:shortest] for place in draw.integers(0, STRETCHES, STRETCHES)]
        again = np.polyval(fitted, hours[: shortest * STRETCHES]) + np.concatenate(chosen)
        found.append(np.polyfit(hours[: shortest * STRETCHES], again, 1)[0])
    low, high = np.quantile(found, [0.025, 0.975])
    return {"value": float(fitted[0]), "low": float(low), "high": float(high)}


def summary(watch: Watch) -> dict[str, Any]:
    """First and last values, and slopes after the first fifth."""
    rows = np.array(watch.rows)
    seconds, held, handles, threads, done, used = rows[len(rows) // 5 :].T
    hours = (seconds - seconds[0]) / 3600
    rate, by_processor = np.diff(done) / np.diff(seconds), np.diff(done) / np.diff(used)
    return {
        "minutes": float(rows[-1, 0] - rows[0, 0]) / 60,
        "megabytes_by_tenth": [float(np.median(part)) for part in np.array_split(rows[:, 1], 10)],
        "done": int(rows[-1, 4]),
        "megabytes": [float(held[0]), float(held[-1])],
        "handles": [int(handles[0]), int(handles[-1])],
        "threads": [int(threads[0]), int(threads[-1])],
        "rate": float(rate.mean()),
        "megabytes_an_hour": slope(hours, held),
        "handles_an_hour": slope(hours, handles),
        "rate_an_hour": slope(hours[1:], rate / rate.mean()),
        "processor_rate_an_hour": slope(hours[1:], by_processor / by_processor.mean()),
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The page."""

    def told(value: dict[str, float], scale: float = 1.0, digits: int = 1) -> str:
        numbers = (value[name] * scale for name in ("value", "low", "high"))
        middle, low, high = (f"{number:+.{digits}f}" for number in numbers)
        return f"{middle} [{low}, {high}]"

    lines = [
        "# Long runs",
        "",
        "Slopes of an hour, fitted after the first fifth of each phase, with 95 % intervals.",
        "",
        "| phase | minutes | done | a second | MB, first and last | MB an hour | handles | handles "
        "an hour | threads | speed, % an hour | by processor second, % an hour |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in report["phases"].items():
        lines.append(
            f"| {name} | {one['minutes']:.0f} | {one['done']:,} | {one['rate']:,.1f} | "
            f"{one['megabytes'][0]:.0f}, {one['megabytes'][1]:.0f} | "
            f"{told(one['megabytes_an_hour'])} | {one['handles'][0]}, {one['handles'][1]} | "
            f"{told(one['handles_an_hour'], digits=2)} | {one['threads'][0]}, "
            f"{one['threads'][1]} | {told(one['rate_an_hour'], 100)} | "
            f"{told(one['processor_rate_an_hour'], 100)} |"
        )
    lines += ["", "Median MB in each tenth of a phase:", ""]
    for name, one in report["phases"].items():
        lines.append(
            f"- {name}: {', '.join(f'{value:.0f}' for value in one['megabytes_by_tenth'])}"
        )
    where = report["machine"]
    lines += ["", f"{where['processor']}, {where['threads']} thread; other programs ran too.", ""]
    return "\n".join(lines)


def main() -> int:
    """Label, train, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = options.minutes * 30
    with tempfile.TemporaryDirectory(prefix="long-run-") as scratch:
        folder = Path(scratch)
        write_model(folder / "teacher", hidden=256, layers=4)
        write_model(folder / "student", hidden=64, layers=2)
        teacher = CausalTeacher(
            load_language_model(str(folder / "teacher")),
            sequence_length=TOKENS,
            batch_tokens=BATCH_TOKENS,
        )
        how: dict[str, Any] = {"kind": "sampled", "encoding": {"threshold": 0.05}}
        few = made_up(500, seed=1)
        store = label_documents(teacher, few, out=folder / "few", **how)
        labelling = Watch(seconds)
        with labelling.watching():
            many = made_up(options.documents, seed=0)
            label_documents(teacher, many, out=folder / "many", progress=labelling, **how)
            raise SystemExit("all documents were labelled before the time was up: give more")
        del many
        training = Watch(seconds)
        student = LlamaForCausalLM.from_pretrained(folder / "student")
        settings = LanguageTrainSettings(
            token_budget=10**8,
            sequence_length=TOKENS,
            batch_tokens=4096,
            micro_batch_tokens=2048,
            precision="float32",
            evaluate_every_steps=50,
            checkpoint_every_steps=100,
        )
        with training.watching():
            train_language_model(
                student,
                0,
                few[:450],
                few[450:],
                source=StoredTargets(store),
                objective=Objective(),
                settings=settings,
                out=folder / "training",
                progress=training,
            )
    phases = {"labelling (tokens)": summary(labelling), "training (steps)": summary(training)}
    report = {"benchmark": "long_run", "phases": phases, "machine": machine("torch")}
    keep(report, as_markdown, out=options.out)
    grow = any(
        one["megabytes_an_hour"]["low"] > GROWTH_MEGABYTES or one["handles_an_hour"]["low"] > 0.5
        for one in phases.values()
    )
    return int(grow)


if __name__ == "__main__":
    sys.exit(main())
