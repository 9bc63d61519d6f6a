"""How fast a served teacher is asked, and what faults and kills cost.

1. A server in a process of its own answers a decision in 50 ms. Rates of a teacher with 64 requests
   under way, every reply kept, beside the bare client doing nothing with what comes: the share of
   64 / 50 ms that each reaches. Two processes, so two cores.
2. 5,000 texts, one reply in five faulty (429, 500, cut in the middle, no JSON), the asking process
   killed three times with SIGKILL: are the soft targets those of a server without faults, how many
   replies were paid twice, and does memory grow?

    python benchmarks/served_requests.py

Writes `benchmarks/results/served_requests.{json,md}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import openai

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.teachers.api.asking import LABELS, examples, teacher_of
from tests.teachers.api.faulty_server import FaultyServer, probabilities, serving

from machine import RESULTS, keep, machine

DELAY, WORKERS, TURNS, REQUESTS = 0.05, 64, 3, 3000
TEXTS, KILLS, FAULTS = 5000, 3, 0.2


def serve() -> None:
    """Be the server, until killed; the port is the first line of what is printed."""
    with serving(FaultyServer(delay=DELAY)) as server:
        print(server.base_url, flush=True)
        time.sleep(3600)


def asking(base_url: str, folder: Path, count: int) -> tuple[float, float]:
    """Requests a second of a teacher, and seconds of processor time for each."""
    teacher = teacher_of(base_url, folder, concurrency=WORKERS)
    started, used = time.perf_counter(), time.process_time()
    teacher.label(examples(count))
    seconds = time.perf_counter() - started
    return count / seconds, (time.process_time() - used) / count


async def bare(base_url: str, count: int) -> float:
    """Requests a second of the client alone."""
    client = openai.AsyncOpenAI(
        api_key="none", base_url=base_url, http_client=openai.DefaultAioHttpClient()
    )
    todo = iter(range(count))

    async def worker() -> None:
        for number in todo:
            body = {"model": "m", "input": f"text {number}", "questions": [{"choices": LABELS}]}
            await client.post("/decisions", body=body, cast_to=object)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(WORKERS)))
    seconds = time.perf_counter() - started
    await client.close()
    return count / seconds


def throughput() -> dict[str, Any]:
    """Both sides, turn about."""
    command = [sys.executable, __file__, "--serve"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert server.stdout is not None
    base_url = server.stdout.readline().strip()
    rates: dict[str, list[float]] = {"teacher": [], "client": []}
    used = []
    try:
        for _ in range(TURNS):
            with tempfile.TemporaryDirectory() as folder:
                rate, each = asking(base_url, Path(folder), REQUESTS)
            rates["teacher"].append(rate)
            used.append(each)
            rates["client"].append(asyncio.run(bare(base_url, REQUESTS)))
    finally:
        server.kill()
    most = WORKERS / DELAY
    return {
        "most": most,
        "teacher": max(rates["teacher"]),
        "client": max(rates["client"]),
        "teacher_share": max(rates["teacher"]) / most,
        "client_share": max(rates["client"]) / most,
        "processor_ms": 1000 * min(used),
    }


def ask_in_process(base_url: str, folder: str) -> None:
    """What is killed: asks about all texts, and tells its memory on the way."""
    teacher = teacher_of(base_url, Path(folder), concurrency=16, bad_answer_retries=9)
    seen, memory = 0, []
    for places, _ in teacher.answers(examples(TEXTS)):
        seen += len(places)
        memory.append((seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    print(json.dumps(memory[:: max(1, len(memory) // 20)]))


def faults_and_kills() -> dict[str, Any]:
    """Ask through faults, killed three times."""
    draw = random.Random(0)
    faults: list[Any] = [429, 500, "cut", "garbage"]
    server = FaultyServer(
        fault=lambda *_: draw.choice(faults) if draw.random() < FAULTS else None, delay=0.005
    )
    with serving(server), tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--ask", server.base_url, folder]
        started = time.perf_counter()
        for kill in range(KILLS):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            while len(server.paid) < (kill + 1) * TEXTS / (KILLS + 1) and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True
        )
        seconds = time.perf_counter() - started
        before, rows = server.calls, examples(TEXTS)
        found = teacher_of(server.base_url, Path(folder), bad_answer_retries=9).label(rows)
        wanted = np.array([probabilities(one.text) for one in rows], np.float32)
        memory = json.loads(done.stdout)
    return {
        "texts": TEXTS,
        "calls": server.calls,
        "seconds": seconds,
        "same": bool(np.abs(found - wanted).max() < 1e-6),
        "asked_again": server.calls - before,
        "paid_twice": server.paid.total() - len(server.paid),
        "under_way_at_kills": KILLS * 16,
        "memory_mb": [memory[0][1], memory[-1][1]],
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The page."""
    rate, faults = report["throughput"], report["faults"]
    versions = ", ".join(f"{a} {b}" for a, b in report["machine"]["packages"].items())
    return "\n".join(
        [
            "# Asking a server",
            "",
            f"A server on this machine answers in {1000 * DELAY:.0f} ms; {WORKERS} requests are "
            f"under way, so {rate['most']:,.0f} a second are the most. {REQUESTS:,} requests, best "
            f"of {TURNS} turns, turn about.",
            "",
            "| | requests a second | share of the most |",
            "|---|---:|---:|",
            f"| a teacher, every reply kept | {rate['teacher']:,.0f} | "
            f"{100 * rate['teacher_share']:.0f} % |",
            f"| the bare client, nothing kept | {rate['client']:,.0f} | "
            f"{100 * rate['client_share']:.0f} % |",
            "",
            f"The teacher takes {rate['processor_ms']:.2f} ms of one core for a request. Asked for "
            f"is 90 %: {'met' if rate['teacher_share'] >= 0.9 else 'not met'}.",
            "",
            f"**Faults and kills.** {faults['texts']:,} texts, {100 * FAULTS:.0f} % of the replies "
            f"faulty, {KILLS} SIGKILLs: {faults['calls']:,} calls in {faults['seconds']:.0f} s. "
            f"Soft targets {'are' if faults['same'] else 'are NOT'} those of a server without "
            f"faults; afterwards {faults['asked_again']} were asked for again. "
            f"{faults['paid_twice']} whole replies were paid twice, of at most "
            f"{faults['under_way_at_kills']} that the kills caught on the way. Memory of the last "
            f"process: {faults['memory_mb'][0]:.0f} MB at its first answers, "
            f"{faults['memory_mb'][1]:.0f} MB at its last.",
            "",
            f"{report['machine']['processor']}; {versions}. Again: `python "
            "benchmarks/served_requests.py`.",
            "",
        ]
    )


def main() -> int:
    """Measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ask", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.serve:
        serve()
        return 0
    if args.ask:
        ask_in_process(*args.ask)
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    report = {
        "throughput": throughput(),
        "faults": faults_and_kills(),
        "machine": machine("openai", "aiohttp", "tutelage"),
    }
    keep({"benchmark": "served_requests", **report}, as_markdown, out=args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
