"""A causal_lm recipe with text targets at work: prompts in, the teacher's answers, students that
learn them, scores. Controls learn the responses of the data instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tutelage.data import PreparedDocuments
from tutelage.data.documents.prompts import PreparedPrompts
from tutelage.errors import Problem, RecipeError, TargetsError
from tutelage.runs import RunFolder, fingerprint
from tutelage.runs.folder import ANSWERS
from tutelage.runs.stages import STAGE_VERSION, Deferred
from tutelage.targets.text import WrittenAnswer, counted, read_answers
from tutelage.tasks.estimates import require_disk, require_memory, still_to_write
from tutelage.tasks.language.accepting import judge_fingerprint
from tutelage.tasks.language.answering import (
    answered_documents,
    describe_answers,
    write_text_targets,
)
from tutelage.tasks.language.data import (
    documents_fingerprint,
    load_teacher,
    prepare_prompted_data,
    teacher_fingerprint,
    teacher_problems,
    teacher_spec,
    teacher_tokenizer,
    text_options,
)
from tutelage.tasks.language.evaluating import evaluate_language_run
from tutelage.tasks.language.job import STUDENT_FILES, make_teacher
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.text_checking import estimate_text_run, text_problems
from tutelage.tasks.language.training import language_student_fingerprint, train_language_student
from tutelage.tasks.recipe import ENGINE_UNUSED
from tutelage.tasks.task import Fingerprints, Student
from tutelage.teachers.spec import Limited
from tutelage.types import Progress


class TextJob:
    """One causal_lm recipe whose teacher writes; see `tasks.task.Job`.

    Args:
        recipe: The recipe.

    Raises:
        RecipeError: Prompts, teacher or students cannot be used; every problem at once.
        ModelError: The teacher is not there.
    """

    stores_targets = True
    together = frozenset({"train", "evaluate"})

    def __init__(self, recipe: LanguageRecipe) -> None:
        self.recipe = recipe
        if refused := [one for one in teacher_problems(recipe) if one.severity == "error"]:
            raise RecipeError(refused)
        self.tokenizer: Any = teacher_tokenizer(recipe)
        self.prompts: PreparedPrompts = prepare_prompted_data(recipe, self.tokenizer)
        if problems := text_problems(recipe, self.prompts, self.tokenizer):
            raise RecipeError(problems)
        self._teacher = Deferred(lambda: load_teacher(recipe))
        self._answers: list[WrittenAnswer] | None = None
        self._learned: PreparedDocuments | None = None

    @property
    def warnings(self) -> Sequence[Problem]:
        """What a person should know about the data."""
        return self.prompts.documents.warnings

    @property
    def data_facts(self) -> Mapping[str, Any]:
        """Prompts of every split, and the documents that are used of it."""
        facts = self.prompts.documents.facts
        if self._learned is None:
            return facts
        learned, judged = self._learned.facts, self._judged()
        parts = {part: {**facts[part], **learned[part]} for part in ("train", "validation")}
        return {**parts, "test": {**facts["test"], **judged.facts["test"]}}

    @property
    def seed(self) -> int:
        """What drawing answers and training start from."""
        return self.recipe.train.seed

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Of every stage."""
        recipe, own = self.recipe, self.prompts.documents
        teacher = said_by = teacher_fingerprint(recipe)
        spec = teacher_spec(recipe)
        if isinstance(spec, Limited) and spec.limit is not None:
            said_by = fingerprint(said_by, spec.limit)
        judge = judge_fingerprint(recipe)
        asked = {
            part: sorted({(one.text, one.source, one.row) for one in prompts})
            for part, prompts in (
                ("train", self.prompts.train),
                ("validation", self.prompts.validation),
                ("test", self.prompts.test),
            )
        }
        targets = fingerprint(
            "written answers",
            STAGE_VERSION,
            said_by,
            # How its judge is asked is named apart: patience and price change no verdict.
            recipe.targets.model_copy(update={"judge": None}),
            recipe.task,
            asked,
            recipe.train.seed,
            *([] if judge is None else [judge]),
        )
        students = {
            Student(name, control): language_student_fingerprint(
                recipe, name, targets, own, control=control
            )
            for name in recipe.students
            for control in ((False, True) if recipe.evaluate.control else (False,))
        }
        evaluation = fingerprint(
            "language evaluation",
            {"teacher": teacher, "targets": targets},
            {(one.name, one.is_control): made for one, made in students.items()},
            recipe.evaluate,
            documents_fingerprint(own.train, own.validation, own.test),
            recipe,
        )
        return Fingerprints(teacher, targets, students, evaluation)

    @property
    def fits_teacher(self) -> bool:
        """Whether its kind leaves anything."""
        return bool(teacher_spec(self.recipe).leaves)

    def require_room(self, folder: RunFolder, unfinished: Mapping[str, str], *, root: Path) -> None:
        """Refuse a run whose results would not fit on the disk, or its models in memory."""
        whole = estimate_text_run(self.recipe, self.prompts, root=root)
        estimate = still_to_write(whole, folder, unfinished)
        require_disk(estimate)
        require_memory(estimate)

    def fit_teacher(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Write down who is asked."""
        return make_teacher(self.recipe, folder, progress)

    def teacher_files(self, folder: RunFolder) -> Sequence[Path]:
        """What `fit_teacher` leaves."""
        return [folder.teacher_path / file for file in teacher_spec(self.recipe).leaves]

    def write_targets(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """An answer to every prompt; those that were written before are kept beside the runs."""
        if self.recipe.engine is not None:
            progress.say(ENGINE_UNUSED)
        writer = teacher_spec(self.recipe).writer(
            text_options(self.recipe),
            teacher=self._teacher.get,
            journals=folder.path.parent / ANSWERS,
            seed=self.recipe.train.seed,
            control_as_text=self.recipe.data.control_tokens != "tokens",
        )
        facts = write_text_targets(
            self.recipe,
            self.prompts,
            writer,
            self.tokenizer,
            teacher=self.fingerprints.teacher,
            out=folder.targets_path,
            beside=folder.path.parent / ANSWERS,
            progress=progress,
        )
        self._answers = read_answers(folder.targets_path)
        return facts

    def targets_are_whole(self, folder: RunFolder) -> bool:
        """False if the answers cannot be read any more, or are another teacher's."""
        teacher = folder.stage("targets").facts.get("teacher")
        try:
            self._answers = read_answers(folder.targets_path, teacher=teacher)
        except TargetsError:
            return False
        return True

    def open_targets(self, folder: RunFolder) -> dict[str, Any]:
        """The answers as documents; how many there are, and why others were left out."""
        del folder
        assert self._answers is not None  # from the stage before
        self._learned = answered_documents(self.recipe, self._answers, self.tokenizer)
        parts = counted(self._answers)
        return {"parts": parts, "sentence": describe_answers(parts)}

    @property
    def learned(self) -> PreparedDocuments:
        """What the teacher wrote."""
        assert self._learned is not None
        return self._learned

    def _judged(self) -> PreparedDocuments:
        """Documents on which everybody is judged: those of the data; where no test prompt has a
        response, the teacher's answers.
        """
        own = self.prompts.documents
        return own if own.test else replace(self.learned, train=own.train)

    def train(self, student: Student, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Train one student on what the teacher wrote, or its control on what the data says."""
        return train_language_student(
            self.recipe,
            student.name,
            folder,
            self.prompts.documents if student.is_control else self.learned,
            None,
            self._teacher,
            control=student.is_control,
            progress=progress,
        )

    def student_files(self, student: Student, folder: RunFolder) -> Sequence[Path]:
        """What `train` leaves."""
        return [folder.path / student.stage / file for file in STUDENT_FILES]

    def evaluate(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Measure everybody on the responses of the test prompts, and on the teacher's answers."""
        assert self._answers is not None
        return evaluate_language_run(
            self.recipe,
            folder,
            self._judged(),
            self._teacher,
            learned=self.learned,
            answers=self._answers,
            progress=progress,
        )
