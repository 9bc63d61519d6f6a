"""One time at the server of a teacher: requests out, replies into the journal.

In: what is to be asked (`work`) and where (`server`). Out: answers, one item at a time, in the
event loop that the connections belong to.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Generic, TypeVar

from tutelage.errors import BudgetSpent, ModelError
from tutelage.teachers.api.journal import request_name
from tutelage.teachers.api.protocol import BadAnswer, Probing, Request, Usage, usage_of
from tutelage.teachers.api.server import Endpoint, Server
from tutelage.teachers.api.work import Work, several_models

_REJECTIONS = 20
"""So many rejected requests in a row, and none taken, are the server's answer to all of them."""

Item = TypeVar("Item")
Found = TypeVar("Found")


class Visit(Generic[Item, Found]):
    """One time at the server: requests out, replies into the journal."""

    def __init__(
        self, work: Work[Item, Found], endpoint: Endpoint, model: str, guess: Usage
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
        `Work.state`, with replies taken as they come.
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
        name, unkept = request_name(request, attempt=0), 0
        reply: Mapping[str, Any] | None = self._work.journal.reply(name)
        while reply is None:
            try:
                reply = await self._ask(name, request)
            except BadAnswer as bad:
                unkept += 1
                if bad.reason == "rejected" or unkept > self._work.policy.bad_answer_retries:
                    raise
        return reply

    async def _ask(self, name: bytes, request: Request) -> Mapping[str, Any]:
        """Make one request, keep its reply, and give it."""
        work, server = self._work, self._server
        assert server is not None
        if not work.meter.allows(self._under_way, guess=self._guess):
            raise BudgetSpent("no request more fits the budget")
        self._under_way += 1
        try:
            async with self._limiter:
                started = time.monotonic()
                reply = work.kept(request, await server.post(request))
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
            raise several_models(journal.models, work.mixed)
        return reply

    def _refuse_all_rejected(self, bad: BadAnswer) -> None:
        """End the work where nothing but rejections come back."""
        self._rejected.append(bad.reason == "rejected")
        if len(self._rejected) == _REJECTIONS and all(self._rejected):
            raise ModelError(
                f"{self._endpoint.base_url} rejects every request, {_REJECTIONS} in a row: {bad}"
            )
