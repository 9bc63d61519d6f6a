"""A model behind an API as a teacher of classes: asked about every text once, its replies kept.

In: examples. Out: soft targets as they come. What a text asks (`protocol`), how it travels
(`server`), where it is kept (`journal`), what it costs (`money`) and how many at once (`asking`)
are told apart; here they meet.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tutelage.errors import BudgetSpent, ModelError
from tutelage.teachers.api.asking import ask_all
from tutelage.teachers.api.journal import Journal, open_journal, request_name
from tutelage.teachers.api.money import Budget, Meter, Price
from tutelage.teachers.api.protocol import (
    Answer,
    AskingProtocol,
    BadAnswer,
    Probing,
    Request,
    Usage,
    usage_of,
)
from tutelage.teachers.api.server import Endpoint, Server
from tutelage.teachers.spec import CHARACTERS_PER_TOKEN
from tutelage.types import SILENT, Example, Notes, Progress

_REJECTIONS = 20
"""So many rejected requests in a row, and none taken, are the server's answer to all of them."""
_ROWS_AT_ONCE = 512
OVER_BUDGET = "over budget"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What to do when not all is well."""

    bad_answers: Literal["leave_out", "stop"] = "leave_out"
    bad_answer_retries: int = 1
    on_model_change: Literal["stop", "continue", "restart"] = "stop"
    price: Price | None = None
    budget: Budget | None = None
    requests_per_minute: float | None = None


@dataclass
class Account:
    """What is known of a teacher's answers so far, for report and provenance."""

    answers: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    """Texts without an answer, by reason."""
    shown: list[dict[str, str]] = field(default_factory=list)
    """Some of them: text, reason, what was there."""
    with_mass: int = 0
    mass: float = 0.0
    """Summed over the answers that tell it."""
    unlisted: float = 0.0
    """Summed."""
    unlisted_most: float = 0.0
    votes: int = 0
    """Behind each answer."""

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        self.answers += 1
        if answer.label_mass is not None:
            self.with_mass += 1
            self.mass += answer.label_mass
        self.unlisted += answer.unlisted
        self.unlisted_most = max(self.unlisted_most, answer.unlisted)
        self.votes = max(self.votes, answer.votes)


_SHOWN_BAD = 20


class ApiTeacher:
    """Class probabilities from a server; see `teachers.teacher.AnswersAsTheyCome`."""

    def __init__(
        self,
        protocol: AskingProtocol,
        labels: Sequence[str],
        *,
        model: str,
        fingerprint: str,
        endpoint: Endpoint,
        policy: Policy,
        journal: Path,
    ) -> None:
        """Bring the parts together; nothing is asked yet.

        Args:
            protocol: How a text is asked about.
            labels: Class names in the order of the soft targets.
            model: The name that is asked for.
            fingerprint: Of all that the answers depend on.
            endpoint: Where it answers.
            policy: What to do when not all is well.
            journal: A folder where replies are kept.
        """
        self.labels = tuple(labels)
        self.fingerprint = fingerprint
        self._protocol = protocol
        self._model = model
        self._endpoint = endpoint
        self._policy = policy
        self._journal_folder = journal
        self._unanswered: dict[bytes, str] = {}
        self._account: dict[str, Any] = {}

    @property
    def unanswered(self) -> Mapping[bytes, str]:
        """By content id, why texts of the last call have no soft targets."""
        return self._unanswered

    @property
    def account(self) -> Mapping[str, Any]:
        """What the last call found out: requests, tokens and cost of all replies, models, bad
        answers by reason, label mass.
        """
        return self._account

    def label(self, examples: Sequence[Example]) -> np.ndarray:
        """Soft targets, float32 [B, C].

        Raises:
            ModelError: A text has no answer.
        """
        found = np.zeros((len(examples), len(self.labels)), np.float32)
        for places, probs in self.answers(examples, progress=SILENT):
            found[places] = probs
        if self._unanswered:
            reasons = Counter(self._unanswered.values()).most_common()
            said = ", ".join(f"{reason} {number:,}" for reason, number in reasons)
            raise ModelError(f"{len(self._unanswered):,} texts have no answer ({said})")
        return found

    def answers(
        self, examples: Sequence[Example], *, progress: Progress = SILENT
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Soft targets as they come; first of those texts whose replies are kept already.

        Raises:
            BudgetSpent: The budget is spent, and says `then: stop`.
            ModelError: The server knows no such key, model or path, changed its model, or gave a
                bad answer where none is wanted.
            ServerTrouble: It does not answer.
        """
        self._unanswered = {}
        with open_journal(self._journal_folder) as journal:
            journal.make_room()
            self._settle_models(journal, progress)
            work = _Work(self._protocol, journal, self._policy)
            account, waiting = Account(), []
            try:
                for start in range(0, len(examples), _ROWS_AT_ONCE):
                    places = range(start, min(start + _ROWS_AT_ONCE, len(examples)))
                    states = [(place, work.state(examples[place])) for place in places]
                    waiting += [place for place, state in states if isinstance(state, list)]
                    yield from self._told(states, examples, account)
                if journal and len(waiting) < len(examples):
                    progress.say(
                        f"{len(examples) - len(waiting):,} texts were answered before, in "
                        f"{self._journal_folder}"
                    )
                if waiting:
                    yield from self._asked(waiting, examples, work, account, progress)
            finally:
                self._account = self._summary(journal, account)

    def _settle_models(self, journal: Journal, progress: Progress) -> None:
        """Act on replies that came from several models."""
        if journal.damaged:
            progress.say(f"{journal.damaged:,} damaged replies are asked for again")
        if len(journal.models) > 1:
            if self._policy.on_model_change == "restart":
                old = journal.set_aside()
                progress.say(f"Replies of several models: begun anew, the old ones are in {old}")
            elif self._policy.on_model_change == "stop":
                raise _changed(journal.models)

    def _asked(
        self,
        waiting: Sequence[int],
        examples: Sequence[Example],
        work: _Work,
        account: Account,
        progress: Progress,
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        tokens = sum(len(examples[place].text) for place in waiting) / len(waiting)
        visit = _Visit(
            work, self._endpoint, self._model, Usage(round(tokens / CHARACTERS_PER_TOKEN))
        )
        started, before = time.monotonic(), work.meter.requests

        async def answer(place: int) -> tuple[int, Answer | BadAnswer]:
            return place, await visit.answer(examples[place])

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
            for batch in came:
                left.difference_update(place for place, _ in batch)
                yield from self._told(batch, examples, account)
                if isinstance(progress, Notes):
                    rate = (work.meter.requests - before) / max(1e-9, time.monotonic() - started)
                    progress.note(f"{rate:,.1f} requests/s, {work.meter.describe()}")
        except BudgetSpent:
            if self._policy.budget is None or self._policy.budget.then == "stop":
                raise BudgetSpent(
                    f"The budget of the teacher is spent: {work.meter.describe()}, earlier runs "
                    "included. All answers are kept. To go on, raise budget in the recipe and run "
                    "again; to train on what is there, set budget.then: train"
                ) from None
            for place in sorted(left):
                self._unanswered[examples[place].example_id] = OVER_BUDGET
                account.bad[OVER_BUDGET] += 1
            progress.say(
                f"The budget is spent: {work.meter.describe()}. Going on with what is there; "
                f"{len(left):,} texts stay unlabelled"
            )

    def _told(
        self,
        states: Sequence[tuple[int, Any]],
        examples: Sequence[Example],
        account: Account,
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Good answers as rows of targets; bad ones are counted."""
        good = [(place, state) for place, state in states if isinstance(state, Answer)]
        for place, state in states:
            if isinstance(state, BadAnswer):
                self._count_bad(examples[place], state, account)
        for _, answer in good:
            account.add(answer)
        if good:
            probs = np.stack([answer.probs for _, answer in good]).astype(np.float32)
            yield [place for place, _ in good], probs

    def _count_bad(self, example: Example, bad: BadAnswer, account: Account) -> None:
        if self._policy.bad_answers == "stop":
            where = f"{example.source}, row {example.row}: " if example.source else ""
            raise ModelError(
                f"{where}the teacher's answer is {bad.reason} ({bad}), and bad_answers says stop. "
                "Mend the question, or set bad_answers: leave_out"
            )
        self._unanswered[example.example_id] = bad.reason
        account.bad[bad.reason] += 1
        if len(account.shown) < _SHOWN_BAD:
            account.shown.append(
                {"text": example.text[:200], "reason": bad.reason, "reply": str(bad)[:200]}
            )

    def _summary(self, journal: Journal, account: Account) -> dict[str, Any]:
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
            "answers": account.answers,
            "unanswered": dict(account.bad.most_common()),
            "unanswered_shown": account.shown,
            "label_mass": account.mass / account.with_mass if account.with_mass else None,
            "unlisted_mean": account.unlisted / max(1, account.answers),
            "unlisted_most": account.unlisted_most,
            "votes": account.votes,
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


def _changed(models: Mapping[str, int]) -> ModelError:
    said = ", ".join(f"{name} ({number:,})" for name, number in models.items())
    return ModelError(
        f"the server answers under several model names: {said}. Soft targets of two models would "
        "be mixed. Set on_model_change: restart and run again to ask everything anew, or continue "
        "to accept both; what was answered is kept"
    )


class _Work:
    """Questions about texts, and what the journal knows of their answers."""

    def __init__(self, protocol: AskingProtocol, journal: Journal, policy: Policy) -> None:
        self.protocol, self.journal, self.policy = protocol, journal, policy
        self.meter = counted(journal, policy)

    def state(self, example: Example) -> Answer | BadAnswer | list[tuple[bytes, Request]]:
        """The answer about a text as far as replies have come; else the requests to make next."""
        requests = self.protocol.requests(example.text)
        bad: BadAnswer | None = None
        for attempt in range(1 + self.policy.bad_answer_retries):
            named = [(request_name(request, attempt=attempt), request) for request in requests]
            replies = [self.journal.reply(name) for name, _ in named]
            missing = [one for one, reply in zip(named, replies, strict=True) if reply is None]
            if missing:
                return missing
            try:
                return self.protocol.read([reply for reply in replies if reply is not None])
            except BadAnswer as error:
                bad = error
        assert bad is not None
        return bad


class _Visit:
    """One time at the server: requests out, replies into the journal."""

    def __init__(self, work: _Work, endpoint: Endpoint, model: str, guess: Usage) -> None:
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

    async def close(self) -> None:
        """Close the connections."""
        if self._server is not None:
            await self._server.close()

    async def answer(self, example: Example) -> Answer | BadAnswer:
        """Ask until the text has its answer, or has been asked often enough."""
        unkept = 0
        while isinstance(state := self._work.state(example), list):
            for name, request in state:
                try:
                    await self._ask(name, request)
                except BadAnswer as bad:
                    unkept += 1
                    if bad.reason == "rejected" or unkept > self._work.policy.bad_answer_retries:
                        return bad
                    break
        return state

    async def _reply(self, request: Request) -> Mapping[str, Any]:
        """The reply to one request, kept like all."""
        name = request_name(request, attempt=0)
        if name not in self._work.journal:
            await self._ask(name, request)
        return self._work.journal.reply(name) or {}

    async def _ask(self, name: bytes, request: Request) -> None:
        """Make one request and keep its reply."""
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
        journal.add(name, reply, model=model, usage=usage, seconds=seconds, hide=server.key)
        work.meter.add(usage)
        if len(journal.models) > 1 and work.policy.on_model_change != "continue":
            raise _changed(journal.models)

    def _refuse_all_rejected(self, bad: BadAnswer) -> None:
        """End the work where nothing but rejections come back."""
        self._rejected.append(bad.reason == "rejected")
        if len(self._rejected) == _REJECTIONS and all(self._rejected):
            raise ModelError(
                f"{self._endpoint.base_url} rejects every request, {_REJECTIONS} in a row: {bad}"
            )
