"""The options of a teacher whose answers are recorded, and what they say before it is made.

In: a `ClassAssignment`. Out: what is wrong with the file, which texts it knows nothing about, and
the teacher. Nothing is computed, so there are no weights, no tokenizer and no price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le, MinLen

from tutelage.errors import ModelError, Problem
from tutelage.runs import atomic_write_json, fingerprint, fingerprint_file
from tutelage.runs.remote import local_file
from tutelage.runs.stages import STAGE_VERSION
from tutelage.teachers.spec import ClassAssignment, Effort
from tutelage.types import SILENT, Example, Progress

if TYPE_CHECKING:
    from tutelage.teachers.recorded.reading import Recorded
    from tutelage.teachers.recorded.teacher import RecordedTeacher

UNDERSTOOD_FILE = "recorded.json"


@dataclass(frozen=True, kw_only=True)
class RecordedTeacherSpec:
    """Answers that one already has: probabilities, votes or labels in a file, soft targets in a
    store, or a log of calls of an API.
    """

    has_weights: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    leaves: ClassVar[tuple[str, ...]] = (UNDERSTOOD_FILE,)

    kind: Literal["recorded"] = "recorded"
    """The kind of teacher."""

    file: Path
    """A csv, tsv, jsonl or parquet file, or the folder of a store of soft targets."""

    text_field: Annotated[str, MinLen(1)] = "text"
    """The column of the file that holds the text."""

    form: Literal["auto", "probabilities", "votes", "labels", "log"] = "auto"
    """What the file holds; auto: it is found by the names of its columns."""

    columns: Mapping[str, str] | None = None
    """For each label the column with its probability or votes; None: found by name."""

    answer_field: Annotated[str, MinLen(1)] | None = None
    """The one column that holds a whole answer; None: found by name."""

    requests: Path | None = None
    """Of the output of a batch API, the file of its requests, jsonl; None: the log holds them."""

    template: str | None = None
    """Of a log of chats, what stands around the text in the user's last message, with {text} where
    it goes; None: the message is the text."""

    smoothing: Annotated[float, Ge(0), Le(1000)] | None = None
    """Votes added to those for each label; None: 0.5 where votes are counted, 0.1 shared out among
    all labels where a text has one label."""

    missing: Literal["leave_out", "refuse"] = "leave_out"
    """What becomes of texts without an answer: left out of the run and counted, or refused."""

    def check_together(self) -> None:
        """Refuse options that do not go together.

        Raises:
            ValueError: They do not.
        """
        if self.columns is not None and self.answer_field is not None:
            raise ValueError(
                "columns names one for each label and answer_field one for all: keep one of them"
            )
        if self.columns is not None and self.form not in ("probabilities", "votes"):
            raise ValueError(
                "columns needs to know what stands in them: say form: probabilities or form: votes"
            )

    def facts(self, assignment: ClassAssignment) -> None:
        """None: it has no model."""
        del assignment

    def tokenizer(self, assignment: ClassAssignment, *, convert: bool = True) -> None:
        """None: it has no model."""
        del assignment, convert

    def problems(self, assignment: ClassAssignment) -> list[Problem]:
        """Rows that cannot be used; that nothing is recorded about the data; a warning where little
        is missing.
        """
        recorded, found = self._read(assignment)
        problems = [Problem("file", str(one), one.severity) for one in found]
        if recorded is None or assignment.train is None:
            return problems
        return problems + self._missing(recorded, (*assignment.rows, *assignment.besides))

    def _missing(self, recorded: Recorded, examples: Sequence[Example]) -> list[Problem]:
        from tutelage.teachers.recorded.teacher import missing_message, without_answer

        examples = list({one.example_id: one for one in examples}.values())
        absent = without_answer(recorded, examples)
        if not absent:
            return []
        message = missing_message(recorded, examples, absent)
        if len(absent) == len(examples):
            return [Problem("file", message)]
        if self.missing == "refuse":
            return [Problem("missing", f"{message}; to leave them out say leave_out")]
        return [Problem("missing", f"{message}; they are left out", "warning")]

    def sources(self, assignment: ClassAssignment) -> str:
        """The bytes of the files, or the manifest of the store, which names the sums of its parts.

        Raises:
            ModelError: They cannot be read.
        """
        from tutelage.teachers.recorded.reading import store_folder

        path = store_folder(self.file) / "manifest.json" if self.file.is_dir() else self.file
        found = _bytes_of(path, "file")
        return found if self.requests is None else found + _bytes_of(self.requests, "requests")

    def fingerprint(self, assignment: ClassAssignment) -> str:
        """Names the bytes, and what is made of them for which labels."""
        options = asdict(self)
        for key in ("file", "requests", "missing"):
            del options[key]
        return fingerprint(
            "teacher", STAGE_VERSION, options, self.sources(assignment), assignment.labels
        )

    def estimate(
        self, assignment: ClassAssignment, *, texts: int, tokens: float, rate: float
    ) -> Effort:
        """None: its answers are there."""
        del assignment, texts, tokens, rate
        return Effort(tokens=0.0, seconds=0.0)

    def make(
        self, assignment: ClassAssignment, *, out: Path, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Read the answers and write down what was understood.

        Raises:
            ModelError: They cannot be used.
        """
        recorded = self._whole(assignment)
        facts = recorded.facts()
        progress.say(understood(recorded))
        atomic_write_json(out / UNDERSTOOD_FILE, facts)
        return {
            "kind": self.kind,
            "model": recorded.source,
            "teacher_fingerprint": self.fingerprint(assignment),
            "parameters": 0,
            "description": understood(recorded),
        }

    def load(self, folder: Path, assignment: ClassAssignment) -> RecordedTeacher:
        """The teacher, of the file as it is now.

        Raises:
            ModelError: It cannot be used.
        """
        from tutelage.teachers.recorded.teacher import RecordedTeacher

        del folder
        return RecordedTeacher(
            self._whole(assignment),
            fingerprint=self.fingerprint(assignment),
            missing=self.missing,
        )

    def _whole(self, assignment: ClassAssignment) -> Recorded:
        recorded, problems = self._read(assignment)
        errors = [str(one) for one in problems if one.severity == "error"]
        if recorded is None or errors:
            raise ModelError("; ".join(errors))
        return recorded

    def _read(self, assignment: ClassAssignment) -> tuple[Recorded | None, list[Problem]]:
        from tutelage.teachers.recorded.reading import Understanding, read_recorded

        how = Understanding(
            text_field=self.text_field,
            form=self.form,
            columns=self.columns,
            answer_field=self.answer_field,
            requests=None if self.requests is None else local_file(self.requests),
            template=self.template,
            smoothing=self.smoothing,
        )
        return read_recorded(local_file(self.file), assignment.labels, how)


def _bytes_of(path: Path, key: str) -> str:
    """Names what a file holds."""
    from tutelage.data.limits import not_a_file

    try:
        path = local_file(path)
        if path.exists() and (other := not_a_file(path)) is not None:
            raise ModelError(f"{path} is {other}; expected a file of answers")
        return fingerprint_file(path)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror or error}), but teacher.{key} names it: "
            "correct the path"
        ) from None


def understood(recorded: Recorded) -> str:
    """What a file of answers was taken for, in half a sentence."""
    found = f"answers recorded in {recorded.source}: {recorded.form} of {len(recorded.ids):,} texts"
    if recorded.percentages:
        found += ", in percent"
    if recorded.smoothing is not None:
        found += f", {recorded.smoothing:.3g} votes added for each label"
    if recorded.contradicting:
        found += f", {recorded.contradicting:,} with several that differ, averaged"
    return found
