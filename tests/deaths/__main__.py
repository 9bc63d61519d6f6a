"""Let commands die so many times and start each again until it ends: `python -m tests.deaths ROOT
DEATHS SEED [SECONDS]`. Prints a line of JSON for every fault, and counts at the end; exit 1 if there was one.

Every command starts from a folder in which all before it is done. It dies, once or twice; then the
same command is given until it ends, which must be at once, and what lies there must be what an
unbroken one leaves.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from math import inf
from pathlib import Path
from typing import Any

from tests.deaths import serving
from tests.deaths.comparing import contents, differences, varying
from tests.deaths.dying import KINDS, Death, End, Volume, faults, run, some_death

RUN = ["recipe.yaml", "--out", "runs/tiny", "--quiet"]
COMMANDS = {
    "classification": {
        "label": ["label", *RUN],
        "train": ["train", *RUN],
        "evaluate": ["evaluate", *RUN],
        "export onnx": ["export", "runs/tiny", "--format", "onnx", "--quiet"],
        "export wheel": ["export", "runs/tiny", "--format", "wheel", "--quiet"],
    },
    "language": {
        "label": ["label", *RUN],
        "train": ["train", *RUN],
        "evaluate": ["evaluate", *RUN],
        "export gguf": ["export", "runs/tiny", "--format", "gguf", "--quiet"],
    },
}
"""In an order in which each finds what the ones before left."""
ORDER = [
    ("classification", "serve"), ("classification", "label"), ("language", "train"),
    ("classification", "export onnx"), ("language", "label"), ("classification", "serve"),
    ("classification", "evaluate"), ("language", "export gguf"), ("classification", "train"),
    ("classification", "export wheel"), ("language", "evaluate"),
]  # fmt: skip
"""In which they die, round and round: each command as often, whatever the task."""


class Bench:
    """The disk on which jobs die, and beside it the states from which commands start."""

    def __init__(self, root: Path) -> None:
        self.root, self.log = root, root / "log"
        self.volume = Volume(root / "disk")
        self.job = root / "disk" / "job"

    def load(self, state: Path) -> None:
        """Put a state where the job lies; its paths never change, for recipes hold them."""
        self.volume.restore()
        shutil.rmtree(self.job, ignore_errors=True)
        shutil.copytree(state, self.job, symlinks=True)

    def do(self, words: list[str], death: Death | None = None) -> End:
        """Run a command there."""
        return run(words, cwd=self.job, volume=self.volume, log=self.log, death=death)


def main(root: Path, deaths: int, seed: int, seconds: float = inf) -> int:
    """All of it."""
    _import()
    bench, moments = Bench(root), random.Random(seed)
    os.environ["TUTELAGE_CACHE"] = str(root / "cache")
    upstream, port = serving.start_upstream()
    url = f"http://127.0.0.1:{port}/v1"
    counts: Counter[str] = Counter()
    found: list[dict[str, Any]] = []
    try:
        plans = {
            (one["task"], one["command"]): one
            for task in COMMANDS
            for one in _unbroken(bench, task)
        }
        kinds = [k for k in KINDS if bench.volume.mounted or k not in ("disk full", "read-only")]
        served = _served(bench)
        until = time.monotonic() + seconds
        for number in range(deaths):
            if time.monotonic() > until:
                break
            turn, place = divmod(number, len(ORDER))
            kind = kinds[(turn + place) % len(kinds)]  # each comes to each in nine turns
            task, command = ORDER[place]
            if command == "serve":
                faults_here = serving.die(bench, served, url, kind, moments, counts)
            else:
                faults_here = _die(bench, plans[task, command], kind, moments, counts)
            for fault in faults_here:
                found.append(fault)
                print(json.dumps(fault), flush=True)
    finally:
        bench.volume.close()
        os.kill(upstream, signal.SIGKILL)
    print(json.dumps({"deaths": dict(sorted(counts.items())), "faults": len(found)}))
    return 1 if found else 0


def _unbroken(bench: Bench, task: str) -> list[dict[str, Any]]:
    """Each command from its state, done twice without a death: what it leaves, and what varies."""
    state = bench.root / task / "start"
    _write_job(state, task)
    plans = []
    for name, words in COMMANDS[task].items():
        ends, left, before = [], [], 0
        for _ in range(2):
            bench.load(state)
            before = _size(bench.job)
            ends.append(bench.do(words))
            assert ends[-1].code == 0, ends[-1].said
            left.append(contents(bench.job / "runs"))
        plans.append(
            {
                "task": task, "command": name, "words": words, "state": state, "end": ends[1],
                "growth": _size(bench.job) - before, "whole": left[0], "varies": varying(*left),
            }
        )  # fmt: skip
        if "export" not in name:
            state = bench.root / task / name
            shutil.copytree(bench.job, state, symlinks=True)
    return plans


def _served(bench: Bench) -> Path:
    """A state with an export and its certificate."""
    bench.load(bench.root / "classification" / "evaluate")
    promise = ["--disagreement", "0.5", "--export", serving.EXPORT, "--out", serving.EXPORT]
    for words in (
        COMMANDS["classification"]["export onnx"],
        ["certify", "runs/tiny", *promise, "--quiet"],
    ):
        assert (end := bench.do(words)).code == 0, end.said
    state = bench.root / "classification" / "served"
    shutil.copytree(bench.job, state, symlinks=True)
    return state


def _die(
    bench: Bench,
    plan: dict[str, Any],
    kind: str,
    moments: random.Random,
    counts: Counter[str],
) -> list[dict[str, Any]]:
    bench.load(plan["state"])
    found, told = [], []
    for which in [kind, "SIGKILL"][: moments.choice([1, 1, 2])]:
        death = some_death(moments, which, plan["end"], plan["growth"])
        end = bench.do(plan["words"], death)
        bench.volume.restore()
        told.append(f"{death}: {end.code}")
        how = "by itself" if end.code == 0 else "died"
        counts[f"{plan['task']} {plan['command'].split()[0]} {how}"] += 1
        counts[f"{which} {how}"] += 1
        found += [(fault, end.said[-1500:]) for fault in faults(end, death)]
    end = bench.do(plan["words"])
    if end.code:
        found.append((f"again: {end.code}", end.said[-1500:]))
    else:
        left = contents(bench.job / "runs")
        if different := differences(plan["whole"], left, plan["varies"]):
            found.append(("other bytes", different[:10]))
    where = {"task": plan["task"], "command": plan["command"], "deaths": told}
    return [{**where, "fault": fault, "said": said} for fault, said in found]


def _write_job(folder: Path, task: str) -> None:
    from tests.journeys.tiny_job import write_job
    from tests.journeys.tiny_language_job import write_language_job, write_teacher

    folder.mkdir(parents=True)
    weights = folder.parents[1] / "weights"
    if not weights.exists():
        write_teacher(weights)
    if task == "language":
        write_language_job(folder, weights, count=24)
        shorten = ("epochs: 2", "epochs: 1")
    else:
        write_job(folder, weights)
        shorten = ("epochs: 8", "epochs: 2")
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace(*shorten), "utf-8")


def _import() -> None:
    """What a fork need not do again."""
    import accelerate.tracking  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch
    import torch._dynamo
    import torch.utils.tensorboard
    import transformers.models.llama.modeling_llama  # noqa: F401
    import uvicorn  # noqa: F401

    import tutelage.cli.commands
    import tutelage.tasks.classification.job
    import tutelage.tasks.language.job  # noqa: F401

    torch.set_num_threads(1)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
