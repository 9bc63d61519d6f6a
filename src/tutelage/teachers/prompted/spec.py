"""The options of a prompted teacher, and what they say before and after it is made.

In: a `ClassAssignment`. Out: the question in the model's own tokens or what is wrong with it; a
calibration in a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, MinLen

from tutelage.errors import ModelError, NotEnoughMemory, Problem
from tutelage.runs import fingerprint
from tutelage.runs.stages import STAGE_VERSION
from tutelage.teachers.spec import (
    ClassAssignment,
    Effort,
    LocalReader,
    local_tokenizer,
    require_reads,
    scoring_seconds,
)
from tutelage.types import SILENT, Progress

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.teachers.prompted.calibration import Calibration
    from tutelage.teachers.prompted.teacher import PromptedTeacher

CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True, kw_only=True)
class PromptedTeacherSpec(LocalReader):
    """Any causal language model, asked for the label in its own words."""

    kind: Literal["prompted"] = "prompted"
    """The kind of teacher."""

    instruction: Annotated[str, MinLen(1)] | None = None
    """What the model is asked to do; None: a sentence made from the labels."""

    template: str | None = None
    """The prompt around one text, containing {text}; None: a plain default."""

    verbalizers: Mapping[str, tuple[str, ...]] | None = None
    """For each label the word, or the words, that mean it; None: the label itself."""

    chat: Literal["auto", True, False] = "auto"
    """Whether to use the model's chat template; auto: if it has one."""

    shots: Annotated[int, Ge(0)] = 0
    """Labelled examples of train shown in the prompt."""

    calibration: Literal["none", "contextual", "batch", "fitted"] = "none"
    """How the label probabilities are corrected for the model's own preference among the words."""

    @property
    def reads_rows_to_calibrate(self) -> bool:
        """Whether training rows are asked about before it is in use."""
        return self.calibration in ("batch", "fitted")

    @property
    def needs_labels(self) -> bool:
        """Never: it answers without, but for shots and a fitted calibration, which `problems`
        knows.
        """
        return False

    @property
    def leaves(self) -> tuple[str, ...]:
        """What corrects its answers; the prompt follows from the options."""
        return (CALIBRATION_FILE,)

    def facts(self, assignment: ClassAssignment) -> ModelFacts:
        """Size and shape of the language model."""
        from tutelage.models import model_facts

        return model_facts(self.model, trust_remote_code=self.trust_remote_code)

    def tokenizer(self, assignment: ClassAssignment, *, convert: bool = True) -> Any:
        """The language model's."""
        return local_tokenizer(
            self.model, trust_remote_code=self.trust_remote_code, convert=convert
        )

    def problems(self, assignment: ClassAssignment) -> list[Problem]:
        """A model that does not continue text, a prompt that cannot be built, labels that are
        missing.
        """
        from tutelage.models import check_model
        from tutelage.teachers.prompted.checking import (
            find_question,
            missing_labels,
            require_continues,
        )

        try:
            require_reads(self.facts(assignment), name=self.model)
            problems = missing_labels(self, assignment) if assignment.train is not None else []
            if not problems:
                require_continues(self.model, trust_remote_code=self.trust_remote_code)
                check_model(self.model, head="causal_lm", trust_remote_code=self.trust_remote_code)
        except (ModelError, NotEnoughMemory) as error:
            return [Problem("model", str(error))]
        if assignment.train is None:
            return []
        return problems or find_question(self, assignment)[1]

    def sources(self, assignment: ClassAssignment) -> str:
        """The weights."""
        from tutelage.models.facts import model_fingerprint

        return model_fingerprint(self.model, trust_remote_code=self.trust_remote_code)

    def fingerprint(self, assignment: ClassAssignment) -> str:
        """Names the weights, the options, and the rows that shots and calibration come from."""
        from tutelage.teachers.prompted.teacher import CALIBRATION_ROWS

        options = asdict(self)
        for key in ("model", "batch_tokens"):
            del options[key]
        return fingerprint(
            "teacher",
            STAGE_VERSION,
            options,
            self.sources(assignment),
            assignment.labels,
            [(example.example_id, example.label) for example in assignment.rows],
            assignment.groups,
            *([CALIBRATION_ROWS] if self.reads_rows_to_calibrate else []),
        )

    def estimate(
        self, assignment: ClassAssignment, *, texts: int, tokens: float, rate: float
    ) -> Effort:
        """Reading each text with what follows it in the prompt, and what a calibration reads."""
        from tutelage.teachers.prompted.checking import find_question, prompt_tokens

        facts = self.facts(assignment)
        question, _ = find_question(self, assignment)
        if question is not None:
            tokens += sum(prompt_tokens(self, assignment, question, texts=texts))
        return Effort(
            tokens=tokens,
            seconds=scoring_seconds(facts.parameters, tokens, rate=rate),
            disk_bytes=4 * facts.parameters if facts.needs_conversion else 0,
            parameters=facts.parameters,
        )

    def make(
        self, assignment: ClassAssignment, *, out: Path, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Draw the shots, estimate the calibration, and save that."""
        teacher = self._built(assignment, self.calibration)
        if self.reads_rows_to_calibrate:
            teacher.calibrate(assignment.rows, progress=progress)
        assert teacher.calibration is not None
        teacher.calibration.save(out / CALIBRATION_FILE)
        description = f"prompted, {self.shots} shots, calibration {self.calibration}"
        if teacher.calibration.rows:
            description += f" on {teacher.calibration.rows} texts"
        return {
            "kind": self.kind,
            "model": self.model,
            "teacher_fingerprint": teacher.fingerprint,
            "parameters": int(teacher.parameters),
            "description": description,
        }

    def load(self, folder: Path, assignment: ClassAssignment) -> PromptedTeacher:
        """The teacher with the calibration that `make` wrote."""
        from tutelage.teachers.prompted.calibration import Calibration

        return self._built(assignment, Calibration.load(folder / CALIBRATION_FILE))

    def prompt(self, assignment: ClassAssignment) -> dict[str, Any]:
        """What its prompt is made of: arguments of `build_question` and of `PromptedTeacher`.

        Raises:
            ModelError: There are not enough labelled rows for the shots.
        """
        from tutelage.teachers.prompted.prompts import draw_shots

        shots = []
        if self.shots:
            shots = draw_shots(
                assignment.rows,
                self.shots,
                num_classes=len(assignment.labels),
                seed=self.seed,
            )
        return {
            "instruction": self.instruction,
            "template": self.template,
            "verbalizers": self.verbalizers,
            "chat": self.chat,
            "shots": shots,
            "max_length": self.max_length,
        }

    def _built(
        self,
        assignment: ClassAssignment,
        calibration: Literal["none", "contextual", "batch", "fitted"] | Calibration,
    ) -> PromptedTeacher:
        from tutelage.models import load_language_model
        from tutelage.teachers.prompted.teacher import PromptedTeacher

        language_model = load_language_model(
            self.model,
            dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
            head="causal_lm",
        )
        return PromptedTeacher(
            language_model,
            assignment.labels,
            calibration=calibration,
            batch_tokens=self.batch_tokens,
            **self.prompt(assignment),
        )
