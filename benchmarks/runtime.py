"""What a student costs without torch: from start to first answer, memory, time of one text.

Three ways to the same answers: `tutelage_runtime` with the export in float32 and in int8, and
`tutelage.students.load_classifier`, which is torch for networks. Each is a process of its own, on
one thread.

- Cold start: from just before the process is started until its first answer has arrived, and the
  processor's time in it. The three take turns.
- Memory: the most that was resident (VmHWM) after the first answer, after all texts one by one, and
  after all texts at once.
- One text: every text is given to each way before the next text, so that all see the same machine.

    python benchmarks/runtime.py runs/NAME/students/lstm test.csv

Writes `benchmarks/results/runtime.{json,md}`, and exits 1 if a float32 export gives a probability
that differs by more than 1e-4. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from machine import RESULTS, keep, machine
from tutelage.export import Subject, export

TORCH = "load_classifier"
WAYS = {
    "onnx": "tutelage_runtime, float32",
    "onnx_int8": "tutelage_runtime, int8",
    TORCH: "tutelage.students.load_classifier",
}
FIRST = "A first text, of a few words, to be answered."
BARS = {"cold_seconds": 0.5, "peak_mb": 150}
CHILD = """
import json, sys, time
way, folder, first = sys.argv[1:]
if way == "load_classifier":
    import torch
    torch.set_num_threads(1)
    from tutelage.students import load_classifier as load
else:
    from tutelage_runtime import load
student = load(folder)
student.probs([first])
def tell(**values):
    print(json.dumps(values), flush=True)
def peak():
    with open("/proc/self/status") as file:
        [line] = [line for line in file if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
tell(cpu=time.process_time(), peak_mb=peak())
for line in sys.stdin:
    texts = json.loads(line)
    begin = time.perf_counter()
    probs = student.probs(texts)
    seconds = time.perf_counter() - begin
    tell(seconds=seconds, probs=probs.tolist(), peak_mb=peak())
"""


class Way:
    """A process that answers."""

    def __init__(self, name: str, folder: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        begin = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, name, str(folder), FIRST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=environment,
        )
        self.first = self._told()
        self.first["seconds"] = time.monotonic() - begin

    def answer(self, texts: list[str]) -> dict[str, Any]:
        """Seconds, probabilities, and the most memory so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(texts) + "\n")
        self._process.stdin.flush()
        return self._told()

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def cold_starts(folders: dict[str, Path], *, rounds: int) -> dict[str, dict[str, Any]]:
    """Median, least and most seconds of a first answer; the first round, which fills caches of the
    file system, is not counted."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in folders}
    for counted in [False] + [True] * rounds:
        for name, folder in folders.items():
            way = Way(name, folder)
            way.close()
            if counted:
                found[name].append(way.first)
    return {
        name: {
            "seconds_median": statistics.median(one["seconds"] for one in starts),
            "seconds_least": min(one["seconds"] for one in starts),
            "seconds_most": max(one["seconds"] for one in starts),
            "processor_seconds_median": statistics.median(one["cpu"] for one in starts),
            "peak_mb": max(one["peak_mb"] for one in starts),
        }
        for name, starts in found.items()
    }


def answers(folders: dict[str, Path], texts: list[str]) -> dict[str, dict[str, Any]]:
    """Time of single texts and of all at once, memory, and how far probabilities are from torch's."""
    ways = {name: Way(name, folder) for name, folder in folders.items()}
    singles: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for text in texts:
        for name, way in ways.items():
            singles[name].append(way.answer([text]))
    told = {}
    expected = np.array([one["probs"][0] for one in singles[TORCH]])
    for name, way in ways.items():
        milliseconds = np.array([one["seconds"] * 1000 for one in singles[name]])
        batches = [way.answer(texts) for _ in range(3)]
        way.close()
        probs = np.array([one["probs"][0] for one in singles[name]])
        told[name] = {
            "p50_ms": float(np.median(milliseconds)),
            "p95_ms": float(np.quantile(milliseconds, 0.95)),
            "texts_per_second": len(texts) / min(one["seconds"] for one in batches),
            "singles_peak_mb": singles[name][-1]["peak_mb"],
            "batch_peak_mb": batches[-1]["peak_mb"],
            "largest_difference": float(np.abs(probs - expected).max()),
        }
    return told


def as_markdown(report: dict[str, Any]) -> str:
    """The page of a report."""
    lines = [
        "# A student without torch: first answer, memory, one text",
        "",
        f"{report['student']}, {report['texts']} texts, one thread for each way. Cold start is "
        f"from the start of the process to its first answer, median [least, most] of "
        f"{report['rounds']}; `processor` is what of it the processor worked. Memory is the most "
        "that was resident. Texts are given to each way in turn.",
        "",
        "| way | cold start, s | processor, s | memory, first answer | one by one | all at once | one text, ms | p95 | all at once, texts/s | largest difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, title in WAYS.items():
        cold, one = report["cold"][name], report["answers"][name]
        lines.append(
            f"| {title} | {cold['seconds_median']:.2f} [{cold['seconds_least']:.2f}, "
            f"{cold['seconds_most']:.2f}] | {cold['processor_seconds_median']:.2f} | "
            f"{cold['peak_mb']:.0f} MB | {one['singles_peak_mb']:.0f} MB | "
            f"{one['batch_peak_mb']:.0f} MB | {one['p50_ms']:.3f} | {one['p95_ms']:.3f} | "
            f"{one['texts_per_second']:,.0f} | {one['largest_difference']:.1e} |"
        )
    made = report["machine"]
    versions = ", ".join(f"{name} {found}" for name, found in made["packages"].items())
    lines += [
        "",
        f"Bars: a first answer within {BARS['cold_seconds']} s, {BARS['peak_mb']} MB.",
        "",
        f"{made['processor']}, {os.cpu_count()} cores, load {report['load_before']:.1f} before and "
        f"{report['load_after']:.1f} after; {versions}.",
        "",
        f"Again: `python benchmarks/runtime.py {report['again']}`",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, and keep what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("student", type=Path, help="folder of a trained student")
    parser.add_argument("file", type=Path, help="csv with a column text")
    parser.add_argument("--rounds", type=int, default=15, help="cold starts of each way [15]")
    parser.add_argument("--texts", type=int, default=500, help="that are answered [500]")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with options.file.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][: options.texts]
    with tempfile.TemporaryDirectory() as place:
        folders = {TORCH: options.student}
        for name in ("onnx", "onnx_int8"):
            folders[name] = Path(place) / name
            export(name, Subject(options.student, options.student.name), folders[name])
        before = os.getloadavg()[0]
        report = {
            "benchmark": "runtime",
            "student": options.student.name,
            "texts": len(texts),
            "rounds": options.rounds,
            "cold": cold_starts(folders, rounds=options.rounds),
            "answers": answers(folders, texts),
            "bars": BARS,
            "load_before": before,
            "load_after": os.getloadavg()[0],
            "machine": machine("torch", "onnxruntime", "tokenizers", "numpy"),
            "again": f"runs/NAME/students/{options.student.name} TEST.csv",
        }
    keep(report, as_markdown, out=options.out)
    return int(report["answers"]["onnx"]["largest_difference"] > 1e-4)


if __name__ == "__main__":
    raise SystemExit(main())
