"""A cascade on loopback: students that say what a table says, and an upstream with faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web

from tutelage_runtime.cascade.answerer import Cascade, Local, Mode
from tutelage_runtime.cascade.audits import Audits
from tutelage_runtime.cascade.recording import Recorder
from tutelage_runtime.cascade.upstream import Upstream, UpstreamOptions
from tutelage_runtime.certificate import Certificate, Score
from tutelage_runtime.serving.answering import (
    Answered,
    Asked,
    AskedQuestion,
    RawRequest,
    Refusal,
    Reply,
    ServedQuestion,
)
from tutelage_runtime.student import Answers

LABELS = ("cat", "dog")
VERSION = "00" * 8
SURE, UNSURE = 0.99, 0.6


def certificate(**changes: Any) -> Certificate:
    values = {
        "student": VERSION,
        "labels": LABELS,
        "against": "teacher",
        "over": "all",
        "disagreement": 0.02,
        "confidence": 0.95,
        "rows": 1000,
        "thresholds": {"*": 0.9},
        "coverage": 0.8,
        "disagreed": 3,
        "bound": 0.01,
        "score": Score(),
        "audit": {"share": 0.5, "alpha": 0.01},
        "values": {"sum": "one"},
    }
    return Certificate(**(values | changes))


class Table:
    """Students of one question; a text says how sure its answer is: `cat 0.99`."""

    def __init__(self) -> None:
        self.served = [ServedQuestion("pets", VERSION, LABELS)]

    async def look_up(self, asked: Asked) -> Sequence[Local]:
        if any(set(one.options) != set(LABELS) for one in asked.questions):
            raise Refusal(404, "question_not_found", "nobody")
        rows = []
        for text in asked.texts:
            label, prob = text.split()[:2]
            rows.append([float(prob) if one == label else 1 - float(prob) for one in LABELS])
        answers = Answers(np.array(rows, dtype=np.float32), np.zeros((len(rows), 1), np.float32))
        return [
            Local(
                self.served[0],
                tuple(LABELS.index(str(option)) for option in one.options),
                one.options,
                answers,
            )
            for one in asked.questions
        ]

    def reply(self, found: Sequence[Local]) -> Reply:
        answers = tuple(
            Answered(one.options, one.answers.probs[:, list(one.columns)].tolist()) for one in found
        )
        return Reply(answers, self.served[0].model)


@dataclass
class Seen:
    """What was counted."""

    passes: list[tuple[str, str]] = field(default_factory=list)
    comparisons: list[tuple[bool | None, bool]] = field(default_factory=list)
    misses: list[tuple[str, bool]] = field(default_factory=list)
    broken: bool = False
    worst: float = 1.0

    def passed(self, *, by: str, why: str) -> None:
        self.passes.append((by, why))

    def compared(self, student: str, *, agreed: bool | None, sure: bool) -> None:
        self.comparisons.append((agreed, sure))

    def audited(self, student: str, *, e_value: float, broken: bool, worst: float) -> None:
        self.broken, self.worst = broken, worst

    def missed(self, student: str, *, why: str, sure: bool, worst: float) -> None:
        self.misses.append((why, sure))
        self.worst = worst

    def waited(self, seconds: float) -> None:
        pass


def asked(text: str, *, options: Sequence[str] = LABELS) -> tuple[Asked, RawRequest]:
    body = {
        "model": "m",
        "input": text,
        "questions": [
            {
                "type": "choice",
                "name": "pet",
                "instructions": "Which?",
                "choices": [{"value": one} for one in options],
            }
        ],
    }
    question = AskedQuestion("choice", tuple(options), "Which?", "pet")
    raw = RawRequest(
        "/v1/decisions",
        [(b"host", b"here"), (b"authorization", b"Bearer sk-client"), (b"x-odd", "é".encode())],
        json.dumps(body, indent=3).encode(),
        "id-1",
        b"api-version=%7E1",
    )
    return Asked((text,), (question,), "m"), raw


def said(label: str) -> bytes:
    return json.dumps({"model": "big", "answers": [{"type": "choice", "choice": label}]}).encode()


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def agreeing(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    return web.Response(body=said(body["input"].split()[0]), content_type="application/json")


async def disagreeing(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    other = {"cat": "dog", "dog": "cat"}[body["input"].split()[0]]
    return web.Response(body=said(other), content_type="application/json")


def run(
    scene: Callable[[Cascade, Seen, list[Any]], Awaitable[None]],
    *,
    answer: Answer = agreeing,
    mode: Mode = "cascade",
    certificates: Sequence[Certificate] | None = None,
    draw: Callable[[], float] = lambda: 1.0,
    audits: Audits | None = None,
    recorder: Recorder | None = None,
    **options: Any,
) -> Seen:
    """Play a scene with a cascade whose upstream answers so; gives what was counted."""
    seen, got = Seen(), []

    async def handle(request: web.Request) -> web.StreamResponse:
        got.append((request.raw_path, request.raw_headers, await request.read()))
        return await answer(request)

    async def play() -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        upstream = Upstream(UpstreamOptions(**{"url": url, "seconds": 5.0} | options))
        known = [certificate()] if certificates is None else certificates
        cascade = Cascade(
            Table(),
            upstream,
            mode=mode,
            certificates={one.student: one for one in known},
            audits=audits or Audits(None),
            watched=seen,
            recorder=recorder,
            audit_seconds=0.5,
            draw=draw,
        )
        try:
            await scene(cascade, seen, got)
        finally:
            await upstream.close()
            await runner.cleanup()

    asyncio.run(play())
    return seen
