"""A causal_lm recipe at work: documents in, a distribution for every token, students, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tutelage.data import PreparedDocuments
from tutelage.errors import Problem
from tutelage.models import tokenizer_fingerprint
from tutelage.runs import RunFolder, fingerprint
from tutelage.runs.stages import STAGE_VERSION, Deferred
from tutelage.targets import TargetStore, read_manifest
from tutelage.targets.manifest import FILE as MANIFEST_FILE
from tutelage.targets.resuming import open_whole, remove_broken_parts
from tutelage.tasks.estimates import require_disk, require_memory, still_to_write
from tutelage.tasks.language.checking import estimate_language_run
from tutelage.tasks.language.data import (
    documents_fingerprint,
    load_teacher,
    prepare_language_data,
    teacher_fingerprint,
    teacher_tokenizer,
)
from tutelage.tasks.language.evaluating import evaluate_language_run, held_out_targets
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.student_checking import require_language_students
from tutelage.tasks.language.training import language_student_fingerprint, train_language_student
from tutelage.tasks.task import Fingerprints, Student
from tutelage.teachers import CausalTeacher, label_documents
from tutelage.teachers.teacher import HiddenStates
from tutelage.train import LiveTargets, StoredTargets, TargetSource
from tutelage.types import SILENT, Document, Progress

STUDENT_FILES = ("config.json", "model.safetensors", "metrics.jsonl")
"""What makes a student's folder whole."""


class LanguageJob:
    """One causal_lm recipe with its documents read; see `tasks.task.Job`.

    Args:
        recipe: The recipe.

    Raises:
        RecipeError: Documents or students cannot be used; every problem at once.
        ModelError: The teacher is not there.
    """

    fits_teacher = False

    def __init__(self, recipe: LanguageRecipe) -> None:
        self.recipe = recipe
        self.tokenizer: Any = teacher_tokenizer(recipe)
        self.data: PreparedDocuments = prepare_language_data(recipe, self.tokenizer)
        require_language_students(recipe, self.data, self.tokenizer)
        self._teacher = Deferred(lambda: loaded_teacher(recipe))
        self._store: TargetStore | None = None
        self._source: TargetSource | None = None

    @property
    def stores_targets(self) -> bool:
        """Whether the teacher's targets are written down."""
        return self.recipe.targets.kind != "live"

    @property
    def warnings(self) -> Sequence[Problem]:
        """What a person should know about the data."""
        return self.data.warnings

    @property
    def data_facts(self) -> Mapping[str, Any]:
        """Documents and tokens of every split."""
        return self.data.facts

    @property
    def seed(self) -> int:
        """What training starts from."""
        return self.recipe.train.seed

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Of every stage."""
        recipe, data = self.recipe, self.data
        teacher = teacher_fingerprint(recipe)
        ids = sorted({document.example_id for document in self._asked})
        targets = fingerprint(STAGE_VERSION, teacher, recipe.targets, ids)
        students = {
            Student(name, control): language_student_fingerprint(
                recipe, name, targets, data, control=control
            )
            for name in recipe.students
            for control in ((False, True) if recipe.evaluate.control else (False,))
        }
        evaluation = fingerprint(
            "language evaluation",
            {"teacher": teacher, "targets": targets},
            {(one.name, one.is_control): made for one, made in students.items()},
            recipe.evaluate,
            documents_fingerprint(data.train, data.validation, data.test),
            recipe,
        )
        return Fingerprints(teacher, targets, students, evaluation)

    @property
    def _asked(self) -> list[Document]:
        """Everything that the teacher writes targets for."""
        return [*self.data.train, *self.data.validation]

    def require_room(self, folder: RunFolder, unfinished: Mapping[str, str], *, root: Path) -> None:
        """Refuse a run whose results would not fit on the disk, or its models in memory."""
        whole = estimate_language_run(self.recipe, self.data, root=root)
        estimate = still_to_write(whole, folder, unfinished)
        require_disk(estimate)
        require_memory(estimate)

    def fit_teacher(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Never asked for: a language model teaches as it is."""
        raise AssertionError(f"there is nothing to fit in {folder.path}: {progress}")

    def teacher_files(self, folder: RunFolder) -> Sequence[Path]:
        """None."""
        del folder
        return []

    def write_targets(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """A distribution for every token of train and validation."""
        self._store, facts = write_token_targets(
            self.recipe, self._teacher, self._asked, out=folder.targets_path, progress=progress
        )
        return facts

    def targets_are_whole(self, folder: RunFolder) -> bool:
        """False if the store cannot be read any more, or is another teacher's; it stays open."""
        self._store = open_whole(folder.targets_path, teacher=_written_by(folder))
        return self._store is not None

    def open_targets(self, folder: RunFolder) -> dict[str, Any]:
        """The store, or the teacher itself where nothing is stored; what the targets are."""
        if not self.stores_targets:
            self._source = LiveTargets(self._teacher.get())
            return {}
        assert self._store is not None  # from the stage before
        self._store.require(
            teacher=_written_by(folder), tokenizer=tokenizer_fingerprint(self.tokenizer)
        )
        self._source = StoredTargets(self._store)
        return held_out_targets(self._store)

    def train(self, student: Student, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Train one student or control."""
        source = None if student.is_control else self._source
        return train_language_student(
            self.recipe,
            student.name,
            folder,
            self.data,
            source,
            self._teacher,
            control=student.is_control,
            progress=progress,
        )

    def student_files(self, student: Student, folder: RunFolder) -> Sequence[Path]:
        """What `train` leaves."""
        return [folder.path / student.stage / file for file in STUDENT_FILES]

    def evaluate(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Measure everybody on the test documents."""
        return evaluate_language_run(
            self.recipe, folder, self.data, self._teacher, progress=progress
        )


def loaded_teacher(recipe: LanguageRecipe) -> CausalTeacher:
    """The teacher of a recipe that needs its probabilities, which no other kind is let through
    with.
    """
    found = load_teacher(recipe)
    assert found is not None
    return found


def _written_by(folder: RunFolder) -> str | None:
    """The fingerprint of the teacher that wrote the run's targets."""
    return folder.stage("targets").facts.get("teacher")


def write_token_targets(
    recipe: LanguageRecipe,
    teacher: Deferred[HiddenStates],
    documents: Sequence[Document],
    *,
    out: Path,
    progress: Progress = SILENT,
) -> tuple[TargetStore, dict[str, Any]]:
    """Let the teacher score every document once; a killed call goes on where it was, a damaged part
    is written again.

    Returns:
        The store, and facts for the stage: rows and positions.
    """
    section = recipe.targets
    assert section.kind != "live"  # nothing is written then
    remove_broken_parts(out, progress)
    known = read_manifest(out) if (out / MANIFEST_FILE).is_file() else None
    # Targets that were taken over keep the seed they were drawn with: any is as good.
    seed = recipe.train.seed if known is None else known.seed
    store = label_documents(
        teacher.get(),
        documents,
        out=out,
        kind=section.kind,
        encoding=section.encoding(),
        seed=seed,
        progress=progress,
    )
    written = store.manifest
    return store, {
        "rows": len(store),
        "positions": written.positions,
        "bytes": written.bytes,
        "teacher": written.teacher,
        "continued": known is not None and bool(known.parts),
    }
