"""A part of the texts is labelled, round by round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.journeys.tiny_job import LABELS, WORDS, sentences

from tutelage.targets import TargetStore
from tutelage.teachers.choosing import LabelChoice
from tutelage.teachers.labelling import label
from tutelage.teachers.quick_student import QuickStudent
from tutelage.teachers.rounds import label_chosen, left_at_most
from tutelage.types import Example, Progress

ROWS = [Example(text=text) for text, _ in sentences(260, seed=3)]
POOL, VALIDATION, TEST = ROWS[:200], ROWS[200:240], ROWS[240:]


def said(example: Example) -> np.ndarray:
    """A label by how many of its words stand there."""
    counts = [sum(word in WORDS[label] for word in example.text.split()) for label in LABELS]
    weights = 1 + 20.0 * np.array(counts)
    return (weights / weights.sum()).astype(np.float32)


class Local:
    """Answers at once; dies after so many texts."""

    labels = LABELS
    fingerprint = "local"

    def __init__(self, dies_after: int | None = None) -> None:
        self.asked: list[bytes] = []
        self._left = dies_after

    def label(self, examples: Sequence[Example]) -> np.ndarray:
        if self._left is not None and (left := self._left - len(examples)) < 0:
            raise KeyboardInterrupt
        if self._left is not None:
            self._left = left
        self.asked += [one.example_id for one in examples]
        return np.stack([said(one) for one in examples])


class Served:
    """Answers as they come, keeps what it was paid for, and says nothing of texts with a word."""

    labels = LABELS
    fingerprint = "served"

    def __init__(self, *, silent: str = "", dies_after: int | None = None) -> None:
        self.paid: list[bytes] = []
        self.unanswered: dict[bytes, str] = {}
        self.account: dict[str, Any] = {}
        self.dies_after = dies_after
        self._silent = silent

    def label(self, examples: Sequence[Example]) -> np.ndarray:
        raise AssertionError("is asked as its answers come")

    def answers(
        self, examples: Sequence[Example], *, progress: Progress
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        del progress
        self.unanswered = {}
        for place, example in enumerate(examples):
            name = example.example_id
            if name not in self.paid:
                if len(self.paid) == self.dies_after:
                    raise KeyboardInterrupt
                self.paid.append(name)
            if self._silent and self._silent in example.text:
                self.unanswered[name] = "refused"
            else:
                yield [place], said(example)[None]
        self.account = {"answers": len(examples) - len(self.unanswered)}


def chosen(
    teacher: Any, out: Path, pool: Sequence[Example] = POOL, **more: Any
) -> tuple[TargetStore, dict[str, Any]]:
    answered = more.pop("answered", ())
    choice = LabelChoice(**{"limit": 60, "rounds": 3, **more})
    return label_chosen(
        teacher,
        pool,
        judged=[*VALIDATION, *TEST],
        validation=VALIDATION,
        choice=choice,
        out=out,
        answered=answered,
    )


@pytest.mark.parametrize("choose", ["random", "uncertain", "diverse", "mixed"])
def test_so_many_are_asked_about_and_those_that_judge(tmp_path: Path, choose: str) -> None:
    teacher = Local()
    store, told = chosen(teacher, tmp_path / "a", choose=choose)
    assert len(teacher.asked) == len(set(teacher.asked)) == 60 + 60 == len(store)
    assert store.holds([one.example_id for one in (*VALIDATION, *TEST)]).all()
    assert (told["texts"], told["asked"], told["answered"]) == (200, 60, 60)
    assert [one["asked"] for one in told["rounds"]] == [20, 40, 60]
    assert told["rounds"][-1]["agreement"]["value"] > 0.6
    again, _ = chosen(Local(), tmp_path / "b", pool=[*POOL[::-1], POOL[0]], choose=choose)
    assert again.ids == store.ids, "the order of rows says nothing"
    other, _ = chosen(Local(), tmp_path / "c", choose=choose, seed=1)
    assert other.ids != store.ids


def test_a_limit_above_all_rows_labels_everything(tmp_path: Path) -> None:
    store, told = chosen(Local(), tmp_path / "a", limit=1000)
    assert len(store) == 260
    assert told["asked"] == 200


@pytest.mark.parametrize("after", [10, 70, 90, 110])
def test_who_is_killed_in_a_round_goes_on_with_the_same_choice(tmp_path: Path, after: int) -> None:
    whole, _ = chosen(Local(), tmp_path / "whole")
    killed = Local(dies_after=after)
    with pytest.raises(KeyboardInterrupt):
        chosen(killed, tmp_path / "killed")
    on = Local()
    store, _ = chosen(on, tmp_path / "killed")
    assert store.ids == whole.ids
    assert not set(on.asked) & set(killed.asked)
    np.testing.assert_array_equal(store.lookup(store.ids), whole.lookup(whole.ids))


@pytest.mark.parametrize("after", [10, 85, 100])
def test_a_served_teacher_is_paid_once_whatever_is_killed(tmp_path: Path, after: int) -> None:
    whole, _ = chosen(Served(), tmp_path / "whole")
    teacher = Served(dies_after=after)
    with pytest.raises(KeyboardInterrupt):
        chosen(teacher, tmp_path / "killed")
    teacher.dies_after = None
    store, _ = chosen(teacher, tmp_path / "killed")
    assert store.ids == whole.ids
    assert len(teacher.paid) == len(set(teacher.paid)) == 120
    assert teacher.account == {"answers": 120}, "of all rounds"


def test_texts_without_an_answer_count_as_asked(tmp_path: Path) -> None:
    store, told = chosen(Served(silent="camera"), tmp_path / "a")
    silent = [one.example_id for one in ROWS if "camera" in one.text]
    assert told["asked"] == 60 > told["answered"] > 0
    assert not store.holds(silent).any()


def test_a_round_without_any_answer_is_the_last(tmp_path: Path) -> None:
    pool = [Example(text=f"broken {one.text}") for one in POOL]
    _, told = chosen(Served(silent="broken "), tmp_path / "a", pool=pool)
    assert (told["asked"], told["answered"], len(told["rounds"])) == (20, 0, 1)
    assert told["stopped_early"] is False


def test_what_other_stores_know_is_not_asked(tmp_path: Path) -> None:
    first, _ = chosen(Local(), tmp_path / "first", limit=30, choose="random", rounds=1)
    (tmp_path / "nothing").mkdir()
    teacher = Local()
    places = [tmp_path / "nothing", tmp_path / "first"]
    store, _ = chosen(teacher, tmp_path / "second", choose="random", rounds=1, answered=places)
    assert set(first.ids) <= set(store.ids), "a larger limit keeps a random choice"
    assert len(teacher.asked) == 120 - 90


def test_rows_of_an_earlier_choice_leave_the_store(tmp_path: Path) -> None:
    label(Local(), POOL, out=tmp_path / "a")  # type: ignore[arg-type]
    teacher = Local()
    store, _ = chosen(teacher, tmp_path / "a")
    assert len(store) == 120
    assert len(teacher.asked) == 60, "only those that judge"
    assert TargetStore.open(tmp_path / "a").ids == store.ids
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_it_stops_where_more_would_not_pay(tmp_path: Path) -> None:
    alike = [Example(text=f"great superb thing number {number}") for number in range(200)]
    _, told = chosen(
        Local(), tmp_path / "a", pool=alike, limit=160, rounds=8, stop_early=True, choose="random"
    )
    assert told["stopped_early"] is True
    assert told["asked"] < 160
    assert told["rounds"][-1]["left_at_most"] < 0.05
    _, told = chosen(Local(), tmp_path / "b", limit=40, rounds=2, stop_early=True)
    assert told["stopped_early"] is False, "it still learns"
    assert told["asked"] == 40


def test_without_rows_that_judge_nothing_is_known_and_nothing_stops(tmp_path: Path) -> None:
    choice = LabelChoice(limit=20, rounds=2, stop_early=True)
    _, told = label_chosen(
        Local(), POOL, judged=[], validation=[], choice=choice, out=tmp_path / "a"
    )
    assert [one["agreement"] for one in told["rounds"]] == [None, None]
    assert told["asked"] == 20


def test_what_is_left_follows_the_curve() -> None:
    rows = np.ones(50)
    assert left_at_most(rows, rows, sizes=(100, 200), limit=400) == 0.0
    # Halved from 100 to 200 texts: halved again from 200 to 400.
    assert left_at_most(rows, rows / 2, sizes=(100, 200), limit=400) == pytest.approx(0.5)
    assert left_at_most(rows, rows / 2, sizes=(100, 200), limit=200) == 0.0
    assert left_at_most(rows, 0 * rows, sizes=(100, 200), limit=400) == 1.0
    spread = np.linspace(0, 1, 50)
    wide = left_at_most(rows, spread, sizes=(100, 200), limit=400)
    assert wide > left_at_most(rows, rows * spread.mean(), sizes=(100, 200), limit=400)


def test_a_quick_student_reads_any_text() -> None:
    texts = ["!", "早上好", "\u200b", "a", "a", "great phone"]
    student = QuickStudent(texts, ["unseen words"])
    assert student.vectors().shape[0] == 6
    assert np.isfinite(student.vectors()).all()
    pool, judged = student.fit([0], np.array([[0.25, 0.75]]))
    np.testing.assert_allclose(pool, np.tile([0.25, 0.75], (6, 1)), atol=1e-6)
    assert judged is not None
    assert judged.shape == (1, 2)
    assert QuickStudent(["!", "?"], []).vectors().shape == (2, 1)
    lone = QuickStudent(["one"], [])
    assert lone.vectors().shape == (1, 1)
    assert lone.fit([0], np.array([[0.5, 0.5]]))[1] is None
