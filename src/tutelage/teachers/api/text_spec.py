"""The options of a served teacher of language models: one that writes answers (`chat`), or one that
tells the likeliest tokens of documents (`completions`).

In: a `TokenAssignment`, and how it shall write or how many tokens are told. Out: what is wrong with
the options, what all answers would take, and a writer or a teacher of tokens. Its weights are
elsewhere, and so is its tokenizer, which the recipe names: students read the tokens of that model.
For one that writes it may be any, for one that tells tokens it must be the teacher's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le, MinLen

from tutelage.errors import ModelError, NotEnoughDisk, NotEnoughMemory, Problem
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
from tutelage.teachers.api.protocol import Usage
from tutelage.teachers.spec import Effort, TokenAssignment, local_tokenizer
from tutelage.types import SILENT, Progress

if TYPE_CHECKING:
    from tutelage.targets.kinds import TextOptions
    from tutelage.teachers.api.token_teacher import ApiTokenTeacher
    from tutelage.teachers.writing import WritesText

ASKING_FILE = "asking.json"
_SECONDS_PER_READ_TOKEN = 0.001
_SECONDS_PER_TOKEN = 0.02
"""What a large model takes to write one; estimates say that they are rough."""


@dataclass(frozen=True, kw_only=True)
class ApiWriterSpec(ApiOptions):
    """A model behind an API that answers prompts (chat), for text targets, or that tells the
    likeliest tokens of documents (completions), for top_k targets.
    """

    kind: Literal["api"] = "api"
    """The kind of teacher."""

    protocol: Literal["chat", "completions"] = "chat"
    """What the server is asked for: chat completions, which are text targets, or vLLM's
    prompt_logprobs of completions, which are top_k targets."""

    model: Annotated[str, MinLen(1)]
    """The name under which the server knows the model."""

    tokenizer_of: str
    """A model whose tokens students read and write, and whose chat template puts prompts and
    answers together: a folder, a hub id, a .gguf file or package:NAME. Usually the model that a
    pretrained student starts from; for protocol completions the served model's own, or one with
    the same tokenizer."""

    bad_answer_retries: Annotated[int, Ge(0), Le(10)] = 0
    """How often a prompt is asked again whose reply was no answer. Each is paid, and carries the
    same seed."""

    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """What every request carries besides, in the server's own words; null takes a key out."""

    has_weights: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    leaves: ClassVar[tuple[str, ...]] = (ASKING_FILE,)

    def facts(self, assignment: TokenAssignment) -> None:
        """Its weights are elsewhere."""

    def tokenizer(self, assignment: TokenAssignment, *, convert: bool = True) -> Any:
        """That of the model that the recipe names for it."""
        return local_tokenizer(self.tokenizer_of, trust_remote_code=False, convert=convert)

    def config(self) -> Any:
        """The text configuration of the model whose tokens students read; its size is not the
        teacher's.
        """
        from tutelage.models import model_config

        return model_config(self.tokenizer_of)

    def problems(self, assignment: TokenAssignment) -> list[Problem]:
        """An address that is none, a key that is not there, terms that nobody read, no tokenizer
        for students.
        """
        found = served_problems(self)
        try:
            self.tokenizer(assignment)
            self.config()
        except (ModelError, NotEnoughDisk, NotEnoughMemory) as error:
            found.append(Problem("tokenizer_of", str(error)))
        return found

    def sources(self, assignment: TokenAssignment) -> str:
        """Who is asked, and where, and the tokenizer of students."""
        from tutelage.models.reading import tokenizer_fingerprint

        served = fingerprint("api", self.base_url.rstrip("/"), self.model)
        return fingerprint(served, tokenizer_fingerprint(self.tokenizer(assignment)))

    def weights(self, assignment: TokenAssignment) -> str:
        """Names what a student is made of besides its own options: the tokenizer."""
        from tutelage.models.reading import tokenizer_fingerprint

        return tokenizer_fingerprint(self.tokenizer(assignment))

    def writes_the_date(self) -> bool:
        """Whether the chat template may write today's date into what it renders."""
        from tutelage.models.facts import writes_the_date

        return writes_the_date(self.tokenizer_of)

    def fingerprint(self, assignment: TokenAssignment) -> str:
        """Names the endpoint, the model, students' tokenizer and what every request carries."""
        how = "api writer" if self.protocol == "chat" else "api tokens"
        return fingerprint(how, STAGE_VERSION, self.sources(assignment), dict(self.extra_body))

    def estimate(
        self, assignment: TokenAssignment, *, texts: int, tokens: float, rate: float
    ) -> Effort:
        """Requests, tokens and money of reading every text once; those that are kept already are
        not taken off. One that writes reads nothing: see `writing_effort`.
        """
        if self.protocol == "chat":
            return Effort(tokens=0, seconds=0)
        cost = 0.0 if self.price is None else self.price.of(Usage(round(tokens), 0, texts))
        each = _SECONDS_PER_READ_TOKEN * tokens / max(1, texts)
        return Effort(
            tokens=tokens,
            seconds=asking_seconds(self, texts, each=each),
            dollars=cost,
            requests=texts,
        )

    def writing_effort(
        self, options: TextOptions, *, prompts: int, tokens: float, rate: float
    ) -> Effort:
        """Requests, tokens and money of answers of the middle length; those that are kept already
        are not taken off.
        """
        written = prompts * options.max_new_tokens // 2
        cost = 0.0 if self.price is None else self.price.of(Usage(round(tokens), 0, written))
        each = _SECONDS_PER_TOKEN * options.max_new_tokens / 2
        return Effort(
            tokens=tokens + written,
            seconds=asking_seconds(self, prompts, each=each),
            dollars=cost,
            requests=prompts,
        )

    def make(
        self, assignment: TokenAssignment, *, out: Path, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Write down who is asked, and under which terms."""
        described = {
            "protocol": self.protocol,
            "base_url": self.base_url,
            "terms": self.terms or "own server",
        }
        atomic_write_json(out / ASKING_FILE, {"model": self.model, **described})
        progress.say(where_texts_go(self, self.model))
        return {
            "kind": self.kind,
            "model": self.model,
            "teacher_fingerprint": self.fingerprint(assignment),
            "description": f"{self.model} behind an API ({self.protocol})",
            **described,
        }

    def load(self, folder: Path | None, assignment: TokenAssignment) -> None:
        """Nothing that could be asked for probabilities of any token, or for weights."""

    def token_teacher(
        self, assignment: TokenAssignment, *, k: int, journals: Path
    ) -> ApiTokenTeacher:
        """The model as one that tells the likeliest tokens of documents.

        Args:
            assignment: What it reads.
            k: How many tokens of each position.
            journals: Where answers are kept.
        """
        from tutelage.models.reading import tokenizer_fingerprint
        from tutelage.teachers.api.protocols.tokens import TokenCompletions
        from tutelage.teachers.api.token_teacher import ApiTokenTeacher

        tokenizer = self.tokenizer(assignment)
        asking = TokenCompletions(
            self.model,
            k,
            vocabulary=min(len(tokenizer), self.config().vocab_size),
            cut=lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
            extra=self.extra_body,
        )
        served = fingerprint("api tokens", self.base_url.rstrip("/"), self.model)
        return ApiTokenTeacher(
            asking,
            fingerprint=self.fingerprint(assignment),
            tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
            endpoint=endpoint_of(self),
            policy=policy_of(self),
            journal=journal_folder(self.model, served, beside=journals),
        )

    def writer(
        self,
        options: TextOptions,
        *,
        teacher: Callable[[], Any],
        journals: Path,
        seed: int,
        control_as_text: bool,
    ) -> WritesText:
        """The model as one that writes answers, see `CausalTeacherSpec.writer`."""
        from tutelage.teachers.api.writing import ApiWriter, TextChat

        del teacher, control_as_text  # the server's template does what it does
        chat = TextChat(self.model, options, seed=seed, extra=self.extra_body)
        served = fingerprint("api", self.base_url.rstrip("/"), self.model)
        return ApiWriter(
            chat,
            fingerprint=fingerprint("writes", served, chat.settings),
            endpoint=endpoint_of(self),
            policy=policy_of(self),
            journal=journal_folder(self.model, served, beside=journals),
        )
