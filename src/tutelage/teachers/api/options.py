"""The options that every teacher behind an API has, whatever it is asked for, and what follows from
them: where it answers, how patiently it is asked, what it may take.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen

from tutelage.errors import ModelError, Problem
from tutelage.teachers.api.money import Budget, Price
from tutelage.teachers.api.terms import Terms, terms_problem

if TYPE_CHECKING:
    from tutelage.teachers.api.server import Endpoint
    from tutelage.teachers.api.work import Policy

_URL = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")


@dataclass(frozen=True, kw_only=True)
class ApiOptions:
    """Where a served model answers, how patiently it is asked, and what its answers may take."""

    base_url: str = "https://api.openai.com/v1"
    """Where it answers, up to what comes before the endpoint's own name."""

    api_key_env: Annotated[str, MinLen(1)] | None = None
    """The environment variable that holds the key; None: no key is sent. Keys are never written."""

    terms: Terms | None = None
    """Whether the provider allows training on its answers, as you have read; must be said unless
    the server is your own."""

    concurrency: Annotated[int, Ge(1), Le(1024)] = 16
    """How many requests are under way at once."""

    requests_per_minute: Annotated[float, Gt(0)] | None = None
    """The most requests begun in a minute; None: as many as come back."""

    timeout_seconds: Annotated[float, Gt(0)] = 60.0
    """How long one reply is waited for."""

    retries: Annotated[int, Ge(0), Le(100)] = 6
    """How often a request is repeated that a server could not serve: 429, 5xx, lost connections.
    Waits grow to 8 s, or are as long as the server asks."""

    bad_answer_retries: Annotated[int, Ge(0), Le(10)] = 1
    """How often a text is asked about again whose reply was no answer. Each is paid."""

    bad_answers: Literal["leave_out", "stop"] = "leave_out"
    """What becomes of a text without an answer: nothing is learned from it and nothing judged by
    it, or the run stops."""

    on_model_change: Literal["stop", "continue", "restart"] = "stop"
    """When the server begins to answer under another model name: stop, accept both, or ask
    everything anew on the next run."""

    batch: bool = False
    """Hand all requests over at once (`/v1/batches`), to be answered within a day, where the server
    has that; `price` is then that of a batch, often half."""

    price: Price | None = None
    """What the provider charges; None: nothing is said of money."""

    budget: Budget | None = None
    """What all answers may take together; None: as much as there is to ask."""

    def check_together(self) -> None:
        """Refuse a budget in money without a price."""
        if self.budget is not None and self.budget.cost is not None and self.price is None:
            raise ValueError(
                "budget.cost needs to know what the provider charges: give price.input and "
                "price.output, for a million tokens"
            )

    @property
    def limit(self) -> object:
        """The budget, where a run goes on with what it bought."""
        return self.budget if self.budget is not None and self.budget.then == "train" else None


def served_problems(options: ApiOptions) -> list[Problem]:
    """An address that is none, a key that is not there, terms that nobody read."""
    from tutelage.teachers.api.server import is_local, read_key

    url = options.base_url
    if not _URL.fullmatch(url):
        message = f"{url!r} is no address; expected such as http://127.0.0.1:8000/v1"
        return [Problem("base_url", message)]
    if "@" in url:
        message = (
            "a name or key in the address would be written to the run: take it out, put it into "
            "an environment variable, and name that in api_key_env"
        )
        return [Problem("base_url", message)]
    found: list[Problem] = []
    try:
        read_key(options.api_key_env)
    except ModelError as error:
        found.append(Problem("api_key_env", str(error)))
    if (said := terms_problem(url, options.terms, local=is_local(url))) is not None:
        found.append(Problem("terms", said))
    return found


def where_texts_go(options: ApiOptions, model: str) -> str:
    """Who is sent the texts, and with which key, for the person who runs it."""
    key = f", with the key in {options.api_key_env}" if options.api_key_env else ""
    return f"Texts go to {options.base_url} ({model}){key}"


def endpoint_of(options: ApiOptions) -> Endpoint:
    """Where requests go."""
    from tutelage.teachers.api.server import Endpoint

    return Endpoint(
        base_url=options.base_url.rstrip("/"),
        key_variable=options.api_key_env,
        concurrency=options.concurrency,
        timeout_seconds=options.timeout_seconds,
        retries=options.retries,
    )


def policy_of(options: ApiOptions) -> Policy:
    """What is done when not all is well."""
    from tutelage.teachers.api.work import Policy

    return Policy(
        bad_answers=options.bad_answers,
        bad_answer_retries=options.bad_answer_retries,
        on_model_change=options.on_model_change,
        price=options.price,
        budget=options.budget,
        requests_per_minute=options.requests_per_minute,
        batch=options.batch,
    )


def journal_folder(model: str, fingerprint: str, *, beside: Path) -> Path:
    """Where replies of a model to one sort of question are kept."""
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", model)[:60].strip("-.")
    return beside / f"{slug}-{fingerprint}"


def asking_seconds(options: ApiOptions, requests: int, *, each: float) -> float:
    """Rough time of many requests, each of which takes so many seconds."""
    seconds = requests * each / options.concurrency
    if options.requests_per_minute is not None:
        seconds = max(seconds, 60.0 * requests / options.requests_per_minute)
    return seconds
