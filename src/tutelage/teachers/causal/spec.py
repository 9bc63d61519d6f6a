"""The options of a language-model teacher, and what they say before it is loaded.

In: a `TokenAssignment`. Out: sizes from files' headers, a tokenizer, and the teacher. Nothing is
fitted, so there is nothing to keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tutelage.errors import ModelError, NotEnoughDisk, NotEnoughMemory, Problem
from tutelage.runs import fingerprint
from tutelage.runs.stages import STAGE_VERSION
from tutelage.teachers.spec import (
    Effort,
    LocalModel,
    TokenAssignment,
    local_tokenizer,
    scoring_seconds,
)
from tutelage.types import SILENT, Progress

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.targets.kinds import TextOptions
    from tutelage.teachers.causal.teacher import CausalTeacher
    from tutelage.teachers.writing import WritesText


@dataclass(frozen=True, kw_only=True)
class CausalTeacherSpec(LocalModel):
    """A causal language model whose next-token probabilities are the soft targets."""

    kind: Literal["causal_lm"] = "causal_lm"
    """The kind of teacher."""

    @property
    def needs_labels(self) -> bool:
        """Never: it reads."""
        return False

    @property
    def leaves(self) -> tuple[str, ...]:
        """Nothing: it is used as it is."""
        return ()

    def facts(self, assignment: TokenAssignment) -> ModelFacts:
        """Size and shape of the model; of weights on the hub, which nobody looks at before the run,
        their number follows from the configuration.
        """
        from tutelage.models import model_facts

        facts = model_facts(self.model, trust_remote_code=self.trust_remote_code)
        return facts if facts.parameters else replace(facts, parameters=_weights_of(self.config()))

    def tokenizer(self, assignment: TokenAssignment, *, convert: bool = True) -> Any:
        """The model's; it spells the documents."""
        return local_tokenizer(
            self.model, trust_remote_code=self.trust_remote_code, convert=convert
        )

    def config(self) -> Any:
        """The text configuration of the model, which its students are held against."""
        from tutelage.models import model_config

        return model_config(self.model, trust_remote_code=self.trust_remote_code)

    def problems(self, assignment: TokenAssignment) -> list[Problem]:
        """A model that is not there, lacks weights, or has no tokenizer."""
        from tutelage.models import check_model, continues_text
        from tutelage.models.reading import read_config

        try:
            self.tokenizer(assignment)
            self.facts(assignment)
            config = read_config(self.model, trust_remote_code=self.trust_remote_code)
            if continues_text(config):  # which is asked of it together with its students
                check_model(self.model, head="causal_lm", trust_remote_code=self.trust_remote_code)
        except (ModelError, NotEnoughDisk, NotEnoughMemory) as error:  # a GGUF file is converted
            return [Problem("model", str(error))]
        return []

    def sources(self, assignment: TokenAssignment) -> str:
        """The weights."""
        from tutelage.models.facts import model_fingerprint

        return model_fingerprint(self.model, trust_remote_code=self.trust_remote_code)

    def weights(self, assignment: TokenAssignment) -> tuple[str, str]:
        """Names the weights and their precision: what a student that is cut from them depends on,
        whatever it learns from.
        """
        return self.sources(assignment), self.dtype

    def writes_the_date(self) -> bool:
        """Whether its chat template may write today's date into what it renders."""
        from tutelage.models.facts import writes_the_date

        return writes_the_date(self.model)

    def fingerprint(self, assignment: TokenAssignment) -> str:
        """Names the weights and their precision."""
        return fingerprint("causal teacher", STAGE_VERSION, *self.weights(assignment))

    def estimate(
        self, assignment: TokenAssignment, *, texts: int, tokens: float, rate: float
    ) -> Effort:
        """Reading every token once."""
        from tutelage.models.computing import choose_dtype

        facts = self.facts(assignment)
        return Effort(
            tokens=tokens,
            seconds=scoring_seconds(facts.parameters, tokens, rate=rate),
            disk_bytes=4 * facts.parameters if facts.needs_conversion else 0,
            memory_bytes=facts.parameters * choose_dtype(self.dtype).itemsize,
            parameters=facts.parameters,
        )

    def make(
        self, assignment: TokenAssignment, *, out: Path, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Nothing is made."""
        return {}

    def load(self, folder: Path | None, assignment: TokenAssignment) -> CausalTeacher:
        """The model with its output matrix, ready to read documents of the assignment's length.

        Raises:
            ModelError: It cannot be loaded, or reads fewer tokens than asked for.
        """
        from tutelage.models import load_language_model
        from tutelage.teachers.causal.teacher import CausalTeacher

        language_model = load_language_model(
            self.model, dtype=self.dtype, trust_remote_code=self.trust_remote_code
        )
        return CausalTeacher(
            language_model,
            batch_tokens=self.batch_tokens,
            sequence_length=assignment.sequence_length,
        )

    def writer(
        self,
        options: TextOptions,
        *,
        teacher: Callable[[], CausalTeacher | None],
        journals: Path,
        seed: int,
        control_as_text: bool,
    ) -> WritesText:
        """The model as one that writes answers.

        Args:
            options: How.
            teacher: Gives what `load` made.
            journals: Where answers are kept.
            seed: Of all draws.
            control_as_text: Whether control tokens that a prompt spells are text.
        """
        from tutelage.teachers.causal.writing import LocalWriter

        loaded = teacher()
        assert loaded is not None  # its weights are here
        return LocalWriter(
            loaded.language_model,
            options,
            seed=seed,
            journals=journals,
            batch_tokens=self.batch_tokens,
            control_as_text=control_as_text,
        )

    def writing_effort(
        self, options: TextOptions, *, prompts: int, tokens: float, rate: float
    ) -> Effort:
        """Reading prompts and writing answers of the middle length."""
        assignment = TokenAssignment(1)
        written = prompts * options.max_new_tokens / 2
        read = self.estimate(assignment, texts=prompts, tokens=tokens, rate=rate)
        slow = self.estimate(assignment, texts=prompts, tokens=written, rate=rate)
        return replace(
            read,
            tokens=tokens + written,
            seconds=read.seconds + TIMES_A_READ_TOKEN * slow.seconds,
        )


TIMES_A_READ_TOKEN = 4.0
"""Time of a written token, some prompts at once, beside one that is read."""


def _weights_of(config: Any) -> int:
    """Number of weights of a model of this configuration; 0 where only code of its own could
    tell.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    from tutelage.models.loading import empty_model
    from tutelage.models.registration import register

    register()
    # transformers would ask on the terminal whether to run code of its own.
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return 0
    try:
        return sum(parameter.numel() for parameter in empty_model(config).parameters())
    except (ValueError, OSError):
        return 0
