"""The server of exported students beside FastAPI with transformers' pipeline and the same student.

Each server is a process of its own, four clients with kept-alive connections ask it in turns: ours,
theirs, ours, theirs. Both answer vLLM's `/classify` shape; whoever asks
is made to cost little, since it shares the processors. Rates, medians and 99th percentiles of
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
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from machine import RESULTS, keep, machine

CLIENTS, SECONDS, TURNS = 4, 8.0, 5
WAIT = 60.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


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


class Client(asyncio.Protocol):
    """One kept-alive connection that asks again as soon as it is answered. It shares the processors
    with the server that is measured, so it reads no more of a response than it must.
    """

    def __init__(self, requests: list[bytes], first: int, end: float) -> None:
        self.seconds: list[float] = []
        self.done = asyncio.get_running_loop().create_future()
        self._requests, self._place, self._end = requests, first, end
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def _ask(self) -> None:
        self._start = time.perf_counter()
        self._transport.write(self._requests[self._place % len(self._requests)])
        self._place += CLIENTS

    def data_received(self, data: bytes) -> None:
        got = self._got = self._got + data
        if not got.startswith(b"HTTP/1.1 200"[: len(got)]):
            self._end_with(RuntimeError(got.decode()))
            return
        head = got.find(b"\r\n\r\n")
        length = LENGTH.search(got, 0, head + 2) if head >= 0 else None
        if length is None or len(got) < head + 4 + int(length[1]):
            return
        now = time.perf_counter()
        self.seconds.append(now - self._start)
        self._got = b""
        if now < self._end:
            self._ask()
        else:
            self._end_with(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_with(exc or OSError("the server has hung up"))

    def _end_with(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error) if error else self.done.set_result(None)
        self._transport.close()


async def ask(port: int, bodies: list[bytes], seconds: float) -> list[float]:
    """Seconds of every request of four clients, each on one connection."""
    requests = [
        b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies
    ]
    loop, end = asyncio.get_running_loop(), time.perf_counter() + seconds
    clients = [
        (await loop.create_connection(lambda n=n: Client(requests, n, end), "127.0.0.1", port))[1]
        for n in range(CLIENTS)
    ]
    await asyncio.gather(*(one.done for one in clients))
    return [one for client in clients for one in client.seconds]


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
                uvloop.run(ask(port, bodies, 1.0))
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.1)
        taken = np.sort(uvloop.run(ask(port, bodies, SECONDS)))
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
