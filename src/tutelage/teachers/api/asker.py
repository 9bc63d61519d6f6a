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
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from tutelage.errors import BudgetSpent
from tutelage.teachers.api.asking import ask_all
from tutelage.teachers.api.batches import Named
from tutelage.teachers.api.journal import Journal, open_journal
from tutelage.teachers.api.protocol import BadAnswer, Probing, Request, Usage, usage_of
from tutelage.teachers.api.server import Endpoint, Server
from tutelage.teachers.api.visit import Visit
from tutelage.teachers.api.work import Asking, Missing, Policy, Work, counted, several_models
from tutelage.types import SILENT, Notes, Progress

Item = TypeVar("Item")
Found = TypeVar("Found")


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
        items_at_once: Answers that are read from the journal together.
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
        items_at_once: int = 512,
    ) -> None:
        self._protocol, self._model = protocol, model
        self._endpoint, self._policy = endpoint, policy
        self._journal_folder = journal
        self._unit, self._mixed = unit, mixed
        self._items_at_once = items_at_once
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
            work = Work(self._protocol, journal, self._policy, self._mixed)
            waiting: list[int] = []
            try:
                for start in range(0, len(items), self._items_at_once):
                    places = range(start, min(start + self._items_at_once, len(items)))
                    known: list[tuple[int, Found | BadAnswer]] = []
                    for place in places:
                        state = work.state(items[place])
                        if isinstance(state, Missing):
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
                raise several_models(journal.models, self._mixed)

    def _asked(
        self,
        waiting: Sequence[int],
        items: Sequence[Item],
        work: Work[Item, Found],
        guess: Callable[[Item], Usage],
        progress: Progress,
    ) -> Generator[list[tuple[int, Found | BadAnswer]], None, None]:
        guesses = [guess(items[place]) for place in waiting]
        mean = Usage(
            round(sum(one.input for one in guesses) / len(guesses)),
            0,
            round(sum(one.output for one in guesses) / len(guesses)),
        )
        visit = Visit(work, self._endpoint, self._model, mean)
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
        work: Work[Item, Found],
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
                if isinstance(state, Missing):
                    named.update(state.requests)
            fitting = 0
            while fitting < len(named) and work.meter.allows(fitting, guess=guess):
                fitting += 1
            chosen = list(named.items())[:fitting]
            asyncio.run(self._hand_over(chosen, work, progress))
            states = [(place, work.state(items[place])) for place in left]
            left = [place for place, state in states if isinstance(state, Missing)]
            yield [(place, state) for place, state in states if not isinstance(state, Missing)]
            if not left:
                return
            if fitting < len(named):
                raise BudgetSpent("no request more fits the budget")
        unserved = BadAnswer("rejected", "the batch holds no reply to this request")
        yield [(place, unserved) for place in left]

    async def _hand_over(
        self, requests: Sequence[Named], work: Work[Item, Found], progress: Progress
    ) -> None:
        server, journal, asked = Server(self._endpoint), work.journal, dict(requests)

        def take(name: bytes, reply: Mapping[str, Any]) -> None:
            reply = work.kept(asked.get(name), reply)
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
            raise several_models(journal.models, self._mixed)

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
