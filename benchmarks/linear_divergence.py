"""What the chunked loss costs, against plain PyTorch, TRL and Liger, in one run on the same machine.

2,048 tokens, states of width 576, forward KL from a teacher that comes as final states and output matrix; further rows
with the reverse KL, the Jensen-Shannon divergence and sampled targets. Every contender computes the loss and the
gradients of the states and of the output matrix, in float32, and starts in a process of its own:

- *memory* is the high-water mark of the process's resident memory (`VmHWM` of /proc/self/status, reset through
  /proc/self/clear_refs once inputs and libraries are there and a tiny batch has run) minus what it held at that moment,
  over the first full batch. So it counts all that the loss needs beyond its inputs, the two gradients among it, whoever
  allocated it. A compiled contender is compiled before, by a batch of the same shape, or the compiler's own memory
  would be counted; what that batch leaves with the allocator is in its favour.
- *time* is the shortest of the rounds. All processes wait, inputs ready, and take their turns one at a time, round
  after round, so that a slow minute of the machine hits all of them alike. With `--threads 1` the CPU seconds of a
  process are what it takes on a quiet machine, also where this one is not quiet; then the bar is held to these.
- *products* are the bare matrix products that no method avoids (student logits, teacher logits unless the targets are
  sampled, both gradients), in the same chunks as ours: the lower bound.

TRL and Liger are not needed by tutelage; contenders that are not installed are left out and named. To have them, in an
environment of its own:

    python -m venv bench-env && bench-env/bin/pip install torch==2.13.0
    bench-env/bin/pip install -e . trl==1.16.0 liger-kernel==0.8.5
    bench-env/bin/python benchmarks/linear_divergence.py

Liger's compiled variant needs a C++ compiler. Results are kept in `benchmarks/results/linear_divergence.{json,md}`;
`--vocabulary`, `--divergence` and `--only` choose what is measured again. Exits 1 if a bar is missed for forward KL:
memory at most a fifth of plain PyTorch's, time no more than that of the fastest of the others.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from machine import RESULTS, processor

POSITIONS, WIDTH, KEPT = 2048, 576, 12
BETAS = {"forward_kl": 0.0, "reverse_kl": 1.0, "jensen_shannon": 0.5}
"""How TRL and Liger name the divergences; for both 0.5 is the symmetric one."""
CHOICES = (*BETAS, "sampled")
MEMORY_BAR = 1 / 5
Step = Callable[[], Tensor]


class Batch:
    """The inputs, the same in every process."""

    def __init__(self, positions: int, vocabulary: int) -> None:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        self.hidden = normal(positions, WIDTH).requires_grad_()
        self.weight = normal(vocabulary, WIDTH).mul_(0.1).requires_grad_()
        self.teacher_hidden = self.hidden.detach() + 0.3 * normal(positions, WIDTH)
        self.teacher_weight = self.weight.detach() + 0.02 * normal(vocabulary, WIDTH)
        self.labels = torch.randint(0, vocabulary, (positions,), generator=generator)
        self.ids = torch.randint(0, vocabulary, (positions, KEPT), generator=generator)
        self.probs = torch.rand(positions, KEPT, generator=generator)
        self.probs /= self.probs.sum(-1, keepdim=True)

    def cleared(self) -> None:
        self.hidden.grad = self.weight.grad = None


def plain(batch: Batch, divergence: str) -> Step:
    """What one writes first: both logits, both log-softmaxes, `kl_div`."""

    def step() -> Tensor:
        log_q = functional.log_softmax(functional.linear(batch.hidden, batch.weight), dim=-1)
        if divergence == "sampled":
            return -(batch.probs * log_q.gather(-1, batch.ids)).sum() / len(batch.hidden)
        with torch.no_grad():
            log_p = functional.log_softmax(functional.linear(batch.teacher_hidden, batch.teacher_weight), dim=-1)
        kl = {"reduction": "sum", "log_target": True}
        if divergence == "forward_kl":
            loss = functional.kl_div(log_q, log_p, **kl)
        elif divergence == "reverse_kl":
            loss = functional.kl_div(log_p, log_q, **kl)
        else:
            log_m = torch.log(0.5 * log_q.exp() + 0.5 * log_p.exp())
            loss = 0.5 * functional.kl_div(log_m, log_p, **kl) + 0.5 * functional.kl_div(log_m, log_q, **kl)
        return loss / len(batch.hidden)

    return step


def trl_logits(batch: Batch, divergence: str) -> Step:
    """`GKDTrainer.generalized_jsd_loss`, over whole logits."""
    from trl.experimental.gkd.gkd_trainer import GKDTrainer  # pyright: ignore[reportMissingImports]

    def step() -> Tensor:
        logits = functional.linear(batch.hidden, batch.weight)
        with torch.no_grad():
            teacher_logits = functional.linear(batch.teacher_hidden, batch.teacher_weight)
        return GKDTrainer.generalized_jsd_loss(
            logits[None], teacher_logits[None], labels=batch.labels[None], beta=BETAS[divergence]
        )

    return step


def trl_chunked(batch: Batch, divergence: str) -> Step:
    """`DistillationTrainer`'s loss, in tiles; on a CPU its kernels are plain torch."""
    from trl.trainer.distillation_trainer import _chunked_divergence_loss  # pyright: ignore[reportMissingImports]

    def step() -> Tensor:
        return _chunked_divergence_loss(
            batch.hidden[None],
            batch.teacher_hidden[None],
            batch.weight,
            batch.teacher_weight,
            torch.ones(1, len(batch.hidden)),
            BETAS[divergence],
        )[0]

    return step


def liger(batch: Batch, divergence: str, *, compiled: bool) -> Step:
    """`LigerFusedLinearJSDLoss`, plain torch in chunks of 1,024 positions."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss  # pyright: ignore[reportMissingImports]

    loss = LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta=BETAS[divergence], compiled=compiled
    )
    return lambda: loss(batch.hidden, batch.weight, batch.teacher_hidden, batch.teacher_weight, batch.labels)


def ours(batch: Batch, divergence: str) -> Step:
    from tutelage.losses import Divergence, HiddenTeacher, SampledTeacher, linear_divergence

    sampled = divergence == "sampled"
    teacher = (
        SampledTeacher(batch.ids, batch.probs, torch.zeros(len(batch.hidden)))
        if sampled
        else HiddenTeacher(batch.teacher_hidden, batch.teacher_weight)
    )
    return lambda: (
        linear_divergence(
            batch.hidden,
            batch.weight,
            teacher=teacher,
            labels=batch.labels,
            divergence=Divergence("forward_kl" if sampled else divergence),
            soft_weight=1.0,
            total=len(batch.hidden),
        ).loss
    )


def products(batch: Batch, divergence: str) -> Step:
    """The bare products, written over memory that is taken once; the loss is a stand-in with ready gradients."""
    chunk = 512
    logits = torch.empty(min(chunk, len(batch.hidden)), len(batch.weight))
    of_hidden, of_weight = torch.empty_like(batch.hidden), torch.zeros_like(batch.weight)

    @torch.no_grad()
    def step() -> Tensor:
        of_weight.zero_()
        for start in range(0, len(batch.hidden), chunk):
            rows = slice(start, start + chunk)
            if divergence != "sampled":
                torch.mm(batch.teacher_hidden[rows], batch.teacher_weight.T, out=logits)
            torch.mm(batch.hidden[rows], batch.weight.T, out=logits)
            torch.mm(logits, batch.weight, out=of_hidden[rows])
            of_weight.addmm_(logits.T, batch.hidden[rows])
        return torch.zeros(())

    return step


CONTENDERS: dict[str, tuple[str | None, Callable[[Batch, str], Step]]] = {
    "products": (None, products),
    "tutelage": (None, ours),
    "plain PyTorch": (None, plain),
    "TRL, whole logits": ("trl", trl_logits),
    "TRL, chunked": ("trl", trl_chunked),
    "Liger, eager": ("liger_kernel", lambda batch, name: liger(batch, name, compiled=False)),
    "Liger, compiled": ("liger_kernel", lambda batch, name: liger(batch, name, compiled=True)),
}
"""The package that each needs, and how it makes a step."""


def contend(name: str, divergence: str, vocabulary: int, threads: int) -> None:
    """Body of a contender's process: one line of JSON for every line of its input."""
    torch.set_num_threads(threads)
    make = CONTENDERS[name][1]
    tiny = Batch(8, 64)
    if name not in ("products", "Liger, compiled"):
        make(tiny, divergence)().backward()  # loads lazily loaded code
    batch = Batch(POSITIONS, vocabulary)
    step = make(batch, divergence)
    if name == "Liger, compiled":
        step().backward()
        batch.cleared()
    before = _reset_high_water()
    for _ in sys.stdin:
        batch.cleared()
        cpu, start = time.process_time(), time.perf_counter()
        loss = step()
        if loss.requires_grad:
            loss.backward()
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        found: dict[str, Any] = {"seconds": seconds, "cpu_seconds": cpu_seconds, "loss": float(loss.detach())}
        found["peak_bytes"] = _status("VmHWM") - before
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


def _reset_high_water() -> int:
    """Set the high-water mark to what is resident now, and return that."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def measure(divergence: str, vocabulary: int, *, rounds: int, threads: int, only: set[str]) -> dict[str, Any]:
    """All contenders of one row, taking turns."""
    left_out: list[str] = []
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
        command = [sys.executable, __file__, "--contend", name, "--threads", str(threads)]
        command += ["--divergence", divergence, "--vocabulary", str(vocabulary)]
        processes[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
    try:
        for _ in range(rounds):
            for name, process in processes.items():
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("again\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    raise SystemExit(f"{name} ended early")
                found[name].append(json.loads(line))
                print(f"{divergence} {vocabulary} {name}: {found[name][-1]['seconds']:.2f} s", file=sys.stderr)
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
            "all_seconds": [round(turn["seconds"], 3) for turn in turns],
        }
        for name, turns in found.items()
    }
    return {"divergence": divergence, "vocabulary": vocabulary, "rows": rows, "not_installed": left_out}


def bars(run: dict[str, Any]) -> dict[str, bool]:
    """Which bars a run meets."""
    rows, clock = run["rows"], _clock(run)
    others = [row[clock] for name, row in rows.items() if name not in ("products", "tutelage")]
    if "tutelage" not in rows or "plain PyTorch" not in rows:
        return {}
    return {
        "memory": rows["tutelage"]["peak_mib"] <= MEMORY_BAR * rows["plain PyTorch"]["peak_mib"],
        "time": rows["tutelage"][clock] <= min(others),
    }


def _clock(run: dict[str, Any]) -> str:
    return "cpu_seconds" if run["threads"] == 1 else "seconds"


def describe(results: dict[str, Any]) -> str:
    """The report."""
    lines = [
        "# Output matrix and divergence: time and memory",
        "",
        f"{POSITIONS:,} tokens, states of width {WIDTH}, float32; loss and gradients of states and output matrix. "
        "Memory is the high-water mark of the resident memory over the inputs, in a process for each contender; time "
        "the shortest of the rounds. `x products`: time over that of the bare matrix products. Bars are held to CPU "
        "seconds where one thread was used, to seconds otherwise.",
    ]
    for run in results["runs"]:
        rows, target = run["rows"], "sampled targets" if run["divergence"] == "sampled" else run["divergence"]
        clock = _clock(run)
        lines += ["", f"## {target}, vocabulary {run['vocabulary']:,}", ""]
        lines += ["| | seconds | CPU seconds | x products | peak MiB | loss |", "|---|---|---|---|---|---|"]
        for name, row in rows.items():
            times = f"{row[clock] / rows['products'][clock]:.2f}" if "products" in rows else ""
            loss = "" if name == "products" else f"{row['loss']:.4f}"
            measured = f"{row['seconds']:.2f} | {row['cpu_seconds']:.2f} | {times} | {row['peak_mib']:,.0f}"
            lines.append(f"| {name} | {measured} | {loss} |")
        goes, loads = {row["begun"] for row in rows.values()}, [row["load_before"] for row in rows.values()]
        met = "".join(f"; {bar} bar {'met' if ok else 'missed'}" for bar, ok in bars(run).items())
        lines += [
            "",
            f"{run['threads']} threads; measured {'in turns' if len(goes) == 1 else f'in {len(goes)} goes'}; load "
            f"average before {min(loads):.1f} to {max(loads):.1f}{met}.",
        ]
        missing = [
            name
            for name, (package, _) in CONTENDERS.items()
            if name not in rows and not (package and run["divergence"] == "sampled")
        ]
        if missing:
            lines += ["", f"Not measured here, so no bar is held against them: {', '.join(missing)}."]
        if run["not_installed"]:
            lines += ["", f"Not installed: {', '.join(run['not_installed'])}."]
    lines += [
        "",
        "bfloat16 was not measured: this processor does not multiply it in hardware. TRL and Liger take no sampled "
        "targets; there plain PyTorch gathers from a log-softmax, and its value lacks the teacher's entropy.",
        "",
        f"{results['machine']}; {results['versions']}.",
        "",
        "Again: `python benchmarks/linear_divergence.py` (how to install the others: see its first lines).",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, nargs="*", default=[49_152, 151_936])
    parser.add_argument("--divergence", nargs="*", default=list(CHOICES), choices=CHOICES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", default=[], choices=CONTENDERS, help="these contenders")
    parser.add_argument("--contend", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contend:
        contend(arguments.contend, arguments.divergence[0], arguments.vocabulary[0], arguments.threads)
        return 0
    path = RESULTS / "linear_divergence.json"
    packages = [name for name in ("torch", "trl", "liger-kernel") if importlib.util.find_spec(name.replace("-", "_"))]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    about = {"machine": f"{processor()}, {os.cpu_count()} cores", "versions": versions}
    missed = False
    for vocabulary in arguments.vocabulary:
        for divergence in arguments.divergence:
            run = measure(
                divergence, vocabulary, rounds=arguments.rounds, threads=arguments.threads, only=set(arguments.only)
            )
            run["threads"] = arguments.threads
            results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"runs": []}
            results |= about
            key = (divergence, vocabulary, arguments.threads)
            before = [old for old in results["runs"] if (old["divergence"], old["vocabulary"], old["threads"]) == key]
            if arguments.only and before:
                rows = before[0]["rows"] | run["rows"]
                run["rows"] = {name: rows[name] for name in CONTENDERS if name in rows}
            kept = [old for old in results["runs"] if (old["divergence"], old["vocabulary"]) != key[:2]]
            results["runs"] = sorted([*kept, run], key=lambda r: (r["vocabulary"], CHOICES.index(r["divergence"])))
            RESULTS.mkdir(exist_ok=True)
            path.write_text(json.dumps(results, indent=1) + "\n")
            path.with_suffix(".md").write_text(describe(results))
            missed |= divergence == "forward_kl" and not all(bars(run).values())
    print(path.with_suffix(".md").read_text())
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
