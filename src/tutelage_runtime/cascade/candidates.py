"""The next student, at work before it counts: it answers what is asked here too, and is compared.

In: requests with the replies that clients got. Out: counts of agreement, by who gave the reply. All
of it happens after the reply has been made: a candidate that is slow loses requests, which are
counted, and one that fails, or cannot be loaded, costs a client nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from tutelage_runtime.cascade.comparing import NO, YES, chosen
from tutelage_runtime.serving.answering import (
    Answerer,
    Asked,
    ClosingAnswerer,
    RawReply,
    RawRequest,
    Refusal,
    Reply,
    ServedQuestion,
)
from tutelage_runtime.serving.errors import ServeError
from tutelage_runtime.serving.matching import Match
from tutelage_runtime.serving.students import Load, Source, Students, load_folder
from tutelage_runtime.shadowing import (
    Compared,
    RecordError,
    Shadowing,
    read_record,
    total,
    write_record,
)

if TYPE_CHECKING:
    from tutelage_runtime.serving.logs import Log
    from tutelage_runtime.serving.metrics import Metrics

WAITING = 64
"""Requests that may wait for one candidate; those that come then are dropped."""
AT_ONCE = 16
"""Requests that a candidate is asked together."""
MOST_BODY = 1 << 20
"""Of an upstream's response that is kept for a comparison."""
SAVE_SECONDS = 5.0
TOO_MANY = 503
"""What a student refuses with where too many texts wait for it."""
TOLD_EVERY = 1000
"""Answers compared, after which the log says where a candidate stands."""


@dataclass(frozen=True, slots=True)
class _Seen:
    asked: Asked
    path: str
    reply: Reply | RawReply


class Candidate:
    """One next student; belongs to one event loop.

    Args:
        source: Where it lies.
        load: Makes a student of the folder.
        state: A folder for its record; None: it is kept nowhere.
        log: Told where it stands, and what goes wrong.
        said: Told of each answer: who gave the client's, what the candidate says (a label of its
            own; of a predicate `no` or `yes`), whether they agree.
        taken: Versions of the candidates of this server; its own is added.
    """

    def __init__(
        self,
        source: Source,
        *,
        load: Load = load_folder,
        state: Path | None = None,
        log: Log,
        said: Callable[[str, str, bool], None] = lambda *_: None,
        taken: set[str],
    ) -> None:
        self._students = Students([source], load=load)
        self._source, self._state, self._log, self._said = source, state, log, said
        self._taken = taken
        self._queue: asyncio.Queue[_Seen] = asyncio.Queue(WAITING)
        self._saved, self._has_failed = time.monotonic(), False
        self.asked: ServedQuestion | None = None
        """What it answers; None until it is loaded, and where it cannot be."""
        self.record: Shadowing | None = None
        self._work = asyncio.get_running_loop().create_task(self._run())

    def offer(self, asked: Asked, path: str, reply: Reply | RawReply) -> None:
        """Have it answer a request too, later, or not where too many wait, or where it has answered
        already, being in service itself.
        """
        if self.record is None:
            return
        if isinstance(reply, Reply):
            version = self.record.student
            if all(one.student == version for one in reply.answers):
                return
        try:
            self._queue.put_nowait(_Seen(asked, path, reply))
        except asyncio.QueueFull:
            self.record.dropped += 1

    async def settled(self) -> None:
        """Until all that waits was compared; for tests."""
        await self._queue.join()

    async def close(self) -> None:
        """End its work, and keep its record."""
        self._work.cancel()
        with suppress(asyncio.CancelledError):
            await self._work
        if self.record is not None:
            self._tell()
            self._students.close()
            await self._save(now=True)

    async def _run(self) -> None:
        try:
            await self._students.start()
            (self.asked,) = self._students.served
            version = self.asked.version
            if version in self._taken:
                raise ServeError(
                    f"{self._source.folder} holds {version}, as another --candidate does: it is "
                    "compared once, so leave one of them out"
                )
            self._taken.add(version)
            found = None if self._state is None else read_record(self._state, version)
            self.record = Shadowing(version) if found is None else found
        except (ServeError, RecordError, OSError) as error:
            self._log("candidate_refused", level="error", message=str(error))
            if self.asked is not None:
                self._students.close()
            return
        self._log("candidate", candidate=self.asked.model, record=str(self.record))
        while True:
            taken = [await self._queue.get()]
            while len(taken) < AT_ONCE and not self._queue.empty():
                taken.append(self._queue.get_nowait())
            before = self.record.answers
            await asyncio.gather(*(self._compared(one) for one in taken))
            if before // TOLD_EVERY != self.record.answers // TOLD_EVERY:
                self._tell()
            await self._save()
            for _ in taken:
                self._queue.task_done()

    async def _compared(self, seen: _Seen) -> None:
        assert self.record is not None, "only who is loaded is asked"
        try:
            roster = self._students.roster
            matches = roster.matches(seen.asked)
            found = await roster.answers(matches, seen.asked.texts)
            if not self._compare(seen, matches, roster.reply(matches, found)):
                self.record.unmatched += 1
        except Refusal as refusal:
            if refusal.status == TOO_MANY:
                self.record.dropped += 1
            else:
                self.record.unmatched += 1
        except Exception as error:
            self.record.failed += 1
            if not self._has_failed:
                self._has_failed = True
                self._log(
                    "candidate_failed",
                    level="error",
                    message=f"the candidate failed at a request ({type(error).__name__}); others "
                    "are counted as tutelage_candidate_requests_total",
                )

    def _compare(self, seen: _Seen, matches: Sequence[Match], mine: Reply) -> bool:
        """Count every answer; whether there was any."""
        assert self.asked is not None, "only who is loaded is asked"
        by = "upstream" if isinstance(seen.reply, RawReply) else "student"
        theirs, compared = _choices(seen, [one.options for one in matches]), False
        for number, (answer, match) in enumerate(zip(mine.answers, matches, strict=True)):
            tally = self._tally(seen.reply, number)
            if tally is None:
                continue
            # As clients write options, there are many: with white space, decomposed.
            own = [self.asked.labels[column] for column in match.columns]
            names = own if answer.options else ("no", "yes")
            for row, probs in enumerate(answer.probs):
                other = theirs[number][row]
                if other is None:
                    continue
                place = _choice(probs, is_predicate=not answer.options)
                tally.answers += 1
                tally.agreed += place == other
                compared = True
                if isinstance(seen.reply, Reply):
                    tally.with_distance += 1
                    tally.distances += _distance(seen.reply, number, row, answer.options, probs)
                self._said(by, names[place], place == other)
        return compared

    def _tally(self, reply: Reply | RawReply, number: int) -> Compared | None:
        """Where a comparison with an answer counts; None: it is no other student's."""
        assert self.record is not None, "only who is loaded is asked"
        if isinstance(reply, RawReply):
            return self.record.upstream
        version = reply.answers[number].student
        if version is None or version == self.record.student:
            return None
        return self.record.students.setdefault(version, Compared())

    def _tell(self) -> None:
        if self.asked is not None:
            self._log("candidate", candidate=self.asked.model, record=str(self.record))

    async def _save(self, *, now: bool = False) -> None:
        if self._state is None or self.record is None:
            return
        if now or time.monotonic() - self._saved > SAVE_SECONDS:
            self._saved = time.monotonic()
            try:
                await asyncio.to_thread(write_record, self._state, self.record)
            except OSError as error:
                self._log("candidate_unsaved", level="error", message=str(error))


class WithCandidates:
    """An answerer, and candidates that are asked after it; see `answering.ClosingAnswerer`.

    Args:
        inner: Who answers the clients.
        candidates: Who is compared.
        close: What else is to be closed.
    """

    def __init__(
        self,
        inner: Answerer,
        candidates: Sequence[Candidate],
        *,
        close: ClosingAnswerer | None = None,
    ) -> None:
        self._inner, self._close = inner, close
        self.candidates = tuple(candidates)

    @property
    def served(self) -> Sequence[ServedQuestion]:
        """The questions of the inner one, each with where its candidates stand."""
        return [
            replace(one, notice=" ".join(filter(None, (one.notice, *self._notices(one)))) or None)
            for one in self._inner.served
        ]

    @property
    def versions(self) -> Sequence[str]:
        """Of the students in service now."""
        return [one.version for one in self._inner.served]

    def _notices(self, one: ServedQuestion) -> Iterable[str]:
        for candidate in self.candidates:
            asked, record = candidate.asked, candidate.record
            if asked is None or record is None or set(asked.labels) != set(one.labels):
                continue
            if asked.version == one.version:
                yield f"Candidate {asked.version}: in service."
            else:
                yield f"Candidate {asked.version}: {record.beside([one.version])}."

    async def answer(self, asked: Asked, request: RawRequest) -> Reply | RawReply:
        """See `Answerer`; candidates come afterwards."""
        reply = await self._inner.answer(asked, request)
        if isinstance(reply, Reply) or self._is_comparable(asked, reply):
            for candidate in self.candidates:
                candidate.offer(asked, request.path, reply)
        return reply

    def _is_comparable(self, asked: Asked, reply: RawReply) -> bool:
        if reply.status != 200 or len(reply.body) > MOST_BODY:
            return False
        if all(one.kind != "classes" for one in asked.questions):
            return True
        # Such a question has no words: only its model says that it is one of ours.
        name, _, _ = (asked.model or "").removeprefix("tutelage/").partition("@")
        return any(one.name == name for one in self._inner.served)

    async def unread(self, refusal: Refusal, request: RawRequest) -> RawReply | None:
        """See `Answerer`."""
        return await self._inner.unread(refusal, request)

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(one.close() for one in self.candidates), return_exceptions=True)
        if self._close is not None:
            await self._close.close()


def around(
    folders: Sequence[str],
    inner: Callable[[Students, Metrics, Log], ClosingAnswerer] | None,
    *,
    state: Path | None = None,
    load: Load = load_folder,
) -> Callable[[Students, Metrics, Log], WithCandidates]:
    """What adds candidates to what answers; see `serving.server.run`.

    Args:
        folders: Of the candidates, as `Source.read` takes them.
        inner: Makes a cascade of the students; None: they answer alone.
        state: Where records are kept.
        load: Makes a student of a folder.
    """

    def make(students: Students, metrics: Metrics, log: Log) -> WithCandidates:
        answers = Counter(
            "tutelage_candidate_answers",
            "Answers of candidates beside those that were given",
            ["candidate", "by", "said", "outcome"],
            registry=metrics.registry,
        )

        def candidate(word: str) -> Candidate:
            def said(by: str, label: str, agreed: bool) -> None:
                version = "" if made.asked is None else made.asked.version
                answers.labels(version, by, label, "agreed" if agreed else "disagreed").inc()

            made = Candidate(
                Source.read(word), load=load, state=state, log=log, said=said, taken=taken
            )
            return made

        taken: set[str] = set()

        cascade = None if inner is None else inner(students, metrics, log)
        found = WithCandidates(
            students if cascade is None else cascade,
            [candidate(word) for word in folders],
            close=cascade,
        )
        metrics.registry.register(_Standing(found))
        return found

    return make


class _Standing(Collector):
    """Where candidates stand, as of the moment of asking."""

    def __init__(self, whole: WithCandidates) -> None:
        self._whole = whole

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        agreement = GaugeMetricFamily(
            "tutelage_candidate_agreement",
            "Share of answers as they were given; low and high at 95 %",
            labels=["candidate", "by", "bound"],
        )
        distance = GaugeMetricFamily(
            "tutelage_candidate_distance",
            "Mean distance of probabilities, 0 to 1",
            labels=["candidate"],
        )
        requests = CounterMetricFamily(
            "tutelage_candidate_requests",
            "Requests that were not compared",
            labels=["candidate", "outcome"],
        )
        versions = self._whole.versions
        for record in (one.record for one in self._whole.candidates):
            if record is None:
                continue
            students = total(record.beside(versions).students.values())
            for by, one in (("student", students), ("upstream", record.upstream)):
                if one.answers:
                    for bound, value in zip(("low", "high"), one.interval, strict=True):
                        agreement.add_metric([record.student, by, bound], value)
                    agreement.add_metric([record.student, by, "share"], one.agreed / one.answers)
            if (mean := students.distance) is not None:
                distance.add_metric([record.student], mean)
            for outcome in ("dropped", "failed", "unmatched"):
                requests.add_metric([record.student, outcome], getattr(record, outcome))
        return [agreement, distance, requests]


def _choice(probs: Sequence[float], *, is_predicate: bool) -> int:
    if is_predicate:
        return YES if probs[0] >= 0.5 else NO
    return max(range(len(probs)), key=probs.__getitem__)


def _choices(seen: _Seen, options: Sequence[Sequence[object]]) -> list[list[int | None]]:
    """What clients were told, as places among the candidate's options; None: nothing comparable."""
    reply = seen.reply
    if isinstance(reply, RawReply):
        return chosen(seen.path, seen.asked, options, reply.body)  # pyright: ignore[reportArgumentType]
    found: list[list[int | None]] = []
    for answer, offered in zip(reply.answers, options, strict=True):
        if set(answer.options) != set(offered):
            found.append([None] * len(answer.probs))
            continue
        places = [_choice(row, is_predicate=not answer.options) for row in answer.probs]
        found.append(
            [list(offered).index(answer.options[one]) if offered else one for one in places]
        )
    return found


def _distance(
    reply: Reply, number: int, row: int, options: Sequence[object], probs: Sequence[float]
) -> float:
    """Half the sum of differences of two answers' probabilities, in any order of options."""
    answer = reply.answers[number]
    given = answer.probs[row]
    if not options:
        return abs(probs[0] - given[0])
    theirs = dict(zip(answer.options, given, strict=True))
    return sum(abs(one - theirs[name]) for name, one in zip(options, probs, strict=True)) / 2  # pyright: ignore[reportArgumentType]
