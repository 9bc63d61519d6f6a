from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from tutelage.errors import TargetsMismatch
from tutelage.targets import TargetStore, TargetWriter, verify
from tutelage.teachers import PromptedTeacher, label
from tutelage.teachers import label as label_function
from tutelage.teachers.sharing import WORKERS
from tutelage.types import Example


class CountingTeacher:
    labels = ("a", "b")
    fingerprint = "counting"

    def __init__(self, fails_after: int = 10**9) -> None:
        self.asked: list[str] = []
        self.fails_after = fails_after

    def label(self, examples):
        if len(self.asked) + len(examples) > self.fails_after:
            raise KeyboardInterrupt
        self.asked += [example.text for example in examples]
        share = np.array([len(example.text) % 10 / 10 for example in examples], dtype=np.float32)
        return np.stack([share, 1 - share], axis=1)


class Watching:
    def __init__(self) -> None:
        self.total, self.done, self.said = 0, 0, []

    @contextmanager
    def bar(self, title, *, total, unit):
        self.total = total

        def advance(count):
            self.done += count

        yield advance

    def say(self, message):
        self.said.append(message)


def test_each_text_is_asked_once_longest_first(tmp_path):
    examples = [Example("x" * (1 + index % 7)) for index in range(30)]
    teacher, watching = CountingTeacher(), Watching()
    store = label(teacher, examples, out=tmp_path / "targets", progress=watching)
    assert teacher.asked == ["x" * length for length in range(7, 0, -1)]
    assert (watching.total, watching.done) == (7, 7)
    found = store.lookup([example.example_id for example in examples])
    np.testing.assert_allclose(
        found[:, 0], [len(example.text) % 10 / 10 for example in examples], atol=1e-6
    )


def test_a_second_call_asks_only_about_what_is_missing(tmp_path):
    examples = [Example(f"text {index}") for index in range(20)]
    label(CountingTeacher(), examples[:12], out=tmp_path / "targets")
    teacher = CountingTeacher()
    store = label(teacher, examples, out=tmp_path / "targets")
    assert sorted(teacher.asked) == sorted(example.text for example in examples[12:])
    assert len(store) == 20


def test_an_interrupted_call_goes_on_where_it_was(tmp_path, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules[label_function.__module__], "_ROWS_AT_ONCE", 4)
    examples = [Example(f"text {index:02}") for index in range(20)]
    broken = CountingTeacher(fails_after=9)
    with pytest.raises(KeyboardInterrupt):
        label(broken, examples, out=tmp_path / "targets")
    assert len(broken.asked) == 8
    teacher = CountingTeacher()
    assert len(label(teacher, examples, out=tmp_path / "targets")) == 20
    assert len(set(teacher.asked)) == len(teacher.asked)


def test_batches_after_a_kill_are_those_of_a_whole_call(tmp_path, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules[label_function.__module__], "_ROWS_AT_ONCE", 4)
    examples = [Example(f"text {index:02}") for index in range(22)]
    label(CountingTeacher(), examples[:2], out=tmp_path / "killed")  # complete, then it grows
    whole = CountingTeacher()
    label(whole, examples[2:], out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        label(CountingTeacher(fails_after=9), examples, out=tmp_path / "killed")
    kept = [TargetStore.open(tmp_path / "killed", allow_incomplete=True).ids, whole.asked]
    again = CountingTeacher()
    label(again, examples[::-1], out=tmp_path / "killed")
    assert len(kept[0]) == 2 + 8
    assert again.asked == kept[1][8:]
    assert not (tmp_path / "killed" / WORKERS).exists()


def test_a_batch_of_which_a_row_is_missing_is_asked_whole(tmp_path, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules[label_function.__module__], "_ROWS_AT_ONCE", 4)
    examples = [Example(f"text {index:02}") for index in range(12)]
    whole = CountingTeacher()
    store = label(whole, examples, out=tmp_path / "whole")
    by_text = {example.text: example.example_id for example in examples}
    done = [by_text[text] for text in whole.asked[:5]]
    identity = {"kind": "class_probabilities", "teacher": "counting", "labels": ("a", "b")}
    with TargetWriter.open(tmp_path / "part" / WORKERS / "007", **identity) as writer:
        writer.add(done, store.lookup(done))
    again = CountingTeacher()
    found = label(again, examples, out=tmp_path / "part")
    assert again.asked == whole.asked[4:]
    np.testing.assert_array_equal(found.lookup(found.ids), store.lookup(store.ids))
    assert verify(tmp_path / "part") == []


def test_another_teacher_is_refused(tmp_path):
    label(CountingTeacher(), [Example("x")], out=tmp_path / "targets")
    other = CountingTeacher()
    other.fingerprint = "other"
    with pytest.raises(TargetsMismatch):
        label(other, [Example("y")], out=tmp_path / "targets")


def test_a_prompted_teacher_tells_its_label_mass(language_model, shots, examples, tmp_path):
    watching = Watching()
    teacher = PromptedTeacher(language_model, ("negative", "neutral", "positive"), shots=shots)
    store = label(teacher, examples, out=tmp_path / "targets", progress=watching)
    np.testing.assert_allclose(
        store.lookup([e.example_id for e in examples]), teacher.label(examples), atol=1e-6
    )
    assert "of its probability on the labels (6 texts); that is little" in watching.said[0]
