"""Students of finished runs as ONNX graphs, in float32 and in int8, beside themselves.

Every student is exported as `tutelage export` does it, held against the test rows of its run, and
asked the same texts in the same process: as PyTorch (or numpy, for those without torch) answers,
and as `tutelage_runtime` does. Each answers a text before any sees the next; tokenisation counts
for everybody; one thread each.

    python benchmarks/exports.py demo=runs/demo banking77=runs/banking77:pruned --texts 60

A run is given with a name for the page, and after a colon the students that are measured (all of
them, where there is none). Runs are left as they are. Writes `benchmarks/results/exports.{json,md}`
and exits 1 if the gate refuses an export.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from machine import RESULTS, keep, machine
from tutelage.errors import ExportFailed
from tutelage.evaluate.cost import measure_latency
from tutelage.recipes.exporting import export_student
from tutelage.runs import read_json
from tutelage.students import load_classifier
from tutelage_runtime.session import load

FORMATS = ("onnx", "onnx_int8")
SELF = "student"
TEACHER = "teacher"


def students_of(words: list[str]) -> Iterator[tuple[str, Path, str]]:
    """The page's name of each run, its folder, and a student in it."""
    for word in words:
        name, _, place = word.partition("=")
        run, _, chosen = place.partition(":")
        names = (
            chosen.split(",")
            if chosen
            else sorted(read_json(Path(run) / "evaluation.json")["students"])
        )
        for student in names:
            yield name, Path(run), student


def size_of(folder: Path) -> int:
    """Bytes of what answering needs: graph or weights, and what reads texts."""
    needed = (
        "*.safetensors",
        "config.json",
        "tokenizer*.json",
        "ngrams.json",
        "pairs.npy",
        "model.onnx",
        "student.json",
    )
    return sum(path.stat().st_size for pattern in needed for path in folder.glob(pattern))


def teacher_of(run: Path) -> Any:
    """The fitted teacher of a run; texts in, probabilities out."""
    from tutelage.teachers import ClassifierTeacher
    from tutelage.types import Example

    teacher = ClassifierTeacher.load(run / "teacher")
    return lambda texts: teacher.label([Example(text) for text in texts])


def measured(
    run: Path, student: str, *, texts: int, batch_size: int, scratch: Path, with_teacher: bool
) -> dict[str, Any]:
    """One student in every form."""
    folder = run / "students" / student
    rows = [
        text
        for text in pq.read_table(run / "predictions.parquet")["text"].to_pylist()
        if text.strip()
    ]
    asked = rows[:: max(1, len(rows) // texts)][:texts]
    found: dict[str, Any] = {SELF: {"bytes": size_of(folder), **accuracy_of(run, student)}}
    answering: dict[str, Any] = {SELF: load_classifier(folder).probs}
    for name in FORMATS:
        out = scratch / name
        try:
            export_student(run, name, student=student, out=out)
        except ExportFailed as error:
            print(error, file=sys.stderr)
            out = out.with_name(f"{name}.failed")
            found[name] = {"parity": read_json(out / "parity.json")}
            continue
        answering[name] = load(out).probs
        parity = read_json(out / "parity.json")
        found[name] = {
            "bytes": size_of(out),
            "temperature": load(out).bundle.temperature,
            "parity": parity,
        }
    if with_teacher:
        answering[TEACHER], found[TEACHER] = teacher_of(run), {}
    for name, cost in measure_latency(answering, asked, batch_size=batch_size).items():
        found[name] |= cost
    for name, cost in processor_time(answering, asked, batch_size=batch_size).items():
        found[name] |= cost
    return found


def processor_time(
    answering: dict[str, Any], texts: list[str], *, batch_size: int
) -> dict[str, dict[str, float]]:
    """What an answer takes of one processor, whoever else is at work on it: the median over texts
    of the least of three, and texts a second in batches, the best of three."""
    alone: dict[str, list[float]] = {name: [] for name in answering}
    for text in texts:
        for name, ask in answering.items():
            alone[name].append(min(seconds(ask, [text]) for _ in range(3)))
    batches = [texts[at : at + batch_size] for at in range(0, len(texts), batch_size)]
    return {
        name: {
            "processor_ms_p50": 1e3 * float(np.median(alone[name])),
            "texts_per_processor_second": len(texts)
            / min(sum(seconds(ask, batch) for batch in batches) for _ in range(3)),
        }
        for name, ask in answering.items()
    }


def seconds(ask: Any, texts: list[str]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    ask(texts)
    return time.process_time() - started


def accuracy_of(run: Path, student: str) -> dict[str, Any]:
    """What the run's evaluation says of a student."""
    known = read_json(run / "evaluation.json")["students"][student]
    return {name: known[name] for name in ("accuracy", "agreement") if name in known}


def as_markdown(report: dict[str, Any]) -> str:
    """The report as a small page."""
    lines = []
    for one in report["students"]:
        for form, found in one["forms"].items():
            parity, one_text = found.get("parity"), found.get("latency_ms_p50")
            accuracy = (parity or {}).get("accuracy", {}).get("exported")
            if parity is None and "accuracy" in found:
                accuracy = found["accuracy"]["value"]
            teacher = (parity or {}).get("teacher_agreement", {}).get("exported")
            if parity is None and "agreement" in found:
                teacher = found["agreement"]["value"]
            cells = [
                f"{one['run']}: {TEACHER if form == TEACHER else one['student']}",
                {"student": "as trained", "onnx": "onnx", "onnx_int8": "int8"}.get(form, form)
                + (f" ({parity['products']})" if form == "onnx_int8" and parity else ""),
                f"{found['bytes'] / 1e6:.2f}"
                if "bytes" in found
                else ""
                if form == TEACHER
                else "refused",
                "" if parity is None else f"{parity['agreement']:.2%}",
                "" if parity is None else f"{parity['difference']:.1e}",
                "" if accuracy is None else f"{accuracy:.2%}",
                "" if teacher is None else f"{teacher:.2%}",
                ""
                if one_text is None
                else f"{one_text['value']:.3f} [{one_text['low']:.3f}, {one_text['high']:.3f}]",
                f"{found['latency_ms_p95']['value']:.3f}" if "latency_ms_p95" in found else "",
                f"{found['examples_per_second']['value']:,.0f}"
                if "examples_per_second" in found
                else "",
                f"{found['processor_ms_p50']:.3f}" if "processor_ms_p50" in found else "",
                f"{found['texts_per_processor_second']:,.0f}"
                if "processor_ms_p50" in found
                else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        "# Exports: bytes, parity and speed\n\n"
        f"Students of finished runs, exported with `tutelage export`. {report['texts']} test rows of "
        f"each run for the times, in batches of {report['batch_size']} for texts/s; one thread; "
        "tokenisation included. MB: weights or graph with what reads texts. Same answer and largest "
        "difference of a probability: against the student itself, on all test rows, odd texts and "
        "mixed batches besides; of int8 how its products are computed. Medians with 95 % bootstrap "
        "intervals over texts. Processor time, one text at a time and in batches, is the best of three: what "
        "others do on the machine is not in it.\n\n"
        "| student | form | MB | same answer | largest difference | accuracy | as the teacher | "
        "one text, ms | p95 | texts/s | processor ms | texts per processor second |\n"
        f"{'|---' * 12}|\n"
        + "\n".join(lines)
        + f"\n\n{machine['processor']} ({'with' if machine['vnni'] else 'without'} VNNI), "
        f"{machine['threads']} thread, load {machine['load_before']} before and "
        f"{machine['load_after']} after; {versions}.\n\n"
        f"Again: `python benchmarks/exports.py {' '.join(report['arguments'])}`\n"
    )


def has_vnni() -> bool:
    """Whether the processor multiplies int8 without overflow."""
    path = Path("/proc/cpuinfo")
    return path.is_file() and "vnni" in path.read_text("utf-8")


def main() -> int:
    """Measure, write, and say whether every export passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN[:STUDENT,...]")
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--teacher", action="store_true", help="also the teacher, beside the first student of a run"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = os.getloadavg()[0]
    students = []
    for name, run, student in students_of(options.runs):
        scratch = Path(tempfile.mkdtemp())
        forms = measured(
            run,
            student,
            texts=options.texts,
            batch_size=options.batch_size,
            scratch=scratch,
            with_teacher=options.teacher and name not in {one["run"] for one in students},
        )
        students.append({"run": name, "student": student, "forms": forms})
        shutil.rmtree(scratch)
    words = [
        f"{word.partition('=')[0]}=RUN{':' * (':' in word)}{word.partition(':')[2]}"
        for word in options.runs
    ]
    report = {
        "benchmark": "exports",
        "arguments": words,
        "texts": options.texts,
        "batch_size": options.batch_size,
        "machine": machine("torch", "transformers", "numpy", "onnxruntime", "onnx")
        | {
            "vnni": has_vnni(),
            "load_before": round(before, 1),
            "load_after": round(os.getloadavg()[0], 1),
        },
        "students": students,
    }
    keep(report, as_markdown, out=options.out)
    parities = [
        forms["parity"] for one in students for forms in one["forms"].values() if "parity" in forms
    ]
    return 0 if all(parity["passed"] for parity in parities) else 1


if __name__ == "__main__":
    sys.exit(main())
