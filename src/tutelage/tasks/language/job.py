"""A causal_lm recipe at work: documents in, a distribution for every token, students, scores."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tutelage.data import PreparedDocuments
from tutelage.errors import ModelError, Problem, RecipeError
from tutelage.models import tokenizer_fingerprint
from tutelage.processes import crew
from tutelage.runs import RunFolder, fingerprint
from tutelage.runs.folder import ANSWERS
from tutelage.runs.stages import STAGE_VERSION, Deferred
from tutelage.targets import TargetStore, read_manifest
from tutelage.targets.manifest import FILE as MANIFEST_FILE
from tutelage.targets.resuming import open_whole, remove_broken_parts
from tutelage.tasks.estimates import require_disk, require_memory, still_to_write
from tutelage.tasks.language.checking import estimate_language_run
from tutelage.tasks.language.data import (
    assignment_of,
    documents_fingerprint,
    load_teacher,
    prepare_language_data,
    teacher_fingerprint,
    teacher_problems,
    teacher_spec,
    teacher_tokenizer,
)
from tutelage.tasks.language.evaluating import evaluate_language_run, held_out_targets
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.student_checking import require_language_students
from tutelage.tasks.language.training import language_student_fingerprint, train_language_student
from tutelage.tasks.recipe import ENGINE_UNUSED, read_back
from tutelage.tasks.task import Fingerprints, Student
from tutelage.teachers import CausalTeacher, label_documents
from tutelage.teachers.engine import workers_of
from tutelage.teachers.labelling import document_work, label_served_documents
from tutelage.teachers.sharing import Handed, Workers, follow
from tutelage.teachers.spec import Limited
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

    def __init__(self, recipe: LanguageRecipe) -> None:
        self.recipe = recipe
        if self._is_served and (
            refused := [one for one in teacher_problems(recipe) if one.severity == "error"]
        ):
            raise RecipeError(refused)
        self.tokenizer: Any = teacher_tokenizer(recipe)
        self.data: PreparedDocuments = prepare_language_data(recipe, self.tokenizer)
        require_language_students(recipe, self.data, self.tokenizer)
        self._teacher = Deferred(lambda: load_teacher(recipe))
        self._store: TargetStore | None = None
        self._source: TargetSource | None = None

    @property
    def together(self) -> frozenset[str]:
        """Training and evaluation; and labelling, unless it is done elsewhere, or by a teacher that
        is asked over a network: that one the leader alone asks.
        """
        shared = self.stores_targets and not self._is_served and self.recipe.engine is None
        return frozenset({"train", "evaluate", *(["write_targets"] if shared else [])})

    @property
    def _is_served(self) -> bool:
        """Whether the teacher's weights are elsewhere, and its answers come from a server."""
        return not teacher_spec(self.recipe).has_weights

    @property
    def fits_teacher(self) -> bool:
        """Whether its kind leaves anything."""
        return bool(teacher_spec(self.recipe).leaves)

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
        teacher = said_by = teacher_fingerprint(recipe)
        spec = teacher_spec(recipe)
        if isinstance(spec, Limited) and spec.limit is not None:
            said_by = fingerprint(said_by, spec.limit)
        ids = sorted({document.example_id for document in self._asked})
        targets = fingerprint(STAGE_VERSION, said_by, recipe.targets, ids)
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
        """Everything that the teacher writes targets for. A server, which may end before the last,
        is asked first about what judges, then about the others in an order as good as random.
        """
        train, validation = self.data.train, self.data.validation
        if not self._is_served:
            return [*train, *validation]
        return [*validation, *sorted(train, key=lambda document: document.example_id)]

    def require_room(self, folder: RunFolder, unfinished: Mapping[str, str], *, root: Path) -> None:
        """Refuse a run whose results would not fit on the disk, or its models in memory."""
        whole = estimate_language_run(self.recipe, self.data, root=root)
        estimate = still_to_write(whole, folder, unfinished)
        require_disk(estimate)
        require_memory(estimate)

    def fit_teacher(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Write down who is asked, of a server; a language model here teaches as it is."""
        return make_teacher(self.recipe, folder, progress)

    def teacher_files(self, folder: RunFolder) -> Sequence[Path]:
        """What `fit_teacher` leaves."""
        return [folder.teacher_path / file for file in teacher_spec(self.recipe).leaves]

    def write_targets(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """A distribution for every token of train and validation."""
        if self._is_served:
            if self.recipe.engine is not None:
                progress.say(ENGINE_UNUSED)
            return self._ask_server(folder, progress)
        if not (mine := crew()).leads:
            follow(lambda: self.handed(folder), out=folder.targets_path, mine=mine)
            return {}
        engine = self.recipe.engine
        handed = partial(_handed_to_worker, self.recipe.model_dump_json(), folder.path.absolute())
        with workers_of(None if engine is None else engine.spec(), handed) as workers:
            self._store, facts = write_token_targets(
                self.recipe,
                self._teacher,
                self._asked,
                out=folder.targets_path,
                workers=workers,
                progress=progress,
            )
        return facts

    def handed(self, folder: RunFolder) -> Handed:
        """The work of labelling, and all documents that it may be about, for whoever shares it; the
        store has been begun.
        """
        section = self.recipe.targets
        assert section.kind != "live"  # nothing is written then
        work = document_work(
            _loaded(self._teacher),
            kind=section.kind,
            encoding=section.encoding(),
            seed=read_manifest(folder.targets_path).seed,
        )
        return work, self._asked

    def _ask_server(self, folder: RunFolder, progress: Progress) -> dict[str, Any]:
        """The likeliest tokens of every document, from a server; what it said is kept beside the
        runs, and read from there where a run was stopped.
        """
        targets, spec = self.recipe.targets, teacher_spec(self.recipe)
        assert targets.kind == "top_k"  # the recipe is refused with any other
        assert spec.kind == "api"
        teacher = spec.token_teacher(
            assignment_of(self.recipe), k=targets.k, journals=folder.path.parent / ANSWERS
        )
        shutil.rmtree(folder.targets_path, ignore_errors=True)
        self._store = label_served_documents(
            teacher,
            self._asked,
            out=folder.targets_path,
            k=targets.k,
            seed=self.seed,
            progress=progress,
        )
        # Of answers that were kept before, nobody has the time: they count as continued.
        return {**_facts_of(self._store), "continued": True, "answers": dict(teacher.account)}

    def targets_are_whole(self, folder: RunFolder) -> bool:
        """False if the store cannot be read any more, or is another teacher's; it stays open."""
        self._store = open_whole(folder.targets_path, teacher=_written_by(folder))
        return self._store is not None

    def open_targets(self, folder: RunFolder) -> dict[str, Any]:
        """The store, or the teacher itself where nothing is stored; what the targets are."""
        if not self.stores_targets:
            self._source = LiveTargets(_loaded(self._teacher))
            return {}
        assert self._store is not None  # from the stage before
        self._store.require(
            teacher=_written_by(folder), tokenizer=tokenizer_fingerprint(self.tokenizer)
        )
        self._source = StoredTargets(self._store)
        if self._is_served:
            self._leave_out_unanswered(self._store)
        return held_out_targets(self._store, is_served=self._is_served)

    def _leave_out_unanswered(self, store: TargetStore) -> None:
        """Go on with the documents that the server answered, controls too."""
        kept = {}
        for part in ("train", "validation"):
            documents: Sequence[Document] = getattr(self.data, part)
            there = store.holds([document.example_id for document in documents])
            kept[part] = [one for one, known in zip(documents, there, strict=True) if known]
        if empty := [part for part, documents in kept.items() if not documents]:
            raise ModelError(
                f"the teacher answered for none of the {' and '.join(empty)} documents, so nothing "
                "can be trained. Look at its answers, or give it a larger budget"
            )
        self.data = replace(self.data, **kept)

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


def make_teacher(
    recipe: LanguageRecipe, folder: RunFolder, progress: Progress
) -> Mapping[str, Any]:
    """Let a kind of teacher that leaves something write it into a run, anew."""
    shutil.rmtree(folder.teacher_path, ignore_errors=True)
    folder.teacher_path.mkdir(parents=True)
    return teacher_spec(recipe).make(
        assignment_of(recipe), out=folder.teacher_path, progress=progress
    )


def _handed_to_worker(text: str, run: Path) -> Handed:
    """What a worker does that knows the text of the recipe and where the run lies."""
    return LanguageJob(read_back(LanguageRecipe, text)).handed(RunFolder(run))


def _loaded(teacher: Deferred[CausalTeacher | None]) -> CausalTeacher:
    """A teacher whose weights are here; no other is let through with targets that need them."""
    found = teacher.get()
    assert found is not None
    return found


def _written_by(folder: RunFolder) -> str | None:
    """The fingerprint of the teacher that wrote the run's targets."""
    return folder.stage("targets").facts.get("teacher")


def write_token_targets(
    recipe: LanguageRecipe,
    teacher: Deferred[CausalTeacher | None],
    documents: Sequence[Document],
    *,
    out: Path,
    workers: Workers | None = None,
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
        _loaded(teacher),
        documents,
        out=out,
        kind=section.kind,
        encoding=section.encoding(),
        seed=seed,
        workers=workers,
        progress=progress,
    )
    return store, {**_facts_of(store), "continued": known is not None and bool(known.parts)}


def _facts_of(store: TargetStore) -> dict[str, Any]:
    """What the stage says of a store."""
    written = store.manifest
    return {
        "rows": len(store),
        "positions": written.positions,
        "bytes": written.bytes,
        "teacher": written.teacher,
    }
