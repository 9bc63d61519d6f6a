"""The options of a teacher behind an API, and what they say before and after it is made.

In: a `ClassAssignment`. Out: what is wrong with the options, what all answers would take, and a
teacher. Nothing is asked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import MinLen

from tutelage.errors import ModelError, Problem
from tutelage.runs import fingerprint
from tutelage.runs.files import atomic_write_json
from tutelage.runs.stages import STAGE_VERSION
from tutelage.teachers.api.options import (
    ApiOptions,
    asking_seconds,
    endpoint_of,
    journal_folder,
    policy_of,
    served_problems,
    where_texts_go,
)
from tutelage.teachers.api.protocol import Question, Usage
from tutelage.teachers.api.protocols.making import AskingOptions, problems, protocol_named
from tutelage.teachers.api.protocols.options import ProtocolName
from tutelage.teachers.spec import CHARACTERS_PER_TOKEN, ClassAssignment, Effort
from tutelage.types import SILENT, Progress, Seed

if TYPE_CHECKING:
    from tutelage.teachers.api.teacher import ApiTeacher

ASKING_FILE = "asking.json"
_SECONDS_PER_REPLY = 0.3
"""What a decision API takes; estimates say that they are rough."""


@dataclass(frozen=True, kw_only=True)
class ApiTeacherSpec(AskingOptions, ApiOptions):
    """A model behind an API: a decision endpoint, a chat or completion endpoint with
    log-probabilities, a classifier; asked about every text once.
    """

    kind: Literal["api"] = "api"
    """The kind of teacher."""

    protocol: ProtocolName
    """What the server speaks; docs/protocols.md has a page for each."""

    model: Annotated[str, MinLen(1)]
    """The name under which the server knows the model."""

    instruction: Annotated[str, MinLen(1)] | None = None
    """What the model is asked to do; None: a sentence made from the labels."""

    seed: Seed = 0
    """Of the shots that are drawn."""

    has_weights: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    leaves: ClassVar[tuple[str, ...]] = (ASKING_FILE,)

    def facts(self, assignment: ClassAssignment) -> None:
        """Its weights are elsewhere."""

    def tokenizer(self, assignment: ClassAssignment, *, convert: bool = True) -> None:
        """So is its tokenizer."""

    def problems(self, assignment: ClassAssignment) -> list[Problem]:
        """An address that is none, a key that is not there, terms that nobody read, labels that
        the protocol cannot ask.
        """
        found = served_problems(self)
        if any(problem.where == "base_url" for problem in found):
            return found
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
        seconds = asking_seconds(self, requests, each=_SECONDS_PER_REPLY)
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
        progress.say(where_texts_go(self, self.model))
        return {
            "kind": self.kind,
            "model": self.model,
            "teacher_fingerprint": self.fingerprint(assignment),
            "description": f"{self.model} behind an API ({self.protocol})",
            **{key: described[key] for key in ("protocol", "base_url", "terms")},
        }

    def load(self, folder: Path, assignment: ClassAssignment) -> ApiTeacher:
        """The teacher, which keeps its replies beside the runs."""
        from tutelage.teachers.api.teacher import ApiTeacher

        name = self.fingerprint(assignment)
        kept = folder if assignment.answers is None else assignment.answers
        return ApiTeacher(
            self._asking(assignment),
            assignment.labels,
            model=self.model,
            fingerprint=name,
            endpoint=endpoint_of(self),
            policy=policy_of(self),
            journal=journal_folder(self.model, name, beside=kept),
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
