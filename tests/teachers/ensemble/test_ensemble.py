"""An ensemble of made-up members, some of which do not answer everything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.errors import DataError, ModelError
from tutelage.recipes.labelling import label_file
from tutelage.teachers.ensemble.spec import EnsembleTeacherSpec
from tutelage.teachers.keeping import KeptTeacher
from tutelage.teachers.labelling import label
from tutelage.teachers.spec import ClassAssignment, Effort
from tutelage.types import SILENT, Example, Progress

LABELS = ("bad", "good")
ROWS = [Example(text=f"text {number}", label=number % 2) for number in range(40)]


class FakeTeacher:
    """Says one thing of every text."""

    labels = LABELS

    def __init__(self, spec: FakeSpec) -> None:
        self.spec = spec
        self.fingerprint = f"fake {spec.share} {spec.silent}"

    def label(self, examples: Sequence[Example]) -> np.ndarray:
        self.spec.seen.extend(example.text for example in examples)
        share = self.spec.share
        return np.tile(np.array([1 - share, share], dtype=np.float32), (len(examples), 1))


class SilentTeacher:
    """Says nothing of texts that hold a word."""

    labels = LABELS

    def __init__(self, spec: FakeSpec) -> None:
        self.spec = spec
        self.fingerprint = f"fake {spec.share} {spec.silent}"
        self.unanswered: dict[bytes, str] = {}

    def answers(
        self, examples: Sequence[Example], *, progress: Progress
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        del progress
        self.unanswered = {}
        for place, example in reversed(list(enumerate(examples))):
            if self.spec.silent in example.text:
                self.unanswered[example.example_id] = "refused"
                continue
            share = self.spec.share
            yield [place], np.array([[1 - share, share]], dtype=np.float32)

    def label(self, examples: Sequence[Example]) -> np.ndarray:
        raise AssertionError("is asked as its answers come")


@dataclass(frozen=True)
class FakeSpec:
    share: float
    silent: str = ""
    seen: list[str] = field(default_factory=list)
    kind: str = "fake"
    needs_labels: bool = False
    leaves: tuple[str, ...] = ()
    limit: object = None

    def problems(self, assignment: ClassAssignment) -> list[Any]:
        return []

    def fingerprint(self, assignment: ClassAssignment) -> str:
        return f"{self.share}-{self.silent}".replace(" ", "-")

    def estimate(self, assignment: ClassAssignment, **_: Any) -> Effort:
        return Effort(10, 2.0, disk_bytes=5, memory_bytes=7, parameters=3, dollars=1.5)

    def make(self, assignment: ClassAssignment, *, out: Path, progress: Progress) -> dict[str, Any]:
        return {"teacher_fingerprint": FakeTeacher(self).fingerprint, "parameters": 3}

    def load(self, folder: Path, assignment: ClassAssignment) -> Any:
        return SilentTeacher(self) if self.silent else FakeTeacher(self)


def made(tmp_path: Path, spec: EnsembleTeacherSpec, **more: Any) -> Any:
    assignment = ClassAssignment(LABELS, ROWS, answers=tmp_path / "answers", **more)
    out = tmp_path / "teacher"
    out.mkdir(exist_ok=True)
    facts = spec.make(assignment, out=out, progress=SILENT)
    teacher = spec.load(out, assignment)
    assert facts["teacher_fingerprint"] == teacher.fingerprint
    return teacher


def test_a_text_that_a_member_does_not_answer_has_no_target(tmp_path: Path) -> None:
    spec = EnsembleTeacherSpec(members={"a": FakeSpec(0.8), "b": FakeSpec(0.4, silent="7")})
    teacher = made(tmp_path, spec)
    store = label(teacher, ROWS, out=tmp_path / "targets")
    silent = [row for row in ROWS if "7" in row.text]
    assert len(store) == len(ROWS) - len(silent) == 36
    assert teacher.unanswered == {row.example_id: "no answer from b" for row in silent}
    np.testing.assert_allclose(store.lookup([ROWS[0].example_id]), [[0.4, 0.6]], atol=1e-6)
    with pytest.raises(DataError, match="4 of 40 texts have no answer from b"):
        teacher.label(ROWS)
    np.testing.assert_allclose(teacher.label(ROWS[1:3]), [[0.4, 0.6]] * 2, atol=1e-6)


def test_each_text_is_asked_once_of_each_member(tmp_path: Path) -> None:
    one, other = FakeSpec(0.8), FakeSpec(0.4)
    teacher = made(tmp_path, EnsembleTeacherSpec(members={"a": one, "b": other}))
    teacher.label(ROWS[:10])
    teacher.label(ROWS)
    third = FakeSpec(0.1)
    spec = EnsembleTeacherSpec(
        members={"x": third, "y": one}, combine="log_mean", weights={"x": 0.0, "y": 2.0}
    )
    np.testing.assert_allclose(made(tmp_path, spec).label(ROWS)[:, 1], 0.8, atol=1e-6)
    assert [len(spec.seen) for spec in (one, other, third)] == [40, 40, 40]
    assert sorted(one.seen) == sorted(row.text for row in ROWS)


def test_fitted_weights_go_by_validation_rows_and_by_nothing_else(tmp_path: Path) -> None:
    members = {"a": FakeSpec(0.9), "b": FakeSpec(0.2)}
    spec = EnsembleTeacherSpec(members=members, weights="fitted")
    validation = [Example(text=f"new {number}", label=int(number < 15)) for number in range(30)]
    teacher = made(tmp_path, spec, validation=validation)
    assert teacher.weights["a"] * 0.9 + teacher.weights["b"] * 0.2 == pytest.approx(0.5, abs=1e-3)
    assert sorted(members["a"].seen) == sorted(row.text for row in validation)
    (problem,) = spec.problems(ClassAssignment(LABELS, ROWS, validation=validation[:19]))
    assert problem.where == "weights"
    assert "19 labelled validation rows" in problem.message


def test_efforts_are_added_up_and_memory_is_that_of_one_member() -> None:
    spec = EnsembleTeacherSpec(members={"a": FakeSpec(0.8), "b": FakeSpec(0.4)})
    effort = spec.estimate(ClassAssignment(LABELS, ROWS), texts=100, tokens=1000, rate=1e9)
    assert (effort.tokens, effort.seconds, effort.dollars) == (20, 4.0, 3.0)
    assert (effort.memory_bytes, effort.parameters) == (7, 6)
    assert effort.disk_bytes == 2 * 5 + 2 * 100 * (16 + 4 * 2)


def test_its_limit_is_that_of_the_members_that_have_one() -> None:
    bounded, free = FakeSpec(0.8, limit={"cost": 1.0}), FakeSpec(0.4)
    assert EnsembleTeacherSpec(members={"a": bounded, "b": free}).limit == {"a": {"cost": 1.0}}
    assert EnsembleTeacherSpec(members={"a": free, "b": free}).limit is None


def test_what_answers_depend_on_changes_the_fingerprint() -> None:
    a, b = FakeSpec(0.8), FakeSpec(0.4)
    rows = ClassAssignment(LABELS, ROWS, validation=ROWS[:25])
    others = [
        EnsembleTeacherSpec(members={"a": a, "b": b}),
        EnsembleTeacherSpec(members={"a": a, "b": FakeSpec(0.3)}),
        EnsembleTeacherSpec(members={"a": a, "b": b}, combine="log_mean"),
        EnsembleTeacherSpec(members={"a": a, "b": b}, weights={"a": 1.0, "b": 2.0}),
        EnsembleTeacherSpec(members={"a": a, "b": b}, weights="fitted"),
    ]
    assert len({spec.fingerprint(rows) for spec in others}) == len(others)
    fewer = ClassAssignment(LABELS, ROWS, validation=ROWS[:24])
    assert others[0].fingerprint(rows) == others[0].fingerprint(fewer)
    assert others[-1].fingerprint(rows) != others[-1].fingerprint(fewer)


def test_weights_that_nobody_can_read_any_more_are_refused(tmp_path: Path) -> None:
    spec = EnsembleTeacherSpec(members={"a": FakeSpec(0.8), "b": FakeSpec(0.4)})
    made(tmp_path, spec)
    (tmp_path / "teacher" / "ensemble.json").write_text(json.dumps({"weights": {"a": 1}}))
    with pytest.raises(
        ModelError, match=r"does not say what each member weighs .*make the teacher"
    ):
        spec.load(tmp_path / "teacher", ClassAssignment(LABELS, ROWS))


def test_a_table_is_empty_where_the_teacher_did_not_answer(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": row.text, "n": [1]}) + "\n" for row in ROWS))
    teacher = KeptTeacher(
        "teacher", FakeSpec(0.8, silent="7"), ClassAssignment(LABELS, ()), tmp_path / "kept"
    )
    done = label_file(file, teacher, out=tmp_path / "out.jsonl")
    assert (done["rows"], done["unanswered"]) == (40, 4)
    assert done["counts"] == {"bad": 0, "good": 36}
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[7] == {"text": "text 7", "n": [1], "label": None, "p_bad": None, "p_good": None}
    assert rows[8]["label"] == "good"
    assert rows[8]["p_good"] == pytest.approx(0.8)
    silent = KeptTeacher(
        "teacher", FakeSpec(0.8, silent="text"), ClassAssignment(LABELS, ()), tmp_path / "none"
    )
    with pytest.raises(DataError, match="answered none of 40 rows: nothing is written"):
        label_file(file, silent, out=tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()
