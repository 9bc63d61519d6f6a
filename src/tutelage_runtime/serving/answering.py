"""What stands between the protocols of the server and what answers.

A protocol makes an `Asked` of a request's body. An `Answerer` gives an `Answered` for each of its
questions, which the protocol words, or a whole response, which is passed on byte for byte. What
cannot be answered is raised as a `Refusal`, which the protocol words in its own shape of an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Option = str | bool
"""What a client calls one of the possible answers; OpenAI's may be booleans."""
Kind = Literal["choice", "predicate", "score", "classes"]


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """One question of a request, whatever the protocol."""

    kind: Kind
    """`choice` among options; `predicate`, how probable a yes is; `score`, a choice among levels
    with numbers; `classes`, whatever classes the model has."""
    options: tuple[Option, ...] = ()
    """C of them, in the client's order, all different; none of `predicate` and `classes`."""
    instructions: str | None = None
    """In words; None or empty: the options say it."""
    name: str | None = None
    """How the client calls the question."""
    yes: str | None = None
    """What a yes means, where a predicate says it beside its instructions."""
    no: str | None = None
    """What a no means, likewise."""
    place: tuple[str | int, ...] = ()
    """Where it stands in the body, for errors: `("questions", 0)`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks: every question about every text."""

    texts: tuple[str, ...]
    """N, at least one."""
    questions: tuple[AskedQuestion, ...]
    """Q, at least one."""
    model: str | None = None
    """The one that the client named."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to one question about N texts."""

    options: tuple[Option, ...]
    """C, in the client's order, or of `classes` in the student's; none of `predicate`."""
    probs: Sequence[Sequence[float]]
    """[N][C], each row sums to 1; of `predicate` [N][1], the probability of a yes."""
    student: str | None = None
    """Version of the student who answers; None: it is not known."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Answers that the protocol words."""

    answers: tuple[Answered, ...]
    """Q, in the order of the questions."""
    model: str
    """Who answered, as `tutelage/NAME@VERSION`."""
    by: str = "student"
    """Kind of answerer, for header, log and metrics: `student` here, others in a cascade."""


@dataclass(frozen=True, slots=True)
class RawReply:
    """A response that is passed on as it is."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    """Names in lower case. Those of one connection (`connection`, `transfer-encoding`, ...) must
    not be among them; `content-length` is set from the body."""
    body: bytes
    by: str = "upstream"


@dataclass(frozen=True, slots=True)
class RawRequest:
    """What a client sent, for those who pass it on."""

    path: str
    """Without the query."""
    headers: Sequence[tuple[bytes, bytes]]
    """Names in lower case, in the order in which they came."""
    body: bytes
    request_id: str
    query: bytes = b""
    method: str = "POST"


class Refusal(Exception):
    """A request that gets an error, which each protocol words in its own shape."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        place: Sequence[str | int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        """Of HTTP, 400 to 599."""
        self.code = code
        """For programs, such as `question_not_found`."""
        self.message = message
        """For people: what was given, what was expected, what to do."""
        self.place = tuple(place)
        """Which part of the body it is about: `("questions", 0, "choices")`."""
        self.headers = dict(headers or {})
        """Besides, such as `Retry-After`."""


@dataclass(frozen=True, slots=True)
class ServedQuestion:
    """What one can ask here, for lists, the page and errors."""

    name: str
    version: str
    labels: tuple[str, ...]
    instructions: str | None = None
    descriptions: Mapping[str, str] = field(default_factory=dict)
    notice: str | None = None
    """What people should know who ask it, such as that somebody else answers."""

    @property
    def model(self) -> str:
        """How replies call who answered it."""
        return model_name(self.name, self.version)


def model_name(name: str, version: str) -> str:
    """A student as replies name it."""
    return f"tutelage/{name}@{version}"


class Answerer(Protocol):
    """Answers requests: students of this machine, or a cascade around them."""

    @property
    def served(self) -> Sequence[ServedQuestion]:
        """The questions that are answered here, as of now."""
        ...

    async def answer(self, asked: Asked, request: RawRequest) -> Reply | RawReply:
        """The answers to a request, or a response to be passed on.

        Args:
            asked: What the body asks, within the limits of the server.
            request: The bytes that said it.

        Raises:
            Refusal: It cannot be answered.
        """
        ...

    async def unread(self, refusal: Refusal, request: RawRequest) -> RawReply | None:
        """What a request gets that is within the limits, but that no `Asked` says (images, a
        conversation, a question of a kind that is not known).

        Returns:
            A response to be passed on; None: the refusal, in the protocol's words.
        """
        ...


class ClosingAnswerer(Answerer, Protocol):
    """An answerer with connections or files of its own."""

    async def close(self) -> None:
        """Let them end."""
        ...
