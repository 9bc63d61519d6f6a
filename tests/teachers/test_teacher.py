"""Teachers that are not models in memory stand where those do, for as much as they know."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.teachers.conftest import LABELS

from tutelage.teachers import ClassifierTeacher, PromptedTeacher, label
from tutelage.teachers.teacher import (
    ClassProbabilities,
    Cost,
    Deployable,
    LabelMass,
    OwnWeights,
    WordMemory,
    device_of,
)
from tutelage.types import Example


class Recorded:
    """Answers that somebody gave before: no weights, no label mass."""

    fingerprint = "recorded by hand"
    labels = LABELS

    def label(self, examples):
        return np.full((len(examples), 3), 1 / 3, dtype=np.float32)


def test_recorded_answers_label_a_data_set(tmp_path, examples):
    teacher: ClassProbabilities = Recorded()
    others = (Cost, Deployable, LabelMass, OwnWeights, WordMemory)
    assert not any(isinstance(teacher, other) for other in others)
    assert device_of(teacher) == torch.device("cpu")
    store = label(teacher, examples, out=tmp_path / "targets")
    assert store.manifest.teacher == "recorded by hand"
    ids = [example.example_id for example in examples]
    np.testing.assert_allclose(store.lookup(ids), 1 / 3)


@pytest.mark.parametrize("kind", ["prompted", "classifier"])
def test_what_is_asked_of_a_local_teacher(kind, language_model, backbone, labelled):
    teacher = (
        PromptedTeacher(language_model, LABELS)
        if kind == "prompted"
        else ClassifierTeacher.fit(backbone, LABELS, labelled, layers=[2], cross_fit=2)
    )
    assert isinstance(teacher, LabelMass) == (kind == "prompted")
    assert teacher.device == teacher.language_model.device
    assert 0 < teacher.parameters <= teacher.disk_bytes
    assert isinstance(teacher, Cost)
    assert isinstance(teacher, OwnWeights)
    assert isinstance(teacher, Deployable)
    assert isinstance(teacher, WordMemory) == (kind == "classifier")
    assert device_of(teacher) == teacher.device
    texts = [Example("a camera that works"), Example("it died")]
    deployed = teacher.for_new_texts()
    np.testing.assert_allclose(deployed.label(texts), teacher.label(texts), atol=1e-5)
