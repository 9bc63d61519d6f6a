"""A teacher's weights are in memory for those who need them, and gone while students train."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
from tests.teachers.conftest import LABELS, backbone, labelled, make_model, tokenizer

from tutelage.runs.stages import Deferred
from tutelage.students import RNN
from tutelage.tasks.classification import distilling
from tutelage.tasks.classification.training import _language_model
from tutelage.teachers import ClassifierTeacher
from tutelage.teachers.classifier.reading import TextReadings

__all__ = ["backbone", "labelled", "make_model", "tokenizer"]  # fixtures


class Stopped(Exception):
    """Training would begin."""


@pytest.mark.parametrize("remembers", [False, True])
def test_nobody_holds_the_teacher_when_training_begins(
    make_model, labelled, tmp_path, monkeypatch, remembers
):
    from transformers import LlamaModel

    torch.set_num_threads(1)
    loaded: list[weakref.ref] = []

    def load():
        readings = TextReadings(tmp_path / "readings") if remembers else None
        model = make_model(LlamaModel)
        loaded.append(weakref.ref(model.model))
        return ClassifierTeacher.fit(model, LABELS, labelled, layers=[1], readings=readings)

    def train(*_args, **_options):
        gc.collect()
        assert [found() for found in loaded] == [None]
        raise Stopped

    monkeypatch.setattr(distilling, "train_classifier", train)
    teacher = Deferred(load)
    student = RNN(labels=LABELS, hidden_size=4, embedding_size=8, embeddings="teacher_contextual")
    assert teacher.get().language_model.model is not None
    with pytest.raises(Stopped):
        distilling.distill(
            student, labelled, None, language_model=_language_model(teacher), out=tmp_path / "one"
        )


def test_what_is_released_is_made_again_when_it_is_asked_for():
    made = []

    def make():
        made.append(SimpleNamespace())
        return made[-1]

    value = Deferred(make)
    assert value.get() is value.get() is made[0]
    value.release()
    assert value.get() is made[1]
    assert len(made) == 2
