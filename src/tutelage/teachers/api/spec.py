"""The options of a teacher behind an API, and what they say before and after it is made.

In: a `ClassAssignment`. Out: what is wrong with the options, what all answers would take, and a
teacher. Nothing is asked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MinLen

from tutelage.errors import ModelError, Problem
from tutelage.runs import fingerprint
from tutelage.runs.files import atomic_write_json
from tutelage.runs.stages import STAGE_VERSION
from tutelage.teachers.api.money import Budget, Price
from tutelage.teachers.api.protocol import Question, Usage
from tutelage.teachers.api.protocols.making import AskingOptions, problems, protocol_named
from tutelage.teachers.api.protocols.options import ProtocolName
from tutelage.teachers.api.terms import Terms, terms_problem
from tutelage.teachers.spec import CHARACTERS_PER_TOKEN, ClassAssignment, Effort
from tutelage.types import SILENT, Progress, Seed

if TYPE_CHECKING:
    from tutelage.teachers.api.teacher import ApiTeacher

ASKING_FILE = "asking.json"
_SECONDS_PER_REPLY = 0.3
"""What a decision API takes; estimates say that they are rough."""
_URL = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")


@dataclass(frozen=True, kw_only=True)
class ApiTeacherSpec(AskingOptions):
    """A model behind an API: a decision endpoint, a chat or completion endpoint with
    log-probabilities, a classifier; asked about every text once.
    """

    kind: Literal["api"] = "api"
    """The kind of teacher."""

    protocol: ProtocolName
    """What the server speaks; docs/protocols.md has a page for each."""

    model: Annotated[str, MinLen(1)]
    """The name under which the server knows the model."""

    base_url: str = "https://api.openai.com/v1"
    """Where it answers, up to what comes before the endpoint's own name."""

    api_key_env: Annotated[str, MinLen(1)] | None = None
    """The environment variable that holds the key; None: no key is sent. Keys are never written."""

    terms: Terms | None = None
    """Whether the provider allows training on its answers, as you have read; must be said unless
    the server is your own."""

    instruction: Annotated[str, MinLen(1)] | None = None
    """What the model is asked to do; None: a sentence made from the labels."""

    seed: Seed = 0
    """Of the shots that are drawn."""

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

    price: Price | None = None
    """What the provider charges; None: nothing is said of money."""

    budget: Budget | None = None
    """What all answers may take together; None: as much as there is to ask."""

    has_weights: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    leaves: ClassVar[tuple[str, ...]] = (ASKING_FILE,)

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

    def facts(self, assignment: ClassAssignment) -> None:
        """Its weights are elsewhere."""

    def tokenizer(self, assignment: ClassAssignment, *, convert: bool = True) -> None:
        """So is its tokenizer."""

    def problems(self, assignment: ClassAssignment) -> list[Problem]:
        """An address that is none, a key that is not there, terms that nobody read, labels that
        the protocol cannot ask.
        """
        from tutelage.teachers.api.server import is_local, read_key

        found: list[Problem] = []
        if not _URL.fullmatch(self.base_url):
            message = f"{self.base_url!r} is no address; expected such as http://127.0.0.1:8000/v1"
            return [Problem("base_url", message)]
        try:
            read_key(self.api_key_env)
        except ModelError as error:
            found.append(Problem("api_key_env", str(error)))
        local = is_local(self.base_url)
        if (said := terms_problem(self.base_url, self.terms, local=local)) is not None:
            found.append(Problem("terms", said))
        found += problems(self.protocol, self._question(assignment), self)
        if assignment.train is not None and not any(one.severity == "error" for one in found):
            try:
                self._shots(assignment)
            except ModelError as error:
                found.append(Problem("shots", str(error)))
        return found

    def sources(self, assignment: ClassAssignment) -> str:
        """Who is asked, and where."""
        return fingerprint("api", self.base_url.rstrip("/"), self.model)

    def fingerprint(self, assignment: ClassAssignment) -> str:
        """Names the endpoint, the model and the question."""
        return fingerprint(
            "teacher",
            STAGE_VERSION,
            self.sources(assignment),
            assignment.labels,
            self.protocol,
            dict(self._asking(assignment).settings),
        )

    def estimate(
        self, assignment: ClassAssignment, *, texts: int, tokens: float, rate: float
    ) -> Effort:
        """Requests, tokens and money of all answers; those that are kept already are not taken
        off.
        """
        protocol = self._asking(assignment)
        empty = protocol.requests("")
        fixed = sum(len(str(request.body)) for request in empty) / CHARACTERS_PER_TOKEN
        requests = len(empty) * texts
        read = len(empty) * tokens + fixed * texts
        dollars = 0.0 if self.price is None else self.price.of(Usage(round(read), 0, requests))
        seconds = requests * _SECONDS_PER_REPLY / self.concurrency
        if self.requests_per_minute is not None:
            seconds = max(seconds, 60.0 * requests / self.requests_per_minute)
        return Effort(tokens=read, seconds=seconds, dollars=dollars, requests=requests)

    def make(
        self, assignment: ClassAssignment, *, out: Path, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Write down who is asked, how, and under which terms."""
        described: dict[str, Any] = {
            "protocol": self.protocol,
            "model": self.model,
            "base_url": self.base_url,
            "terms": self.terms or "own server",
            "settings": _plain(self._asking(assignment).settings),
        }
        atomic_write_json(out / ASKING_FILE, described)
        return {
            "kind": self.kind,
            "model": self.model,
            "teacher_fingerprint": self.fingerprint(assignment),
            "description": f"{self.model} behind an API ({self.protocol})",
            **{key: described[key] for key in ("protocol", "base_url", "terms")},
        }

    def load(self, folder: Path, assignment: ClassAssignment) -> ApiTeacher:
        """The teacher, which keeps its replies beside the runs."""
        from tutelage.teachers.api.asker import Policy
        from tutelage.teachers.api.server import Endpoint
        from tutelage.teachers.api.teacher import ApiTeacher

        name = self.fingerprint(assignment)
        kept = folder if assignment.answers is None else assignment.answers
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", self.model)[:60].strip("-.")
        return ApiTeacher(
            self._asking(assignment),
            assignment.labels,
            model=self.model,
            fingerprint=name,
            endpoint=Endpoint(
                base_url=self.base_url.rstrip("/"),
                key_variable=self.api_key_env,
                concurrency=self.concurrency,
                timeout_seconds=self.timeout_seconds,
                retries=self.retries,
            ),
            policy=Policy(
                bad_answers=self.bad_answers,
                bad_answer_retries=self.bad_answer_retries,
                on_model_change=self.on_model_change,
                price=self.price,
                budget=self.budget,
                requests_per_minute=self.requests_per_minute,
            ),
            journal=kept / f"{slug}-{name}",
        )

    def _question(self, assignment: ClassAssignment) -> Question:
        return Question(assignment.labels, assignment.descriptions, self.instruction)

    def _asking(self, assignment: ClassAssignment) -> Any:
        return protocol_named(
            self.protocol,
            self._question(assignment),
            model=self.model,
            options=self,
            shots=self._shots(assignment),
        )

    def _shots(self, assignment: ClassAssignment) -> list[tuple[str, str]]:
        """Labelled examples to show.

        Raises:
            ModelError: There are not enough.
        """
        if not self.shots:
            return []
        from tutelage.teachers.prompted.prompts import draw_shots

        drawn = draw_shots(
            assignment.rows, self.shots, num_classes=len(assignment.labels), seed=self.seed
        )
        return [(one.text, assignment.labels[one.label or 0]) for one in drawn]


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    import json

    return json.loads(json.dumps(settings, default=str))
