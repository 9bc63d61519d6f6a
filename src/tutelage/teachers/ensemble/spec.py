"""The options of an ensemble of teachers, and what they say before and after it is made.

In: a `ClassAssignment`. Out: the problems, sizes and effort of its members; members in folders of
their own, and what each of them weighs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from tutelage.errors import ModelError, Problem
from tutelage.runs import atomic_write_json, fingerprint, read_json
from tutelage.runs.stages import STAGE_VERSION
from tutelage.teachers.spec import ClassAssignment, Effort, Limited, TeacherSpec, placed
from tutelage.types import SILENT, Example, Progress

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.teachers.ensemble.teacher import EnsembleTeacher
    from tutelage.teachers.keeping import KeptTeacher

MEMBERS_FOLDER = "members"
"""Where members lie in a folder of answers."""
ENSEMBLE_FILE = "ensemble.json"
FEWEST_HELD_OUT = 20
"""Labelled rows by which weights are fitted."""


@dataclass(frozen=True, kw_only=True)
class EnsembleTeacherSpec:
    """Several teachers whose answers are mixed; each is labelled and kept by itself."""

    kind: Literal["ensemble"] = "ensemble"
    """The kind of teacher."""

    members: Mapping[str, TeacherSpec[ClassAssignment, Any]]
    """At least two teachers of any other kind, by name: several models, or several prompts of
    one."""

    combine: Literal["mixture", "log_mean"] = "mixture"
    """Whether probabilities are averaged (mixture), or their logarithms (log_mean), which is surer
    where members agree."""

    weights: Mapping[str, Annotated[float, Ge(0)]] | Literal["fitted"] | None = None
    """What each member weighs, by its name; fitted: so that labelled validation rows are the most
    likely; None: all alike."""

    has_weights: ClassVar[bool] = False

    def check_together(self) -> None:
        """Refuse weights that are not about the members."""
        from tutelage.teachers.ensemble.mixing import normalised

        if isinstance(self.weights, Mapping):
            normalised(self.weights, list(self.members))

    @property
    def needs_labels(self) -> bool:
        """Whether a member does."""
        return any(spec.needs_labels for spec in self.members.values())

    @property
    def leaves(self) -> tuple[str, ...]:
        """Who the members are and what they weigh."""
        return (ENSEMBLE_FILE,)

    @property
    def limit(self) -> object:
        """Those of its members, see `Limited`."""
        limits = {
            name: spec.limit
            for name, spec in self.members.items()
            if isinstance(spec, Limited) and spec.limit is not None
        }
        return limits or None

    def facts(self, assignment: ClassAssignment) -> ModelFacts | None:
        """None: there are several language models, or none."""
        del assignment

    def tokenizer(self, assignment: ClassAssignment, *, convert: bool = True) -> Any:
        """None, as `facts`."""
        del assignment, convert

    def problems(self, assignment: ClassAssignment) -> list[Problem]:
        """Those of every member, and too few labels to fit weights by."""
        held_out = self._held_out(assignment)
        problems = [
            problem
            for name, spec in self.members.items()
            for problem in placed(f"members.{name}", spec.problems(assignment))
        ]
        known = assignment.train is not None
        if self.weights == "fitted" and known and len(held_out) < FEWEST_HELD_OUT:
            problems.append(
                Problem(
                    "weights",
                    f"there are {len(held_out)} labelled validation rows to fit the weights by; "
                    f"expected at least {FEWEST_HELD_OUT}: label more, give the weights, or leave "
                    "them out",
                )
            )
        return problems

    def sources(self, assignment: ClassAssignment) -> str:
        """What its members depend on."""
        return fingerprint({name: one.sources(assignment) for name, one in self.members.items()})

    def fingerprint(self, assignment: ClassAssignment) -> str:
        """Names the members, how they are combined, and the rows by which weights are fitted."""
        weights = self.weights
        return fingerprint(
            "teacher",
            STAGE_VERSION,
            self.kind,
            self.combine,
            dict(weights) if isinstance(weights, Mapping) else weights,
            {name: spec.fingerprint(assignment) for name, spec in self.members.items()},
            [(example.example_id, example.label) for example in self._held_out(assignment)],
        )

    def estimate(
        self, assignment: ClassAssignment, *, texts: int, tokens: float, rate: float
    ) -> Effort:
        """All members', one after the other."""
        efforts = [
            spec.estimate(assignment, texts=texts, tokens=tokens, rate=rate)
            for spec in self.members.values()
        ]
        stores = len(efforts) * texts * (16 + 4 * len(assignment.labels))
        return Effort(
            tokens=sum(one.tokens for one in efforts),
            seconds=sum(one.seconds for one in efforts),
            disk_bytes=stores + sum(one.disk_bytes for one in efforts),
            memory_bytes=max(one.memory_bytes for one in efforts),
            parameters=sum(one.parameters for one in efforts),
            dollars=sum(one.dollars for one in efforts),
            requests=sum(one.requests for one in efforts),
        )

    def make(
        self, assignment: ClassAssignment, *, out: Path, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Make the members that are not there yet, and settle what each of them weighs."""
        from tutelage.teachers.ensemble.mixing import normalised
        from tutelage.teachers.ensemble.teacher import EnsembleTeacher

        self.check_together()
        members = self._members(assignment, out)
        for member in members:
            member.make(progress)
        weights = normalised(
            self.weights if isinstance(self.weights, Mapping) else None, list(self.members)
        )
        teacher = EnsembleTeacher(members, weights.tolist(), combine=self.combine)
        if self.weights == "fitted":
            teacher = self._fitted(teacher, members, self._held_out(assignment), progress)
        atomic_write_json(
            out / ENSEMBLE_FILE, {"format": 1, "combine": self.combine, "weights": teacher.weights}
        )
        shares = ", ".join(f"{name} {share:.2f}" for name, share in teacher.weights.items())
        told = "weights fitted" if self.weights == "fitted" else "weights"
        return {
            "kind": self.kind,
            "model": "",
            "teacher_fingerprint": teacher.fingerprint,
            "parameters": sum(int(member.facts.get("parameters") or 0) for member in members),
            "description": f"ensemble, {self.combine} of {len(members)} ({told}: {shares})",
        }

    def load(self, folder: Path, assignment: ClassAssignment) -> EnsembleTeacher:
        """The teacher whose weights `make` wrote; of its members nothing is loaded yet."""
        from tutelage.teachers.ensemble.teacher import EnsembleTeacher

        try:
            weights = read_json(folder / ENSEMBLE_FILE)["weights"]
            shares = [float(weights[name]) for name in self.members]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{folder / ENSEMBLE_FILE} does not say what each member weighs ({error}): make "
                "the teacher again"
            ) from error
        return EnsembleTeacher(self._members(assignment, folder), shares, combine=self.combine)

    def _fitted(
        self,
        teacher: EnsembleTeacher,
        members: Sequence[KeptTeacher],
        held_out: Sequence[Example],
        progress: Progress,
    ) -> EnsembleTeacher:
        """The teacher with the weights under which held-out rows are the most likely."""
        import numpy as np

        from tutelage.teachers.ensemble.mixing import fit_weights
        from tutelage.teachers.ensemble.teacher import EnsembleTeacher

        teacher.ask(held_out, progress=progress)
        found = [member.probs([one.example_id for one in held_out]) for member in members]
        whole = np.all([answered for _, answered in found], axis=0)
        if not whole.any():
            raise ModelError(
                f"the members answered none of {len(held_out):,} labelled rows together, so their "
                "weights cannot be fitted: give the weights, or leave them out"
            )
        probs = np.stack([of_member[whole] for of_member, _ in found])
        gold = np.array([one.label for one in held_out], dtype=np.int64)[whole]
        weights = fit_weights(probs, gold, combine=self.combine)
        return EnsembleTeacher(members, weights.round(6).tolist(), combine=self.combine)

    def _members(self, assignment: ClassAssignment, folder: Path) -> list[KeptTeacher]:
        """Members at their places: beside the runs, or in the teacher's own folder."""
        from tutelage.teachers.keeping import KeptTeacher

        root = (assignment.answers or folder) / MEMBERS_FOLDER
        return [KeptTeacher(name, spec, assignment, root) for name, spec in self.members.items()]

    def _held_out(self, assignment: ClassAssignment) -> list[Example]:
        """The labelled rows by which weights are fitted; none where they are not."""
        rows = assignment.validation or () if self.weights == "fitted" else ()
        return [example for example in rows if example.label is not None]
