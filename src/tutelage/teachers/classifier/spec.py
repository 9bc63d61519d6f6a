"""The options of a classifier teacher, and what they say before and after it is made.

In: a `ClassAssignment`. Out: sizes and problems from files' headers; a fitted teacher in a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tutelage.errors import ModelError, NotEnoughMemory, Problem
from tutelage.runs import fingerprint
from tutelage.runs.stages import STAGE_VERSION
from tutelage.teachers.classifier.fits import FullFit, HeadFit, LoraFit, NoFit
from tutelage.teachers.spec import (
    ClassAssignment,
    Effort,
    LocalReader,
    local_tokenizer,
    require_reads,
    rough_tokens,
    scoring_seconds,
)
from tutelage.types import SILENT, Example, Progress, same_name

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.teachers.classifier.folder import Description
    from tutelage.teachers.classifier.reading import TextReadings
    from tutelage.teachers.classifier.teacher import ClassifierTeacher

_FEWEST_JUDGES = 30
"""Labelled validation rows that a temperature is fitted to."""


@dataclass(frozen=True, kw_only=True)
class ClassifierTeacherSpec(LocalReader):
    """A language model or encoder with a classification head."""

    kind: Literal["classifier"] = "classifier"
    """The kind of teacher."""

    fit: HeadFit | LoraFit | FullFit | NoFit = field(default_factory=HeadFit)
    """How the head is fitted to the labelled rows first."""

    @property
    def needs_labels(self) -> bool:
        """Whether it is fitted."""
        return not isinstance(self.fit, NoFit)

    @property
    def leaves(self) -> tuple[str, ...]:
        """What `ClassifierTeacher.save` writes last."""
        return ("teacher.json",)

    def facts(self, assignment: ClassAssignment) -> ModelFacts:
        """Size and shape of the language model: the named one, or the one that a saved teacher
        stands on.

        Raises:
            ModelError: The model is not there, cannot be read, or is a fitted classifier for other
                labels.
        """
        from tutelage.models import model_facts

        facts = model_facts(self._below(assignment), trust_remote_code=self.trust_remote_code)
        read = self._read_layers(assignment)
        return facts if read is None else replace(facts, read_layers=read)

    def _read_layers(self, assignment: ClassAssignment) -> int | None:
        """The deepest layer that a linear head reads, where that is said."""
        saved = self._saved(assignment)
        if saved is not None:
            return max(saved.layers, default=None)
        return max(self.fit.layers) if isinstance(self.fit, HeadFit) and self.fit.layers else None

    def tokenizer(self, assignment: ClassAssignment, *, convert: bool = True) -> Any:
        """The language model's."""
        return local_tokenizer(
            self._below(assignment), trust_remote_code=self.trust_remote_code, convert=convert
        )

    def problems(self, assignment: ClassAssignment) -> list[Problem]:
        """A model that is not there, lacks weights, cannot be fitted this way, or that classifies
        into other labels.
        """
        from tutelage.models import check_model

        try:
            facts = self.facts(assignment)
            require_reads(facts, name=self.model)
            check_model(
                self._below(assignment),
                head="backbone" if self._method(assignment) == "head" else "sequence",
                trust_remote_code=self.trust_remote_code,
                fresh_head=isinstance(self.fit, FullFit) or self._method(assignment) == "lora",
            )
        except (ModelError, NotEnoughMemory) as error:
            return [Problem("model", str(error))]
        if self._calibrates and assignment.train is not None:
            number = len(_labelled(assignment.validation))
            if number < _FEWEST_JUDGES:
                message = (
                    f"validation has {number} labelled rows, too few to tell how sure a teacher "
                    f"may be; expected at least {_FEWEST_JUDGES}: label more, or leave the key out"
                )
                return [Problem("fit.temperature", message)]
        return []

    def _method(self, assignment: ClassAssignment) -> str:
        """How it is fitted, or was if it is a saved teacher."""
        saved = self._saved(assignment)
        return self.fit.method if saved is None else saved.method

    def sources(self, assignment: ClassAssignment) -> str:
        """The weights, or a saved teacher with those below it."""
        from tutelage.models.facts import model_fingerprint

        if self._saved(assignment) is None:
            return model_fingerprint(self.model, trust_remote_code=self.trust_remote_code)
        from tutelage.teachers.classifier.folder import saved_teacher_fingerprint

        return saved_teacher_fingerprint(Path(self.model))

    def fingerprint(self, assignment: ClassAssignment) -> str:
        """Names the weights, the options, and the rows that it is fitted to."""
        options = asdict(self)
        for key in ("model", "batch_tokens"):
            del options[key]
        rows = assignment.rows if self.needs_labels else ()
        judges = []
        if not self._calibrates:
            options["fit"].pop("temperature", None)
        else:
            judges = [[(one.example_id, one.label) for one in _labelled(assignment.validation)]]
        return fingerprint(
            "teacher",
            STAGE_VERSION,
            options,
            self.sources(assignment),
            assignment.labels,
            [(example.example_id, example.label) for example in rows],
            assignment.groups if self.needs_labels else None,
            *judges,
        )

    @property
    def _calibrates(self) -> bool:
        """Whether validation rows give it a temperature."""
        return isinstance(self.fit, (LoraFit, FullFit)) and self.fit.temperature is not None

    def estimate(
        self, assignment: ClassAssignment, *, texts: int, tokens: float, rate: float
    ) -> Effort:
        """Reading once, and three times as much for every pass over the rows it is fitted to."""
        facts = self.facts(assignment)
        fitted = [example for example in assignment.rows if example.label is not None]
        passes = self.fit.epochs if isinstance(self.fit, (LoraFit, FullFit)) else 0
        converted = 4 * facts.parameters if facts.needs_conversion else 0
        return Effort(
            tokens=tokens,
            seconds=scoring_seconds(
                facts.parameters, tokens + 3.0 * passes * rough_tokens(fitted), rate=rate
            ),
            disk_bytes=converted
            + self.saved_bytes(assignment)
            + self._reading_bytes(facts, texts=texts, tokens=tokens),
            memory_bytes=facts.parameters * self._value_bytes(),
            parameters=facts.parameters,
        )

    def _reading_bytes(self, facts: ModelFacts, *, texts: int, tokens: float) -> int:
        """What it keeps of the texts that it reads while a run is at work: their features, and of
        every second word a state.
        """
        from tutelage.teachers.classifier.reading import MOST_BYTES

        if not isinstance(self.fit, HeadFit):
            return 0
        states = (3 if self.fit.layers is None else len(self.fit.layers)) * len(self.fit.pooling)
        width = facts.embedding_width or 0
        return int(min(MOST_BYTES, width * (4 * states * texts + tokens)))

    def saved_bytes(self, assignment: ClassAssignment) -> int:
        """What is kept of it: every weight that was fitted, or the saved teacher that is copied.

        A linear head is too small to count, and a classifier that is used as it is stays where it
        is.

        Returns:
            Bytes; 0 for a hub model whose size is not known.
        """
        facts = self.facts(assignment)
        match self.fit:
            case FullFit():
                return facts.parameters * self._value_bytes()
            case LoraFit(rank=rank, cross_fit=folds):
                return 4 * rank * facts.matrix_sides * (1 + folds)  # adapters stay in float32
            case NoFit() if self._saved(assignment) is not None:
                return sum(path.stat().st_size for path in Path(self.model).rglob("*.safetensors"))
            case _:
                return 0

    def make(
        self, assignment: ClassAssignment, *, out: Path, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Fit the teacher to the labelled rows, or find it fitted, and save it."""
        teacher = self._made(assignment, progress)
        if self._calibrates:
            _set_temperature(teacher, _labelled(assignment.validation))
        teacher.save(out)
        description = f"classifier, fit: {self.fit.method}"
        if isinstance(self.fit, HeadFit):
            description += f" on layers {', '.join(map(str, teacher.description.layers))}"
        return {
            "kind": self.kind,
            "model": self.model,
            "teacher_fingerprint": teacher.fingerprint,
            "parameters": int(teacher.parameters),
            "description": description,
        }

    def load(self, folder: Path, assignment: ClassAssignment) -> ClassifierTeacher:
        """The teacher that `make` wrote."""
        from tutelage.teachers.classifier.teacher import ClassifierTeacher

        return ClassifierTeacher.load(
            folder, batch_tokens=self.batch_tokens, readings=self._readings(assignment)
        )

    def _made(self, assignment: ClassAssignment, progress: Progress) -> ClassifierTeacher:
        from tutelage.models import load_language_model
        from tutelage.teachers.classifier.teacher import ClassifierTeacher

        if self._saved(assignment) is not None:
            return ClassifierTeacher.load(self.model, batch_tokens=self.batch_tokens)
        fresh = isinstance(self.fit, (LoraFit, FullFit))
        options = asdict(self.fit)
        options.pop("temperature", None)  # not fitted to the rows that the weights are fitted to
        language_model = load_language_model(
            self.model,
            dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
            head="backbone" if isinstance(self.fit, HeadFit) else "sequence",
            labels=assignment.labels if fresh else (),
        )
        return ClassifierTeacher.fit(
            language_model,
            assignment.labels,
            assignment.rows,
            **options,
            batch_tokens=self.batch_tokens,
            max_length=self.max_length,
            groups=assignment.groups,
            trust_remote_code=self.trust_remote_code,
            readings=self._readings(assignment),
            seed=self.seed,
            progress=progress,
        )

    def _readings(self, assignment: ClassAssignment) -> TextReadings | None:
        """Where a head on features keeps what was read; other fits read in their own way."""
        from tutelage.teachers.classifier.reading import TextReadings
        from tutelage.types import example_id

        reading = assignment.reading
        if reading is None or not isinstance(self.fit, HeadFit):
            return None
        contexts = [example_id(text) for text in reading.contexts]
        return TextReadings(
            reading.folder,
            contexts=contexts,
            word_layers=reading.layers,
            is_shared=reading.is_shared,
        )

    def _saved(self, assignment: ClassAssignment) -> Description | None:
        """What the model is, if it is the folder of a saved teacher that is used as it is.

        Raises:
            ModelError: It answers with other labels, or runs code that was not allowed.
        """
        if not isinstance(self.fit, NoFit):
            return None
        from tutelage.teachers.classifier.folder import is_saved_teacher, read_description

        if not is_saved_teacher(self.model):
            return None
        description = read_description(Path(self.model))
        known, given = description.labels, assignment.labels
        if list(map(same_name, known)) != list(map(same_name, given)):
            raise ModelError(
                f"{self.model} is a saved teacher for the labels {list(description.labels)}, but "
                f"task.labels are {list(assignment.labels)}: write the same labels in the same "
                "order, or fit a teacher for these"
            )
        if description.trust_remote_code and not self.trust_remote_code:
            raise ModelError(
                f"{self.model} is a saved teacher on {description.model}, which brings code of its "
                "own: read that code, then set teacher.trust_remote_code to true, or take another "
                "teacher"
            )
        return description

    def _below(self, assignment: ClassAssignment) -> str:
        """The name of the language model: the given one, or the one that a saved teacher stands
        on.

        Raises:
            ModelError: It is a fitted classifier, or a saved teacher, for other labels.
        """
        saved = self._saved(assignment)
        if saved is not None:
            return self.model if saved.method == "full" else saved.model
        if isinstance(self.fit, NoFit):
            self._require_labels(assignment.labels)
        return self.model

    def _require_labels(self, labels: tuple[str, ...]) -> None:
        """Refuse a classifier whose configuration names other classes; their order may differ."""
        from tutelage.models.reading import read_config

        config = read_config(self.model, trust_remote_code=self.trust_remote_code)
        names = sorted(map(str, config.id2label.values()))
        if sorted(map(same_name, names)) != sorted(map(same_name, labels)):
            raise ModelError(
                f"{self.model} classifies as {names}, but task.labels are {list(labels)}: name the "
                "labels as the model does, correct id2label in its config.json, or let it be "
                "fitted (fit: {method: head})"
            )

    def _value_bytes(self) -> int:
        from tutelage.models.computing import choose_dtype

        return choose_dtype(self.dtype).itemsize


def _labelled(rows: Sequence[Example] | None) -> list[Example]:
    return [example for example in rows or () if example.label is not None]


def _set_temperature(teacher: ClassifierTeacher, rows: Sequence[Example]) -> None:
    """Give a fitted teacher the one temperature that suits rows which it was not fitted to."""
    import numpy as np

    from tutelage.teachers.prompted.calibration import fit_temperature

    probs = teacher.label(rows).astype(np.float64)
    gold = np.array([example.label for example in rows])
    found = fit_temperature(np.log(np.maximum(probs, 1e-12)), gold)
    before = teacher.description
    teacher.description = replace(before, temperature=round(found * before.temperature, 4))
