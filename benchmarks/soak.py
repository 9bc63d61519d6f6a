"""A cascade under steady load for an hour, with everything that happens to servers.

100 requests a second at a server of versions (two students with certificates) in front of an
upstream of which one response in ten is a fault (500, 429, slow, cut off). Meanwhile: clients that
hang up, giant bodies, invalid JSON, versions promoted and rolled back, SIGHUP, SIGTERM and SIGKILL
with a restart. Every reply must be the answer of the version that it names, or the upstream's. What
is lost, wrong, and how memory and open files grow within a process's life.

    python benchmarks/soak.py EXPORT EXPORT TEXTS.csv --minutes 60

Each EXPORT is a folder with certificate.json beside student.json. Writes
`benchmarks/results/soak.{json,md}`.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from machine import RESULTS, keep, machine
from tutelage_runtime.releases import promote, roll_back
from tutelage_runtime.session import load

RATE = 100.0
FAULTS = 0.1
EVERY = {"reload": 30.0, "version": 75.0, "terminate": 600.0, "kill": 900.0}
"""Seconds between."""


def upstream_choice(text: str, labels: list[str]) -> str:
    """The same for the same text, always."""
    return labels[hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % len(labels)]


async def upstream(labels: list[str], students: dict[str, Any]) -> tuple[web.AppRunner, int]:
    """One that mostly agrees with the students, and fails one time in ten."""
    chance = random.Random(0)

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        fault = chance.random()
        if fault < FAULTS / 4:
            return web.Response(status=500, text="broken")
        if fault < FAULTS / 2:
            return web.Response(status=429, text="busy", headers={"Retry-After": "1"})
        if fault < 3 * FAULTS / 4:
            await asyncio.sleep(chance.uniform(1, 4))
        elif fault < FAULTS and request.transport is not None:
            request.transport.abort()
        choice = students["teacher"](asked["input"])
        probs = [{"value": one, "probability": float(one == choice)} for one in labels]
        body = {"type": "choice", "choice": choice, "confidence": 1.0, "probabilities": probs}
        return web.json_response({"model": "upstream", "answers": [body]})

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/decisions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


@dataclass
class World:
    """What was seen."""

    expected: dict[str, dict[str, list[float]]]
    """By version and text."""
    labels: list[str]
    teacher: Any
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    lives: list[list[tuple[float, float, int]]] = field(default_factory=list)
    """Of each process: seconds, MB, open files."""


class Server:
    """The process, started again whenever it ends."""

    def __init__(self, service: Path, url: str, work: Path) -> None:
        self.words = [sys.executable, "-m", "tutelage_runtime", "serve", str(service), "--watch"]
        self.words += ["--port", "8391", "--upstream", url, "--state", str(work / "state")]
        self.words += ["--record", str(work / "traffic"), "--quiet", "--upstream-seconds", "10"]
        self.log = (work / "server.log").open("ab")
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.words, stderr=self.log, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )

    async def watch(self, world: World, until: float) -> None:
        """Restart, and measure every five seconds."""
        world.lives.append([])
        born = time.monotonic()
        while time.monotonic() < until:
            await asyncio.sleep(1.0)
            if (code := self.process.poll()) is not None:
                world.counts[f"ended with {code}"] += 1
                self.process = self.start()
                world.lives.append([])
                born = time.monotonic()
            elif int(time.monotonic() - born) % 5 == 0:
                place = Path(f"/proc/{self.process.pid}")
                try:
                    rss = int((place / "status").read_text().split("VmRSS:")[1].split()[0]) / 1024
                    files = len(list((place / "fd").iterdir()))
                except (OSError, IndexError):
                    continue
                world.lives[-1].append((time.monotonic() - born, rss, files))


async def ask(session: ClientSession, world: World, text: str) -> None:
    """One request, tried again as clients do while the server restarts."""
    question = {
        "type": "choice",
        "name": "q",
        "instructions": "Which?",
        "choices": [{"value": one} for one in world.labels],
    }
    body = json.dumps({"model": "m", "input": text, "questions": [question]})
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-client"}
    for attempt in range(40):
        start = time.perf_counter()
        try:
            async with session.post(
                "http://127.0.0.1:8391/v1/decisions", data=body, headers=headers
            ) as response:
                content = await response.read()
                status, by = response.status, response.headers.get("X-Answered-By", "nobody")
        except (ClientError, OSError, TimeoutError) as error:
            world.counts[f"tried again: {type(error).__name__}"] += 1
            await asyncio.sleep(min(0.1 * 1.5**attempt, 2.0))
            continue
        world.latencies.append(time.perf_counter() - start)
        world.counts[f"{status} by {by}"] += 1
        if status == 200:
            judge(world, text, json.loads(content))
        elif status not in (429, 500, 502, 504) and not (status == 503 and attempt < 39):
            world.lost.append(f"{status} {content[:200]!r}")
        elif status == 503:
            await asyncio.sleep(0.2)
            continue
        return
    world.lost.append("no answer after 40 tries")


def judge(world: World, text: str, reply: dict[str, Any]) -> None:
    """Whether a reply is the answer of who is named."""
    (answer,) = reply["answers"]
    if reply["model"] == "upstream":
        if answer["choice"] != world.teacher(text):
            world.wrong.append(f"upstream: {text[:60]}")
        return
    version = reply["model"].rpartition("@")[2]
    wanted = world.expected[version][text]
    given = [one["probability"] for one in answer["probabilities"]]
    if max(abs(a - b) for a, b in zip(wanted, given, strict=True)) > 1e-3:
        world.wrong.append(f"{version}: {text[:60]}")


async def trouble(world: World, chance: random.Random) -> None:
    """A client that is no good."""
    kind = chance.choice(["hang up", "giant", "no json", "half"])
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", 8391)
    except OSError:
        return
    head = b"POST /v1/decisions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    try:
        if kind == "hang up":
            writer.write(head + b"Content-Length: 50\r\n\r\n{")
        elif kind == "giant":
            writer.write(head + b"Content-Length: 5000000\r\n\r\n" + b"x" * 200_000)
            await asyncio.wait_for(reader.read(200), 5)
        elif kind == "no json":
            writer.write(head + b"Content-Length: 5\r\n\r\n{nope")
            said = await asyncio.wait_for(reader.read(200), 5)
            if said and b" 400 " not in said[:20]:
                world.wrong.append(f"invalid JSON got {said[:40]!r}")
        else:
            writer.write(head[:37])
        await writer.drain()
    except (OSError, TimeoutError):
        pass
    finally:
        world.counts[f"client: {kind}"] += 1
        writer.close()


async def events(
    world: World, server: Server, exports: list[Path], service: Path, until: float
) -> None:
    """What happens to the server."""
    due = {name: time.monotonic() + seconds for name, seconds in EVERY.items()}
    turn = 0
    while time.monotonic() < until - 20:
        await asyncio.sleep(1.0)
        for name in [one for one, at in due.items() if time.monotonic() > at]:
            due[name] += EVERY[name]
            world.counts[f"event: {name}"] += 1
            if name == "version":
                turn += 1
                if turn == 1:
                    await asyncio.to_thread(promote, exports[1], service)
                else:
                    await asyncio.to_thread(roll_back, service)
                continue
            number = {"reload": "SIGHUP", "terminate": "SIGTERM", "kill": "SIGKILL"}[name]
            server.process.send_signal(getattr(signal, number))


async def soak(exports: list[Path], texts: list[str], minutes: float, work: Path) -> World:
    students = {load(one).version: load(one) for one in exports}
    first = next(iter(students.values()))
    labels = first.labels
    expected = {
        version: dict(zip(texts, one.probs(texts).tolist(), strict=True))
        for version, one in students.items()
    }
    order = {text: labels[int(np.argmax(expected[first.version][text]))] for text in texts}
    chance = random.Random(1)
    other = {text for text in texts if chance.random() < 0.005}

    def teacher(text: str) -> str:
        return upstream_choice(text, labels) if text in other else order[text]

    world = World(expected, labels, teacher)
    runner, port = await upstream(labels, {"teacher": teacher})
    service = work / "service"
    promote(exports[0], service)
    server = Server(service, f"http://127.0.0.1:{port}", work)
    await asyncio.sleep(3)
    until = time.monotonic() + 60 * minutes
    connector = TCPConnector(limit=128)
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Any) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async with ClientSession(connector=connector, timeout=ClientTimeout(total=30)) as session:
        spawn(server.watch(world, until))
        spawn(events(world, server, exports, service, until))
        following = time.monotonic()
        while time.monotonic() < until - 10:
            spawn(ask(session, world, chance.choice(texts)))
            if chance.random() < 0.02:
                spawn(trouble(world, chance))
            following += 1 / RATE
            await asyncio.sleep(max(0.0, following - time.monotonic()))
        await asyncio.gather(*tasks)
    server.process.terminate()
    world.counts[f"last process ended with {server.process.wait(30)}"] += 1
    await runner.cleanup()
    return world


def growth(life: list[tuple[float, float, int]]) -> dict[str, float]:
    """Slopes of a process's life after its first minute."""
    seconds, memory, files = np.array([one for one in life if one[0] > 60]).T
    return {
        "minutes": float(seconds[-1] / 60),
        "mb_first": float(memory[0]),
        "mb_last": float(memory[-1]),
        "mb_per_hour": float(np.polyfit(seconds, memory, 1)[0] * 3600),
        "files_first": int(files[0]),
        "files_last": int(files[-1]),
        "files_per_hour": float(np.polyfit(seconds, files, 1)[0] * 3600),
    }


def page(report: dict[str, Any]) -> str:
    counts = report["counts"]
    rows = [
        "# An hour of a cascade",
        "",
        f"{report['minutes']:g} minutes at {RATE:g} requests a second, "
        f"{report['machine']['processor']}; {report['answers']:,} replies, {len(report['wrong'])} "
        f"wrong, {len(report['lost'])} lost; median {report['p50_ms']:.1f} ms, 99th percentile "
        f"{report['p99_ms']:.0f} ms (slow upstream included).",
        "",
        "| what | times |",
        "|---|---|",
        *(f"| {name} | {number:,} |" for name, number in sorted(counts.items())),
        "",
        "Processes that lived longer than three minutes, after their first:",
        "",
        "| minutes | MB first | MB last | MB an hour | files first | files last | files an hour |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {life['minutes']:.1f} | {life['mb_first']:.1f} | {life['mb_last']:.1f} | "
        f"{life['mb_per_hour']:+.1f} | {life['files_first']} | {life['files_last']} | "
        f"{life['files_per_hour']:+.1f} |"
        for life in report["lives"]
    ]
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("exports", nargs=2, type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with options.texts.open(encoding="utf-8", newline="") as file:
        texts = sorted({row["text"] for row in csv.DictReader(file)})[:1000]
    with tempfile.TemporaryDirectory() as work:
        world = asyncio.run(soak(options.exports, texts, options.minutes, Path(work)))
        kept = sum(
            len(path.read_bytes().splitlines()) for path in (Path(work) / "traffic").iterdir()
        )
    report = {
        "benchmark": "soak",
        "machine": machine("onnxruntime", "uvicorn", "aiohttp"),
        "minutes": options.minutes,
        "answers": len(world.latencies),
        "recorded": kept,
        "p50_ms": 1000 * float(np.quantile(world.latencies, 0.5)),
        "p99_ms": 1000 * float(np.quantile(world.latencies, 0.99)),
        "counts": dict(world.counts),
        "wrong": world.wrong[:50],
        "lost": world.lost[:50],
        "lives": [growth(life) for life in world.lives if life and life[-1][0] > 180],
    }
    keep(report, page, out=options.out)


if __name__ == "__main__":
    main()
