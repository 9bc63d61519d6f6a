"""The engine of every teacher behind a server: items become requests, replies are kept in a
journal, read, and given out as they come.

In: items of any kind, and what makes requests of one and reads their replies. Out: what was read,
or why a reply is no answer, each with the place of its item. What an item asks (`Asking`), how it
travels (`server`), where it is kept (`journal`), what it costs (`money`) and how many at once
(`asking`) are told apart; here they meet.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np

from tutelage.errors import BudgetSpent, ModelError
from tutelage.teachers.api.asking import ask_all
from tutelage.teachers.api.batches import Named
from tutelage.teachers.api.journal import Journal, open_journal, request_name
from tutelage.teachers.api.money import Budget, Meter, Price
from tutelage.teachers.api.protocol import BadAnswer, Probing, Request, Usage, usage_of
from tutelage.teachers.api.server import Endpoint, Server
from tutelage.types import SILENT, Notes, Progress

_REJECTIONS = 20
"""So many rejected requests in a row, and none taken, are the server's answer to all of them."""
_ITEMS_AT_ONCE = 512

Item = TypeVar("Item")
ItemIn = TypeVar("ItemIn", contravariant=True)
Found = TypeVar("Found")
FoundOut = TypeVar("FoundOut", covariant=True)


class Asking(Protocol[ItemIn, FoundOut]):
    """What an item asks, and what its replies say; knows nothing of networks, money or files."""

    def requests(self, item: ItemIn, /) -> list[Request]:
        """Calls whose replies together answer for an item."""
        ...

    def read(self, replies: Sequence[Mapping[str, Any]], /) -> FoundOut:
        """What the replies say, one JSON body for each request, in their order.

        Raises:
            BadAnswer: There is no answer in them.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What to do when not all is well."""

    bad_answers: Literal["leave_out", "stop"] = "leave_out"
    bad_answer_retries: int = 1
    on_model_change: Literal["stop", "continue", "restart"] = "stop"
    price: Price | None = None
    budget: Budget | None = None
    requests_per_minute: float | None = None
    batch: bool = False


class Asker(Generic[Item, Found]):
    """Asks a server about items, each once, and keeps every reply.

    Args:
        protocol: How an item is asked about.
        model: The name that is asked for.
        endpoint: Where it answers.
        policy: What to do when not all is well.
        journal: A folder where replies are kept.
        unit: What items are called in the plural, for messages.
        mixed: What would be mixed if several models answered, for messages.
    """

    def __init__(
        self,
        protocol: Asking[Item, Found],
        *,
        model: str,
        endpoint: Endpoint,
        policy: Policy,
        journal: Path,
        unit: str = "texts",
        mixed: str = "Soft targets",
    ) -> None:
        self._protocol, self._model = protocol, model
        self._endpoint, self._policy = endpoint, policy
        self._journal_folder = journal
        self._unit, self._mixed = unit, mixed
        self.left: list[int] = []
        """Places that the last call did not come to, because the budget was spent."""
        self.took: dict[str, Any] = {}
        """What all replies took, since the journal was begun: requests, tokens, cost, models,
        latency."""

    def ask(
        self,
        items: Sequence[Item],
        *,
        guess: Callable[[Item], Usage],
        progress: Progress = SILENT,
    ) -> Generator[list[tuple[int, Found | BadAnswer]], None, None]:
        """What was found, as it comes; first of those items whose replies are kept already.

        Args:
            items: What to ask about.
            guess: What a request about an item may take, while no reply has told.
            progress: Told what is going on.

        Raises:
            BudgetSpent: The budget is spent, and says `then: stop`; else `left` says what is left.
            ModelError: The server knows no such key, model or path, or changed its model.
            ServerTrouble: It does not answer.
        """
        self.left = []
        with open_journal(self._journal_folder) as journal:
            journal.make_room()
            self._settle_models(journal, progress)
            work = _Work(self._protocol, journal, self._policy, self._mixed)
            waiting: list[int] = []
            try:
                for start in range(0, len(items), _ITEMS_AT_ONCE):
                    places = range(start, min(start + _ITEMS_AT_ONCE, len(items)))
                    known: list[tuple[int, Found | BadAnswer]] = []
                    for place in places:
                        state = work.state(items[place])
                        if isinstance(state, _Missing):
                            waiting.append(place)
                        else:
                            known.append((place, state))
                    yield known
                if journal and len(waiting) < len(items):
                    progress.say(
                        f"{len(items) - len(waiting):,} {self._unit} were answered before, in "
                        f"{self._journal_folder}"
                    )
                if waiting:
                    yield from self._asked(waiting, items, work, guess, progress)
            finally:
                self.took = self._summary(journal)

    def _settle_models(self, journal: Journal, progress: Progress) -> None:
        """Act on replies that came from several models."""
        if journal.damaged:
            progress.say(f"{journal.damaged:,} damaged replies are asked for again")
        if len(journal.models) > 1:
            if self._policy.on_model_change == "restart":
                old = journal.set_aside()
                progress.say(f"Replies of several models: begun anew, the old ones are in {old}")
            elif self._policy.on_model_change == "stop":
                raise _changed(journal.models, self._mixed)

    def _asked(
        self,
        waiting: Sequence[int],
        items: Sequence[Item],
        work: _Work[Item, Found],
        guess: Callable[[Item], Usage],
        progress: Progress,
    ) -> Generator[list[tuple[int, Found | BadAnswer]], None, None]:
        guesses = [guess(items[place]) for place in waiting]
        mean = Usage(
            round(sum(one.input for one in guesses) / len(guesses)),
            0,
            round(sum(one.output for one in guesses) / len(guesses)),
        )
        visit = _Visit(work, self._endpoint, self._model, mean)
        started, before = time.monotonic(), work.meter.requests

        async def answer(place: int) -> tuple[int, Found | BadAnswer]:
            return place, await visit.answer(items[place])

        if self._policy.batch:
            if isinstance(work.protocol, Probing):
                asyncio.run(visit.try_out())
            came = self._in_batches(waiting, items, work, mean, progress)
        else:
            came = ask_all(
                waiting,
                answer,
                workers=min(self._endpoint.concurrency, len(waiting)),
                opened=visit.open,
                closed=visit.close,
                each_second=work.journal.sync,
                waiting=lambda: progress.say("Waiting for answers that are under way"),
            )
        left = set(waiting)
        try:
            with closing(came):
                for batch in came:
                    left.difference_update(place for place, _ in batch)
                    yield batch
                    if isinstance(progress, Notes):
                        seconds = max(1e-9, time.monotonic() - started)
                        rate = (work.meter.requests - before) / seconds
                        progress.note(f"{rate:,.1f} requests/s, {work.meter.describe()}")
        except BudgetSpent:
            if self._policy.budget is None or self._policy.budget.then == "stop":
                raise BudgetSpent(
                    f"The budget of the teacher is spent: {work.meter.describe()}, earlier runs "
                    "included. All answers are kept. To go on, raise budget in the recipe and run "
                    "again; to train on what is there, set budget.then: train"
                ) from None
            self.left = sorted(left)
            progress.say(
                f"The budget is spent: {work.meter.describe()}. Going on with what is there; "
                f"{len(left):,} {self._unit} stay unanswered"
            )

    def _in_batches(
        self,
        waiting: Sequence[int],
        items: Sequence[Item],
        work: _Work[Item, Found],
        guess: Usage,
        progress: Progress,
    ) -> Generator[list[tuple[int, Found | BadAnswer]], None, None]:
        """Hand requests over, as many as the budget takes, until every item has its answer or has
        been asked about often enough.
        """
        left = list(waiting)
        for _ in range(1 + self._policy.bad_answer_retries):
            named: dict[bytes, Request] = {}
            for place in left:
                state = work.state(items[place])
                if isinstance(state, _Missing):
                    named.update(state.requests)
            fitting = 0
            while fitting < len(named) and work.meter.allows(fitting, guess=guess):
                fitting += 1
            chosen = list(named.items())[:fitting]
            asyncio.run(self._hand_over(chosen, work, progress))
            states = [(place, work.state(items[place])) for place in left]
            left = [place for place, state in states if isinstance(state, _Missing)]
            yield [(place, state) for place, state in states if not isinstance(state, _Missing)]
            if not left:
                return
            if fitting < len(named):
                raise BudgetSpent("no request more fits the budget")
        unserved = BadAnswer("rejected", "the batch holds no reply to this request")
        yield [(place, unserved) for place in left]

    async def _hand_over(
        self, requests: Sequence[Named], work: _Work[Item, Found], progress: Progress
    ) -> None:
        server, journal = Server(self._endpoint), work.journal

        def take(name: bytes, reply: Mapping[str, Any]) -> None:
            model, usage = reply.get("model"), usage_of(reply)
            model = model if isinstance(model, str) and model else self._model
            journal.add(name, reply, model=model, usage=usage, hide=server.secret)
            work.meter.add(usage)

        try:
            await server.ask_in_batches(
                requests, folder=self._journal_folder, take=take, tell=progress.say
            )
        finally:
            await server.close()
        if len(journal.models) > 1 and self._policy.on_model_change != "continue":
            raise _changed(journal.models, self._mixed)

    def _summary(self, journal: Journal) -> dict[str, Any]:
        meter = counted(journal, self._policy)
        return {
            "requests": meter.requests,
            "input_tokens": meter.input_tokens,
            "cached_tokens": meter.cached_tokens,
            "output_tokens": meter.output_tokens,
            "cost": meter.cost,
            "models": dict(journal.models.most_common()),
            "concurrency": self._endpoint.concurrency,
            "latency_ms": _milliseconds(journal.seconds),
        }


def _milliseconds(seconds: Sequence[float]) -> dict[str, float] | None:
    """Median and 95th percentile of the time of a reply, with the interval of each by order
    statistics (normal approximation of the binomial).
    """
    if not seconds:
        return None
    found = 1000.0 * np.sort(np.asarray(seconds))
    told: dict[str, float] = {}
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        spread = 1.96 * np.sqrt(share * (1 - share) / len(found))
        for end, at in (("", share), ("_low", share - spread), ("_high", share + spread)):
            told[name + end] = float(np.quantile(found, min(1.0, max(0.0, at))))
    return told


def counted(journal: Journal, policy: Policy) -> Meter:
    """What all replies of a journal took."""
    meter = Meter(policy.price, policy.budget)
    for usage, times in journal.usages.items():
        meter.requests += times
        meter.input_tokens += usage.input * times
        meter.cached_tokens += usage.cached * times
        meter.output_tokens += usage.output * times
    return meter


def _changed(models: Mapping[str, int], mixed: str) -> ModelError:
    said = ", ".join(f"{name} ({number:,})" for name, number in models.items())
    return ModelError(
        f"the server answers under several model names: {said}. {mixed} of two models would "
        "be mixed. Set on_model_change: restart and run again to ask everything anew, or continue "
        "to accept both; what was answered is kept"
    )


@dataclass(frozen=True, slots=True)
class _Missing:
    """Requests that are to be made next, with their names."""

    requests: list[tuple[bytes, Request]]


class _Work(Generic[Item, Found]):
    """Questions about items, and what the journal knows of their answers."""

    def __init__(
        self, protocol: Asking[Item, Found], journal: Journal, policy: Policy, mixed: str
    ) -> None:
        self.protocol, self.journal, self.policy = protocol, journal, policy
        self.mixed = mixed
        self.meter = counted(journal, policy)

    def state(self, item: Item) -> Found | BadAnswer | _Missing:
        """The answer about an item as far as replies have come; else the requests to make next."""
        requests = self.protocol.requests(item)
        bad: BadAnswer | None = None
        for attempt in range(1 + self.policy.bad_answer_retries):
            named = [(request_name(request, attempt=attempt), request) for request in requests]
            replies = [self.journal.reply(name) for name, _ in named]
            missing = [one for one, reply in zip(named, replies, strict=True) if reply is None]
            if missing:
                return _Missing(missing)
            try:
                return self.protocol.read([reply for reply in replies if reply is not None])
            except BadAnswer as error:
                bad = error
        assert bad is not None
        return bad


class _Visit(Generic[Item, Found]):
    """One time at the server: requests out, replies into the journal."""

    def __init__(
        self, work: _Work[Item, Found], endpoint: Endpoint, model: str, guess: Usage
    ) -> None:
        self._work, self._endpoint, self._model, self._guess = work, endpoint, model, guess
        self._server: Server | None = None
        self._limiter: Any = nullcontext()
        self._under_way = 0
        self._rejected: deque[bool] = deque(maxlen=_REJECTIONS)

    async def open(self) -> None:
        """Make the client, in the event loop that it belongs to."""
        self._server = Server(self._endpoint)
        if isinstance(self._work.protocol, Probing):
            try:
                await self._work.protocol.probe(self._reply)
            except BadAnswer as bad:
                raise ModelError(
                    f"{self._endpoint.base_url} does not answer a first question as it should: "
                    f"{bad}"
                ) from None
        rate = self._work.policy.requests_per_minute
        if rate is not None:
            from aiolimiter import AsyncLimiter

            self._limiter = AsyncLimiter(max(1.0, rate / 60.0), max(1.0, 60.0 / rate))

    async def try_out(self) -> None:
        """Open, which tries the protocol on the server, and close."""
        try:
            await self.open()
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._server is not None:
            await self._server.close()

    async def answer(self, item: Item) -> Found | BadAnswer:
        """Ask until the item has its answer, or has been asked about often enough; as
        `_Work.state`, with replies taken as they come.
        """
        work, retries = self._work, self._work.policy.bad_answer_retries
        requests, unkept = work.protocol.requests(item), 0
        bad: BadAnswer | None = None
        for attempt in range(1 + retries):
            replies: list[Mapping[str, Any]] = []
            for request in requests:
                name = request_name(request, attempt=attempt)
                reply = work.journal.reply(name)
                while reply is None:
                    try:
                        reply = await self._ask(name, request)
                    except BadAnswer as error:
                        unkept += 1
                        if error.reason == "rejected" or unkept > retries:
                            return error
                replies.append(reply)
            try:
                return work.protocol.read(replies)
            except BadAnswer as error:
                bad = error
        assert bad is not None
        return bad

    async def _reply(self, request: Request) -> Mapping[str, Any]:
        """The reply to one request, kept like all."""
        name = request_name(request, attempt=0)
        return self._work.journal.reply(name) or await self._ask(name, request)

    async def _ask(self, name: bytes, request: Request) -> dict[str, Any]:
        """Make one request, keep its reply, and give it."""
        work, server = self._work, self._server
        assert server is not None
        if not work.meter.allows(self._under_way, guess=self._guess):
            raise BudgetSpent("no request more fits the budget")
        self._under_way += 1
        try:
            async with self._limiter:
                started = time.monotonic()
                reply = await server.post(request)
                seconds = time.monotonic() - started
        except BadAnswer as bad:
            self._refuse_all_rejected(bad)
            raise
        finally:
            self._under_way -= 1
        self._rejected.append(False)
        model, usage = reply.get("model"), usage_of(reply)
        model = model if isinstance(model, str) and model else self._model
        journal = work.journal
        journal.add(name, reply, model=model, usage=usage, seconds=seconds, hide=server.secret)
        work.meter.add(usage)
        if len(journal.models) > 1 and work.policy.on_model_change != "continue":
            raise _changed(journal.models, work.mixed)
        return reply

    def _refuse_all_rejected(self, bad: BadAnswer) -> None:
        """End the work where nothing but rejections come back."""
        self._rejected.append(bad.reason == "rejected")
        if len(self._rejected) == _REJECTIONS and all(self._rejected):
            raise ModelError(
                f"{self._endpoint.base_url} rejects every request, {_REJECTIONS} in a row: {bad}"
            )
