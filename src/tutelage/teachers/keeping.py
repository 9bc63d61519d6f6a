"""A teacher that is made once and asked once about each text, whoever needs it.

In: its options, and what it is made for. Out: a folder named by its fingerprint that holds the
teacher (whole once `made.json` is there) and its soft targets. Another ensemble with the same
member, another file of texts, or who was killed, finds them there.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import TargetsError
from tutelage.runs import atomic_write_json, lock, read_json, storing
from tutelage.targets import TargetStore, read_manifest
from tutelage.targets.resuming import open_whole, remove_broken_parts
from tutelage.teachers.spec import ClassAssignment, Reading, TeacherSpec
from tutelage.types import SILENT, Example, Progress

if TYPE_CHECKING:
    from tutelage.teachers.teacher import ClassProbabilities

_FACTS_FILE = "made.json"
_ACCOUNT_FILE = "account.json"


class KeptTeacher:
    """A teacher at its place on disk; its weights are in memory only while it answers.

    Args:
        name: For messages, and in an ensemble.
        spec: Its options.
        assignment: What it is made for.
        root: The folder in which such teachers have theirs.
        made: Where it was made before, such as in a run, and what was told of it then.
    """

    def __init__(
        self,
        name: str,
        spec: TeacherSpec[ClassAssignment, Any],
        assignment: ClassAssignment,
        root: Path,
        *,
        made: tuple[Path, dict[str, Any]] | None = None,
    ) -> None:
        self.name = name
        self.spec = spec
        self.place = root / spec.fingerprint(assignment)
        self._teacher = made[0] if made is not None else self.place / "teacher"
        if made is not None:
            self.facts = made[1]
        self.assignment = replace(assignment, reading=Reading(self.place / "reading"))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What `TeacherSpec.make` told; made now if it is not there."""
        return self.make()

    @property
    def targets(self) -> Path:
        """Its store."""
        return self.place / "targets"

    def make(self, progress: Progress = SILENT) -> dict[str, Any]:
        """Make it, unless it was made before.

        Returns:
            What its kind tells of it, see `TeacherSpec.make`.
        """
        if "facts" in self.__dict__:
            return self.facts
        facts_file, teacher = self.place / _FACTS_FILE, self._teacher
        with lock(self.place):
            found = _read_facts(facts_file)
            if found is None or not all((teacher / file).is_file() for file in self.spec.leaves):
                progress.say(f"{self.name}: making the teacher of kind {self.spec.kind}")
                with storing(self.place):
                    facts_file.unlink(missing_ok=True)
                    shutil.rmtree(teacher, ignore_errors=True)
                    teacher.mkdir(parents=True)
                found = self.spec.make(self.assignment, out=teacher, progress=progress)
                atomic_write_json(facts_file, found)
        self.facts = found
        return found

    def load(self) -> ClassProbabilities:
        """The teacher itself, with its weights."""
        self.make()
        return self.spec.load(self._teacher, self.assignment)

    def ask(self, examples: Sequence[Example], *, progress: Progress = SILENT) -> None:
        """Have its answers to texts in its store; only those that are missing are asked for."""
        fingerprint = self.facts["teacher_fingerprint"]
        remove_broken_parts(self.targets, progress)
        store = open_whole(self.targets, teacher=fingerprint)
        if store is not None and store.holds([one.example_id for one in examples]).all():
            return
        from tutelage.teachers.labelling import label
        from tutelage.teachers.teacher import Accounts, AnswersAsTheyCome

        teacher = self.load()
        # Who answers as answers come keeps them elsewhere, and knows which of them still hold.
        if isinstance(teacher, AnswersAsTheyCome) or _is_of_another(self.targets, fingerprint):
            shutil.rmtree(self.targets, ignore_errors=True)
        progress.say(f"{self.name}: {self.facts.get('description', self.spec.kind)}")
        label(teacher, examples, out=self.targets, progress=progress)
        if isinstance(teacher, Accounts):
            atomic_write_json(self.place / _ACCOUNT_FILE, dict(teacher.account))
        shutil.rmtree(self.place / "reading", ignore_errors=True)

    @property
    def account(self) -> dict[str, Any]:
        """How its answers came about when it was last asked, see `Accounts`; empty where its kind
        does not tell.
        """
        return _read_object(self.place / _ACCOUNT_FILE) or {}

    def probs(self, ids: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Its answers to texts about which it was asked.

        Args:
            ids: B content ids.

        Returns:
            Class probabilities [B, C], and which of the rows it answered [B]; others are 0.
        """
        store = TargetStore.open(self.targets, allow_incomplete=True)
        answered = store.holds(ids)
        probs = np.zeros((len(ids), len(self.assignment.labels)), dtype=np.float32)
        if answered.any():
            probs[answered] = store.lookup([ids[int(row)] for row in np.flatnonzero(answered)])
        return probs, answered


def _read_facts(file: Path) -> dict[str, Any] | None:
    """What was told of a member that was made; None where it was not, or that cannot be read."""
    found = _read_object(file)
    return found if found is not None and "teacher_fingerprint" in found else None


def _read_object(file: Path) -> dict[str, Any] | None:
    try:
        found = read_json(file)
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_of_another(targets: Path, fingerprint: str) -> bool:
    try:
        return read_manifest(targets).teacher != fingerprint
    except TargetsError:
        return False
