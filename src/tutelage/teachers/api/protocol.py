"""What a protocol is to the rest: texts become requests, what comes back becomes probabilities.

A protocol knows the words of one kind of endpoint and nothing of networks, money or files: it
makes JSON bodies and reads JSON bodies. So every protocol is tested without a server, and the same
readers understand answers that somebody recorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

BadReason = Literal["refused", "empty", "unparsable", "truncated", "wrong_shape", "rejected"]
"""Why a reply is no answer: the model declined, said nothing, said something else, was cut off, or
gave numbers that are no distribution over the labels; `rejected`: the server would not take the
request."""


class BadAnswer(ValueError):
    """A reply that cannot become soft targets; it is counted, never a label."""

    def __init__(self, reason: BadReason, message: str) -> None:
        """Say which sort it is, and in a sentence what was there instead of what was expected."""
        super().__init__(message)
        self.reason: BadReason = reason


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about every text."""

    labels: tuple[str, ...]
    """Class names in the order of the soft targets."""
    descriptions: Mapping[str, str] = field(default_factory=dict)
    """What labels mean, of those for which somebody said it."""
    instruction: str | None = None
    """What the model is asked to do; None: a sentence made from the labels."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a server."""

    path: str
    """Below the base URL, such as `decisions`; with a slash before it, below the server's root,
    such as `/classify`."""
    body: Mapping[str, Any]
    """JSON. Equal requests are asked once; where several answers to the same are wanted, something
    in the body tells them apart, such as `seed`."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a reply, as the server counts them."""

    input: int = 0
    cached: int = 0
    """Those of the input that it had read before; some servers bill them at a lower price."""
    output: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Soft targets of one text, and what is known of how they came about."""

    probs: NDArray[np.float64]
    """One for every label, [C], summing to 1, at temperature 1."""
    label_mass: float | None = None
    """The share of the model's probability that fell on labels at all; None: it is not told."""
    unlisted: float = 0.0
    """The most probability that labels can have which the server did not list, of the whole; their
    share in `probs` is an estimate below it."""
    votes: int = 0
    """Sampled answers behind the probabilities; 0: they are the model's own."""


class AskingProtocol(Protocol):
    """How one kind of endpoint is asked for class probabilities."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that its requests depend on besides the text; part of the teacher's fingerprint."""
        ...

    def requests(self, text: str) -> list[Request]:
        """Calls whose replies together answer for a text."""
        ...

    def read(self, replies: Sequence[Mapping[str, Any]]) -> Answer:
        """The answer in the replies, one JSON body for each request, in their order.

        Raises:
            BadAnswer: There is none in them.
        """
        ...


@runtime_checkable
class Probing(Protocol):
    """A protocol that relies on what some servers get wrong, and can tell."""

    async def probe(self, ask: Callable[[Request], Awaitable[Mapping[str, Any]]]) -> None:
        """Try it on a server, before any text is asked about.

        Args:
            ask: Makes a request and gives its reply.

        Raises:
            ModelError: The server's numbers are not what they should be.
            BadAnswer: Its replies cannot be read.
        """
        ...


@runtime_checkable
class Shortening(Protocol):
    """A protocol whose replies hold much that is not looked at."""

    def kept(self, request: Request, reply: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is kept of a reply, from which `read` gives the same; model and usage stay."""
        ...


def usage_of(reply: Mapping[str, Any]) -> Usage:
    """Tokens that a reply says it took, in the words of any of the protocols; zeros where it says
    nothing that can be read.
    """
    told = reply.get("usage")
    if not isinstance(told, Mapping):
        return Usage()
    details = told.get("input_tokens_details") or told.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    return Usage(
        input=_count(told.get("input_tokens", told.get("prompt_tokens"))),
        cached=_count(cached),
        output=_count(told.get("output_tokens", told.get("completion_tokens"))),
    )


def _count(value: Any) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else 0


def distribution(
    probs: Sequence[Any], labels: Sequence[str], *, tolerance: float = 0.01
) -> NDArray[np.float64]:
    """Numbers of a reply as a distribution, summing to 1 to the last digit.

    Args:
        probs: One for every label, as JSON held them.
        labels: Their names, for messages.
        tolerance: How far off 1 their sum may be: servers round.

    Raises:
        BadAnswer: A number is missing, not a number, below 0 or above 1, or the sum is off.
    """
    for label, prob in zip(labels, probs, strict=True):
        is_number = isinstance(prob, (int, float)) and not isinstance(prob, bool)
        if not is_number or not -tolerance <= prob <= 1 + tolerance:  # NaN is not in between
            raise BadAnswer(
                "wrong_shape",
                f"the probability of {label} is {prob!r}; expected a number from 0 to 1",
            )
    found = np.clip(np.asarray(probs, np.float64), 0.0, 1.0)
    total = float(found.sum())
    if abs(total - 1.0) > tolerance:
        raise BadAnswer("wrong_shape", f"the probabilities sum to {total:.4g}; expected 1")
    return found / total
