"""What is asked of a teacher behind a server, and how much of it is known already.

In: items, and the journal of replies. Out: for each item its answer, why its reply is none, or the
requests that are still to be made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from tutelage.errors import ModelError
from tutelage.teachers.api.journal import Journal, request_name
from tutelage.teachers.api.money import Budget, Meter, Price
from tutelage.teachers.api.protocol import BadAnswer, Request, Shortening

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


@dataclass(frozen=True, slots=True)
class Missing:
    """Requests that are to be made next, with their names."""

    requests: list[tuple[bytes, Request]]


class Work(Generic[Item, Found]):
    """Questions about items, and what the journal knows of their answers."""

    def __init__(
        self, protocol: Asking[Item, Found], journal: Journal, policy: Policy, mixed: str
    ) -> None:
        self.protocol, self.journal, self.policy = protocol, journal, policy
        self.mixed = mixed
        self.meter = counted(journal, policy)

    def state(self, item: Item) -> Found | BadAnswer | Missing:
        """The answer about an item as far as replies have come; else the requests to make next."""
        requests = self.protocol.requests(item)
        bad: BadAnswer | None = None
        for attempt in range(1 + self.policy.bad_answer_retries):
            named = [(request_name(request, attempt=attempt), request) for request in requests]
            replies = [self.journal.reply(name) for name, _ in named]
            missing = [one for one, reply in zip(named, replies, strict=True) if reply is None]
            if missing:
                return Missing(missing)
            try:
                return self.protocol.read([reply for reply in replies if reply is not None])
            except BadAnswer as error:
                bad = error
        assert bad is not None
        return bad

    def kept(self, request: Request | None, reply: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the journal keeps of a reply; all of it, where its request is not known any more."""
        if request is None or not isinstance(self.protocol, Shortening):
            return reply
        return self.protocol.kept(request, reply)


def counted(journal: Journal, policy: Policy) -> Meter:
    """What all replies of a journal took."""
    meter = Meter(policy.price, policy.budget)
    for usage, times in journal.usages.items():
        meter.requests += times
        meter.input_tokens += usage.input * times
        meter.cached_tokens += usage.cached * times
        meter.output_tokens += usage.output * times
    return meter


def several_models(models: Mapping[str, int], mixed: str) -> ModelError:
    """What is wrong where replies came from several models, with how many each gave."""
    said = ", ".join(f"{name} ({number:,})" for name, number in models.items())
    return ModelError(
        f"the server answers under several model names: {said}. {mixed} of two models would "
        "be mixed. Set on_model_change: restart and run again to ask everything anew, or continue "
        "to accept both; what was answered is kept"
    )
