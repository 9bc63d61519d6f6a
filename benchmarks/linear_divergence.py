"""What the chunked loss costs, against plain PyTorch, TRL and Liger, in one run on the same
machine.

2,048 tokens, states of width 576, forward KL from a teacher that comes as final states and output
matrix; further rows with the reverse KL, the Jensen-Shannon divergence and sampled targets. Every
contender computes the loss and the gradients of the states and of the output matrix, in float32
unless `--dtype` says otherwise, and starts in a process of its own (with `--device cuda` memory is
what torch's allocator held, and a turn twenty steps):

- *memory* is the high-water mark of the process's resident memory (`VmHWM` of /proc/self/status,
  reset through /proc/self/clear_refs once inputs and libraries are there and a tiny batch has run)
  minus what it held at that moment, over the first full batch. So it counts all that the loss needs
  beyond its inputs, the two gradients among it, whoever allocated it. A compiled contender is
  compiled before, by a batch of the same shape, or the compiler's own memory would be counted; what
  that batch leaves with the allocator is in its favour.
- *time* is the shortest of the rounds. All processes wait, inputs ready, and take their turns one
  at a time, round after round, so that a slow minute of the machine hits all of them alike. With
  `--threads 1` the CPU seconds of a process are what it takes on a quiet machine, also where this
  one is not quiet; then the bar is held to these.
- *products* are the bare matrix products that no method avoids (student logits, teacher logits
  unless the targets are sampled, both gradients), in the same chunks as ours: the lower bound.

TRL and Liger are not needed by tutelage; contenders that are not installed are left out and named.
To have them, in an environment of its own:

    python -m venv bench-env && bench-env/bin/pip install torch==2.13.0
    bench-env/bin/pip install -e . trl==1.16.0 liger-kernel==0.8.5
    bench-env/bin/python benchmarks/linear_divergence.py

Liger's compiled variant needs a C++ compiler. Results are kept in
`benchmarks/results/linear_divergence.{json,md}`; `--vocabulary`, `--divergence` and `--only` choose
what is measured again. Exits 1 if a bar is missed for forward KL: memory at most a fifth of plain
PyTorch's, time no more than that of the fastest of the others.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_contenders import BETAS, CONTENDERS, POSITIONS, Batch, Step
from linear_page import bars, describe
from machine import RESULTS, processor

CHOICES = (*BETAS, "sampled")
STEPS_OF_A_TURN = 20
"""On a GPU, where one step takes milliseconds."""


def contend(name: str, divergence: str, vocabulary: int, arguments: argparse.Namespace) -> None:
    """Body of a contender's process: one line of JSON for every line of its input."""
    torch.set_num_threads(arguments.threads)
    gpu, make = arguments.device == "cuda", CONTENDERS[name][1]
    inputs = {"device": arguments.device, "dtype": arguments.dtype}
    if name not in ("products", "Liger, compiled"):
        make(Batch(8, 64, **inputs), divergence)().backward()  # loads lazily loaded code
    batch = Batch(arguments.positions, vocabulary, **inputs)
    step = make(batch, divergence)
    if name == "Liger, compiled" or gpu:
        _once(step)
        batch.cleared()
    before = _reset_high_water(gpu=gpu)
    for _ in sys.stdin:
        turns, loss = [], torch.zeros(())
        for _ in range(STEPS_OF_A_TURN if gpu else 1):
            batch.cleared()
            cpu, start = time.process_time(), time.perf_counter()
            loss = _once(step)
            if gpu:
                torch.cuda.synchronize()
            turns.append((time.perf_counter() - start, time.process_time() - cpu))
        seconds, cpu_seconds = sorted(turns)[len(turns) // 2]
        found: dict[str, Any] = {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "loss": float(loss.detach()),
        }
        found["peak_bytes"] = (
            torch.cuda.max_memory_allocated() if gpu else _status("VmHWM")
        ) - before
        if name != "products":
            assert batch.hidden.grad is not None
            assert batch.weight.grad is not None
            found["norms"] = [float(batch.hidden.grad.norm()), float(batch.weight.grad.norm())]
        print(json.dumps(found), flush=True)


def _status(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"no {field} in /proc/self/status: this benchmark measures memory on Linux")


def _once(step: Step) -> Tensor:
    loss = step()
    if loss.requires_grad:
        loss.backward()
    return loss


def _reset_high_water(*, gpu: bool) -> int:
    """Set the high-water mark to what is held now, and return that."""
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def measure(divergence: str, vocabulary: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """All contenders of one row, taking turns."""
    left_out: list[str] = []
    only = set(arguments.only)
    begun, load = time.strftime("%Y-%m-%d %H:%M:%S"), round(os.getloadavg()[0], 1)
    processes: dict[str, subprocess.Popen[str]] = {}
    for name, (package, _) in CONTENDERS.items():
        if only and name not in only:
            continue
        if divergence == "sampled" and package is not None:
            continue  # neither takes sampled targets
        if package is not None and importlib.util.find_spec(package) is None:
            left_out.append(name)
            continue
        if name == "Liger, compiled" and shutil.which("g++") is None:
            left_out.append(f"{name} (no C++ compiler)")
            continue
        command = [sys.executable, __file__, "--contend", name, "--threads", str(arguments.threads)]
        command += [
            "--device",
            arguments.device,
            "--dtype",
            arguments.dtype,
            "--positions",
            str(arguments.positions),
        ]
        command += ["--divergence", divergence, "--vocabulary", str(vocabulary)]
        processes[name] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
    try:
        for _ in range(arguments.rounds):
            for name, process in processes.items():
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("again\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    raise SystemExit(f"{name} ended early")
                found[name].append(json.loads(line))
                print(
                    f"{divergence} {vocabulary} {name}: {found[name][-1]['seconds']:.4f} s",
                    file=sys.stderr,
                )
    finally:
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
    rows = {
        name: {
            "seconds": min(turn["seconds"] for turn in turns),
            "cpu_seconds": min(turn["cpu_seconds"] for turn in turns),
            "peak_mib": round(turns[0]["peak_bytes"] / 2**20, 1),
            "loss": turns[0]["loss"],
            "gradient_norms": turns[0].get("norms"),
            "begun": begun,
            "load_before": load,
            "all_seconds": [round(turn["seconds"], 5) for turn in turns],
        }
        for name, turns in found.items()
    }
    return {
        "divergence": divergence,
        "vocabulary": vocabulary,
        "rows": rows,
        "not_installed": left_out,
    }


def main() -> int:
    """Measure, keep, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocabulary", type=int, nargs="*", default=[49_152, 151_936])
    parser.add_argument("--divergence", nargs="*", default=list(CHOICES), choices=CHOICES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--only", nargs="*", default=[], choices=CONTENDERS, help="these contenders"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="of states and matrices"
    )
    parser.add_argument("--positions", type=int, default=POSITIONS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--contend", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contend:
        contend(arguments.contend, arguments.divergence[0], arguments.vocabulary[0], arguments)
        return 0
    name, options = "linear_divergence", ""
    for option, usual in (("device", "cpu"), ("dtype", "float32"), ("positions", POSITIONS)):
        if (value := getattr(arguments, option)) != usual:
            name, options = f"{name}_{value}", f"{options} --{option} {value}"
    path = arguments.out / f"{name}.json"
    packages = [
        name
        for name in ("torch", "trl", "liger-kernel")
        if importlib.util.find_spec(name.replace("-", "_"))
    ]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    where = (
        torch.cuda.get_device_name()
        if arguments.device == "cuda"
        else f"{processor()}, {os.cpu_count()} cores"
    )
    about = {"machine": where, "versions": versions, "options": options}
    about |= {key: getattr(arguments, key) for key in ("device", "dtype", "positions")}
    missed = False
    for vocabulary in arguments.vocabulary:
        for divergence in arguments.divergence:
            run = measure(divergence, vocabulary, arguments)
            run["threads"] = arguments.threads
            results: dict[str, Any] = (
                json.loads(path.read_text()) if path.exists() else {"runs": []}
            )
            results |= about
            key = (divergence, vocabulary, arguments.threads)
            before = [
                old
                for old in results["runs"]
                if (old["divergence"], old["vocabulary"], old["threads"]) == key
            ]
            if arguments.only and before:
                rows = before[0]["rows"] | run["rows"]
                run["rows"] = {name: rows[name] for name in CONTENDERS if name in rows}
            kept = [
                old for old in results["runs"] if (old["divergence"], old["vocabulary"]) != key[:2]
            ]
            results["runs"] = sorted(
                [*kept, run], key=lambda r: (r["vocabulary"], CHOICES.index(r["divergence"]))
            )
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(results, indent=1) + "\n")
            path.with_suffix(".md").write_text(describe(results))
            missed |= divergence == "forward_kl" and not all(bars(run).values())
    print(path.with_suffix(".md").read_text())
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
