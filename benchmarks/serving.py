"""The server of exported students beside FastAPI with transformers' pipeline and the same student.

Each server is a process of its own, four clients with kept-alive connections ask it in turns: ours,
theirs, ours, theirs. Both answer vLLM's `/classify` shape. Rates, medians and 99th percentiles of
the same texts in one run; what decides is the ratio.

    pip install fastapi
    python benchmarks/serving.py STUDENT_FOLDER EXPORT_FOLDER TEXTS.csv

Writes `benchmarks/results/serving.{json,md}`.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from machine import RESULTS, keep, machine

CLIENTS, SECONDS, TURNS = 4, 8.0, 3
WAIT = 60.0


def plain_server(folder: str, port: int) -> None:
    """What one writes in an hour: FastAPI around a pipeline."""
    import uvicorn
    from fastapi import FastAPI  # pyright: ignore[reportMissingImports]
    from transformers import pipeline

    import tutelage

    tutelage.register()
    classify: Any = pipeline("text-classification", model=folder, top_k=None)

    app = FastAPI()

    @app.post("/classify")
    def answer(body: dict) -> dict[str, Any]:
        found = classify([body["input"]], truncation=True)[0]
        scores = {one["label"]: one["score"] for one in found}
        return {
            "data": [
                {"index": 0, "label": max(scores, key=lambda one: scores[one]), "probs": scores}
            ]
        }

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


async def ask(port: int, bodies: list[bytes], seconds: float) -> list[float]:
    """Seconds of every request of four clients, each on one connection."""
    heads = [
        b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies
    ]
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def client(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        place = first
        while (start := time.perf_counter()) < end:
            writer.write(heads[place % len(heads)])
            place += CLIENTS
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            taken.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return taken


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def measure(words: list[str], port: int, bodies: list[bytes]) -> dict[str, float]:
    """One turn of one server: started, asked for a second, measured, stopped."""
    process = subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        until = time.monotonic() + WAIT
        while True:
            try:
                asyncio.run(ask(port, bodies, 1.0))
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.1)
        taken = np.sort(asyncio.run(ask(port, bodies, SECONDS)))
        status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
        rss = int(status.split("VmRSS:")[1].split()[0]) / 1024
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    return {
        "requests_per_second": len(taken) / SECONDS,
        "p50_ms": 1000 * float(np.quantile(taken, 0.5)),
        "p99_ms": 1000 * float(np.quantile(taken, 0.99)),
        "rss_mb": rss,
    }


def page(report: dict[str, Any]) -> str:
    rows = [
        "# The server beside FastAPI with a pipeline",
        "",
        f"{report['student']}; {CLIENTS} kept-alive clients, {TURNS} turns of {SECONDS:g} s each, "
        f"{report['machine']['processor']}.",
        "",
        "| | requests/s | p50 ms | p99 ms | MB |",
        "|---|---|---|---|---|",
    ]
    for name in ("tutelage serve", "FastAPI + pipeline"):
        one = report["servers"][name]
        rows.append(
            f"| {name} | {one['requests_per_second']:.0f} | {one['p50_ms']:.2f} | "
            f"{one['p99_ms']:.2f} | {one['rss_mb']:.0f} |"
        )
    rows += [
        "",
        f"Ratio of rates in each turn: {', '.join(f'{one:.1f}' for one in report['ratios'])}.",
    ]
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("student", help="folder of a run's student")
    parser.add_argument("export", help="folder that tutelage export wrote of it")
    parser.add_argument("texts", help="csv with a column text")
    parser.add_argument("--plain", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.plain:
        plain_server(options.student, options.plain)
        return
    with Path(options.texts).open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:2000]
    bodies = [json.dumps({"model": "student", "input": text}).encode() for text in texts]
    turns: dict[str, list[dict[str, float]]] = {"tutelage serve": [], "FastAPI + pipeline": []}
    for _ in range(TURNS):
        port = free_port()
        ours = [
            sys.executable,
            "-m",
            "tutelage_runtime",
            "serve",
            options.export,
            "--port",
            str(port),
        ]
        turns["tutelage serve"].append(measure([*ours, "--quiet"], port, bodies))
        port = free_port()
        theirs = [sys.executable, __file__, options.student, options.export, options.texts]
        turns["FastAPI + pipeline"].append(measure([*theirs, "--plain", str(port)], port, bodies))
    report = {
        "benchmark": "serving",
        "machine": machine("onnxruntime", "starlette", "uvicorn", "fastapi", "transformers"),
        "student": Path(options.student).name,
        "turns": turns,
        "servers": {
            name: {key: float(np.median([turn[key] for turn in found])) for key in found[0]}
            for name, found in turns.items()
        },
        "ratios": [
            ours["requests_per_second"] / theirs["requests_per_second"]
            for ours, theirs in zip(*turns.values(), strict=True)
        ],
    }
    keep(report, page, out=options.out)


if __name__ == "__main__":
    main()
