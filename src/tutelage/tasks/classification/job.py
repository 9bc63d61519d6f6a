"""A classification recipe at work: rows in, a teacher's class probabilities, students, scores."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tutelage.data import Prepared
from tutelage.errors import ModelError, Problem, TargetsError
from tutelage.processes import crew
from tutelage.runs import RunFolder, fingerprint
from tutelage.runs.folder import ANSWERS
from tutelage.runs.stages import STAGE_VERSION, Deferred
from tutelage.students.classifier.fresh import contexts_of
from tutelage.targets import TargetStore, read_manifest
from tutelage.targets.resuming import open_whole, remove_broken_parts
from tutelage.tasks.classification.checking import estimate_run, require_students
from tutelage.tasks.classification.data import (
    data_fingerprint,
    prepare_data,
    recipe_hash,
    rows_fingerprint,
    transfer_set,
)
from tutelage.tasks.classification.evaluating import evaluate_run, held_out_quality
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teaching import (
    fit_teacher,
    load_teacher,
    require_teacher,
    teacher_facts,
    teacher_fingerprint,
    teacher_spec,
)
from tutelage.tasks.classification.training import (
    NO_TEACHER,
    STUDENT_FILES,
    student_fingerprint,
    train_student,
    uses_teacher,
    vocabulary_texts,
    word_layers,
)
from tutelage.tasks.estimates import require_disk, still_to_write
from tutelage.tasks.recipe import ENGINE_UNUSED, read_back
from tutelage.tasks.task import Fingerprints, Student
from tutelage.teachers.choosing import NOT_CHOSEN
from tutelage.teachers.engine import workers_of
from tutelage.teachers.sharing import Handed, Workers, follow
from tutelage.teachers.spec import Limited, Reading
from tutelage.teachers.teacher import Accounts, AnswersAsTheyCome
from tutelage.types import Example, Progress


class ClassificationJob:
    """One classification recipe with its data read; see `tasks.task.Job`.

    Args:
        recipe: The recipe.

    Raises:
        RecipeError: Data or students cannot be used; every problem at once.
        ModelError: The teacher is not there.
    """

    stores_targets = True

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.data: Prepared = prepare_data(recipe)
        self._teacher_print = teacher_fingerprint(recipe, self.data)  # finds the model
        self._facts = teacher_facts(recipe)
        require_students(recipe, self._facts, self.data)
        require_teacher(recipe, self.data)
        self.transfer = transfer_set(recipe, self.data)
        self._store: TargetStore | None = None
        self._loaded: Deferred[Any] | None = None

    @property
    def together(self) -> frozenset[str]:
        """Training and evaluation; and labelling, unless it is done elsewhere, or by a teacher that
        is asked over a network or has members: those the leader alone asks.
        """
        shared = self._shares_labelling and self.recipe.engine is None
        return frozenset({"train", "evaluate", *(["write_targets"] if shared else [])})

    @property
    def _shares_labelling(self) -> bool:
        return teacher_spec(self.recipe).has_weights

    @property
    def fits_teacher(self) -> bool:
        """Whether its kind leaves anything."""
        return bool(teacher_spec(self.recipe).leaves)

    @property
    def warnings(self) -> Sequence[Problem]:
        """What a person should know about the data."""
        return self.data.warnings

    @property
    def data_facts(self) -> Mapping[str, Any]:
        """Rows and labels of every split."""
        return self.data.facts

    @property
    def seed(self) -> int:
        """What training starts from."""
        return self.recipe.train.seed

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Of every stage."""
        recipe, data = self.recipe, self.data
        rows = rows_fingerprint(self.transfer, data.train, data.unlabeled, data.validation)
        spec, said_by = teacher_spec(recipe), self._teacher_print
        if isinstance(spec, Limited) and spec.limit is not None:
            said_by = fingerprint(said_by, spec.limit)
        if recipe.label is not None:
            parts = ([one.example_id for one in part] for part in (self._pool, data.validation))
            said_by = fingerprint(said_by, recipe.label, *parts)
        if recipe.label is not None or not spec.has_weights:
            rows = fingerprint(rows, said_by)  # controls too learn from those that were answered
        formerly = {
            Student(name, control): student_fingerprint(
                recipe, name, said_by, rows, control=control
            )
            for name in recipe.students
            for control in ((False, True) if recipe.evaluate.control else (False,))
        }
        students = formerly | {
            one: student_fingerprint(recipe, one.name, NO_TEACHER, rows, control=True)
            for one in formerly
            if one.is_control and not uses_teacher(recipe, one.name)
        }
        ids = sorted({example.example_id for example in self._asked})
        targets = fingerprint(STAGE_VERSION, said_by, ids)
        # By their former names: evaluations of before are found by them.
        trained = {(one.name, one.is_control): made for one, made in formerly.items()}
        evaluation = fingerprint(
            targets, trained, data_fingerprint(data), recipe.evaluate, recipe_hash(recipe)
        )
        return Fingerprints(self._teacher_print, targets, students, evaluation, formerly)

    @property
    def _asked(self) -> list[Example]:
        """Everything that the teacher speaks about: first the rows that judge, then the others in
        an order that is as good as random, for it may end before the last.
        """
        return [*self._judged, *self._pool]

    @property
    def _judged(self) -> list[Example]:
        """The rows that judge."""
        return [*self.data.validation, *self.data.test]

    @property
    def _pool(self) -> list[Example]:
        """The texts that students learn from, in the order of their content."""
        return sorted(self.transfer, key=lambda example: example.example_id)

    def require_room(self, folder: RunFolder, unfinished: Mapping[str, str], *, root: Path) -> None:
        """Refuse a run whose results would not fit on the disk."""
        estimate = estimate_run(self.recipe, self.data, self._facts, root=root)
        require_disk(still_to_write(estimate, folder, unfinished))

    def fit_teacher(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Fit or calibrate the teacher and save it."""
        return fit_teacher(
            self.recipe,
            self.data,
            out=folder.teacher_path,
            reading=self._reading(folder),
            answers=answers_path(folder),
            progress=progress,
        )

    def teacher_files(self, folder: RunFolder) -> Sequence[Path]:
        """What `fit_teacher` leaves."""
        return [folder.teacher_path / file for file in teacher_spec(self.recipe).leaves]

    def _teacher(self, folder: RunFolder) -> Deferred[Any]:
        """The teacher, loaded when first asked for."""
        if self._loaded is None:
            self._loaded = Deferred(
                lambda: load_teacher(
                    self.recipe,
                    self.data,
                    folder.teacher_path,
                    reading=self._reading(folder),
                    answers=answers_path(folder),
                )
            )
        return self._loaded

    def _reading(self, folder: RunFolder) -> Reading:
        """Where the teacher keeps what it reads, and what students will ask for of that."""
        layers = word_layers(self.recipe, self._facts)
        is_shared = self.recipe.engine is not None or crew().size > 1
        contexts = contexts_of(vocabulary_texts(self.data))
        return Reading(folder.readings_path, contexts, layers, is_shared)

    def handed(self, folder: RunFolder) -> Handed:
        """The work of labelling, and all rows that it may be about, for whoever shares it."""
        from tutelage.teachers.labelling import text_work

        return text_work(self._teacher(folder).get()), self._asked

    def write_targets(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Class probabilities of every text; what is damaged is written again."""
        from tutelage.teachers import label

        if not (mine := crew()).leads:
            follow(lambda: self.handed(folder), out=folder.targets_path, mine=mine)
            return {}
        if self.recipe.engine is not None and not self._shares_labelling:
            progress.say(ENGINE_UNUSED)
        teacher, out = self._teacher(folder).get(), folder.targets_path
        if isinstance(teacher, AnswersAsTheyCome):
            # Its answers are kept elsewhere; which of them hold may be another matter now.
            shutil.rmtree(out, ignore_errors=True)
        remove_targets_of_others(teacher, out)
        remove_broken_parts(out, progress)
        chosen: dict[str, Any] = {}
        with self._workers(folder) as workers:
            if self.recipe.label is None:
                self._store = label(
                    teacher, self._asked, out=out, workers=workers, progress=progress
                )
            else:
                self._store, chosen = self._label_chosen(teacher, folder, workers, progress)
        account = dict(teacher.account) if isinstance(teacher, Accounts) else {}
        if chosen:
            account["chosen"] = chosen
            if left := chosen["texts"] - chosen["asked"]:
                account["unanswered"] = {**account.get("unanswered", {}), NOT_CHOSEN: left}
        return {"rows": len(self._store), **({"answers": account} if account else {})}

    def _workers(self, folder: RunFolder) -> AbstractContextManager[Workers | None]:
        """Who shares the labelling."""
        if not self._shares_labelling:
            return nullcontext()
        engine = self.recipe.engine
        return workers_of(
            None if engine is None else engine.spec(),
            partial(_handed_to_worker, self.recipe.model_dump_json(), folder.path.absolute()),
        )

    def _label_chosen(
        self, teacher: Any, folder: RunFolder, workers: Workers | None, progress: Progress
    ) -> tuple[TargetStore, dict[str, Any]]:
        """As the section `label` says; what runs beside know already is taken over."""
        from tutelage.teachers.rounds import label_chosen

        assert self.recipe.label is not None
        out = folder.targets_path
        beside = sorted(folder.path.parent.glob(f"*/{out.name}"))
        return label_chosen(
            teacher,
            self.transfer,
            judged=self._judged,
            validation=self.data.validation,
            choice=self.recipe.label.spec(),
            out=out,
            answered=[path for path in beside if path.parent.name != folder.path.name],
            workers=workers,
            progress=progress,
        )

    def targets_are_whole(self, folder: RunFolder) -> bool:
        """False if the store cannot be read any more, or is another teacher's; it stays open."""
        self._store = open_whole(folder.targets_path, teacher=_written_by(folder))
        return self._store is not None

    def open_targets(self, folder: RunFolder) -> dict[str, Any]:
        """Refuse a store of other labels; the teacher's own quality on validation rows."""
        self.store.require(labels=self.recipe.task.labels, teacher=_written_by(folder))
        self._leave_out_unanswered()
        return held_out_quality(self.recipe, self.data, self.store)

    def _leave_out_unanswered(self) -> None:
        """Go on with the rows that the teacher answered."""
        store, data = self.store, self.data
        parts = {"train": self.transfer, "validation": data.validation, "test": data.test}
        kept = {}
        for part, rows in parts.items():
            there = store.holds([example.example_id for example in rows])
            kept[part] = [example for example, known in zip(rows, there, strict=True) if known]
        if empty := [part for part, rows in parts.items() if rows and not kept[part]]:
            raise ModelError(
                f"the teacher answered none of the {' and '.join(empty)} rows, so nothing can be "
                "trained or judged. Look at its answers, or give it a larger budget"
            )
        self.transfer = kept["train"]
        self.data = replace(data, validation=kept["validation"], test=kept["test"])

    @property
    def store(self) -> TargetStore:
        """What the stage `targets` wrote or found."""
        assert self._store is not None
        return self._store

    def train(self, student: Student, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Train one student or control."""
        return train_student(
            self.recipe,
            student.name,
            folder,
            self.transfer,
            self.data,
            self.store,
            self._teacher(folder),
            control=student.is_control,
            progress=progress,
        )

    def student_files(self, student: Student, folder: RunFolder) -> Sequence[Path]:
        """What `train` leaves."""
        return [folder.path / student.stage / file for file in STUDENT_FILES]

    def evaluate(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Measure everybody on the test rows."""
        if crew().leads:
            # All are trained: of what the teacher read, nothing is asked for any more.
            shutil.rmtree(folder.readings_path, ignore_errors=True)
        return evaluate_run(
            self.recipe, folder, self.data, self.store, self._teacher(folder), progress=progress
        )


def answers_path(folder: RunFolder) -> Path:
    """Where answers that cost something are kept, beside the runs and shared by them."""
    return folder.path.parent / ANSWERS


def _handed_to_worker(text: str, run: Path) -> Handed:
    """What a worker does that knows the text of the recipe and where the run lies."""
    return ClassificationJob(read_back(Recipe, text)).handed(RunFolder(run))


def _written_by(folder: RunFolder) -> str | None:
    """The fingerprint of the teacher that the run keeps."""
    return folder.stage("teacher").facts.get("teacher_fingerprint")


def remove_targets_of_others(teacher: Any, targets: Path) -> None:
    """Remove a run's own targets where its data changed since, and with them the teacher: they
    answer nothing now.
    """
    try:
        manifest = read_manifest(targets)
    except TargetsError:
        return
    if (manifest.teacher, manifest.labels) != (teacher.fingerprint, tuple(teacher.labels)):
        shutil.rmtree(targets)
