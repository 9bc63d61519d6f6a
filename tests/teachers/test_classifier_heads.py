"""Classifier teachers that are a head on frozen features: fitting, held-out answers, calibration,
folds, saving."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.teachers.conftest import LABELS

from tutelage.errors import ModelError, ShapeMismatch
from tutelage.models import LanguageModel
from tutelage.teachers import ClassifierTeacher, extract_features
from tutelage.teachers.classifier.fitting import labelled_rows
from tutelage.teachers.classifier.head import assign_folds, fit_heads, linear_logprobs
from tutelage.types import Example


def test_a_head_learns_and_sums_to_one(backbone, labelled):
    teacher = ClassifierTeacher.fit(
        backbone, LABELS, [*labelled, Example("unlabelled")], layers=[0], pooling=["mean"]
    )
    fresh = [
        Example("it bad and terrible"),
        Example("the great good 7"),
        Example("monday box days"),
    ]
    probs = teacher.label(fresh)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert probs.argmax(1).tolist() == [0, 2, 1]
    assert teacher.fitted.held_out_logprobs is not None
    assert teacher.fitted.held_out_logprobs.shape == (45, 3)
    assert teacher.description.regularisation > 0


def test_rows_it_was_fitted_on_are_answered_by_heads_that_did_not_see_them(backbone, labelled):
    wrong = [
        Example("good great it the and days good great", 0),
        *labelled,
    ]  # one wrong label among right ones
    teacher = ClassifierTeacher.fit(
        backbone, LABELS, wrong, layers=[2], regularisation=1e-3, cross_fit=5, calibrate=False
    )
    features = extract_features(backbone, [wrong[0].text], layers=[2])
    fold = teacher.fitted.fold_of[wrong[0].example_id]
    assert teacher.fitted.weight is not None
    assert teacher.fitted.bias is not None
    assert teacher.fitted.weight.shape[0] == 6

    def answer(head: int) -> np.ndarray:
        return np.exp(
            linear_logprobs(
                features, teacher.fitted.weight, teacher.fitted.bias, heads=np.array([head])
            )
        )

    np.testing.assert_allclose(teacher.label([wrong[0]]), answer(fold + 1), atol=1e-5)
    assert answer(0)[0].argmax() == 0  # the head that saw it repeats the wrong label
    assert teacher.label([wrong[0]])[0].argmax() == 2
    copy = Example(wrong[0].text, None, source="elsewhere.csv", row=9)
    np.testing.assert_array_equal(teacher.label([copy]), teacher.label([wrong[0]]))
    without = ClassifierTeacher.fit(
        backbone, LABELS, wrong, layers=[2], regularisation=1e-3, cross_fit=0, calibrate=False
    )
    np.testing.assert_allclose(without.label([wrong[0]]), answer(0), atol=1e-3)


def test_order_and_company_change_nothing(backbone, labelled):
    teacher = ClassifierTeacher.fit(backbone, LABELS, labelled, layers=[1])
    rows = [*labelled[:7], Example("something else")]
    together = teacher.label(rows)
    alone = np.concatenate([teacher.label([row]) for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_head_saved_and_loaded_is_the_same(backbone, labelled, tmp_path):
    teacher = ClassifierTeacher.fit(
        backbone, LABELS, labelled, layers=[1, 2], template="Review: {text}"
    )
    teacher.save(tmp_path / "teacher")
    names = {path.name for path in (tmp_path / "teacher").iterdir()}
    assert names == {"teacher.json", "head.safetensors"}
    loaded = ClassifierTeacher.load(tmp_path / "teacher", language_model=backbone)
    rows = [*labelled[:4], Example("something else")]
    np.testing.assert_array_equal(loaded.label(rows), teacher.label(rows))
    assert loaded.fingerprint == teacher.fingerprint
    assert loaded.labels == LABELS
    other = LanguageModel(backbone.model, backbone.tokenizer, "other", "other-print", torch.float32)
    with pytest.raises(
        ModelError,
        match="was fitted on tiny with fingerprint tiny-fingerprint, but other has other-print",
    ):
        ClassifierTeacher.load(tmp_path / "teacher", language_model=other)
    with pytest.raises(ModelError, match=r"holds no teacher\.json"):
        ClassifierTeacher.load(tmp_path)
    description = json.loads((tmp_path / "teacher" / "teacher.json").read_text())
    (tmp_path / "teacher" / "teacher.json").write_text(json.dumps({**description, "format": 99}))
    with pytest.raises(ModelError, match="another kind or version"):
        ClassifierTeacher.load(tmp_path / "teacher", language_model=backbone)


def test_fingerprints_follow_the_fit(backbone, labelled):
    def fit(**changes):
        settings = {"layers": [1], "regularisation": 10.0, **changes}
        return ClassifierTeacher.fit(backbone, LABELS, labelled, **settings).fingerprint

    assert fit() == fit()
    assert (
        len(
            {
                fit(),
                fit(layers=[2]),
                fit(regularisation=11.0),
                fit(template="{text} !"),
                fit(cross_fit=0),
                fit(seed=1),
            }
        )
        == 6
    )


def test_calibration_softens_an_overconfident_head():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 60)).astype(np.float32)
    gold = rng.integers(0, 3, 120)  # nothing to learn, so certainty is unfounded
    options = {"num_classes": 3, "groups": list(range(120)), "regularisation": 1e-2}
    raw = fit_heads(features, gold, calibrate=False, **options)
    calibrated = fit_heads(features, gold, calibrate=True, **options)
    assert raw.temperature == 1.0
    assert calibrated.temperature > 3

    def nll(heads):
        return -heads.held_out_logprobs[np.arange(120), gold].mean()

    assert nll(calibrated) < nll(raw) / 2
    assert nll(calibrated) == pytest.approx(np.log(3), abs=0.05)


def test_regularisation_is_chosen_by_held_out_likelihood():
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 2, 200)
    noise = rng.normal(size=(200, 40)).astype(np.float32)
    clear = noise + 4 * gold[:, None].astype(np.float32) * (np.arange(40) < 2)
    common = {"num_classes": 2, "groups": list(range(200)), "calibrate": False}
    assert (
        fit_heads(noise, gold, **common).regularisation
        > fit_heads(clear, gold, **common).regularisation
    )


def test_two_classes_match_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    features = (rng.normal(size=(80, 5)) * [1, 10, 100, 1, 1] + 50).astype(np.float32)
    gold = (features[:, 0] + rng.normal(size=80) > 50).astype(np.int64)
    heads = fit_heads(
        features,
        gold,
        num_classes=2,
        groups=range(80),
        folds=0,
        regularisation=2.0,
        calibrate=False,
    )
    standard = (features - features.mean(0)) / features.std(0)
    expected = LogisticRegression(C=0.5).fit(standard, gold).predict_proba(standard)
    got = np.exp(linear_logprobs(features, heads.weight, heads.bias, heads=np.zeros(80, np.int64)))
    np.testing.assert_allclose(got, expected, atol=2e-3)
    with pytest.raises(ShapeMismatch, match="features of width 4 given; the head was fitted on 5"):
        linear_logprobs(features[:, :4], heads.weight, heads.bias, heads=np.zeros(80, np.int64))


def test_folds_keep_groups_and_equal_texts_together():
    rows = [Example(f"text {index % 20}", index % 2) for index in range(60)]
    groups = [index // 3 for index in range(60)]
    labelled = labelled_rows(rows, groups, template="{text}")
    folds = assign_folds(labelled.gold, [index // 2 for index in range(60)], 5, seed=0)
    for number in range(30):
        assert len(set(folds[2 * number : 2 * number + 2])) == 1
    by_text: dict[str, set[int]] = {}
    for row, group in zip(rows, labelled.groups, strict=True):
        by_text.setdefault(row.text, set()).add(group)
    assert all(len(found) == 1 for found in by_text.values())
    for number in set(groups):
        assert len({labelled.groups[i] for i in range(60) if groups[i] == number}) == 1
    assert len(set(labelled_rows(rows, None, template="{text}").groups)) == 20


def test_rows_that_cannot_be_fitted_are_refused(backbone, labelled):
    with pytest.raises(ModelError, match="class 2 has no labelled row"):
        ClassifierTeacher.fit(
            backbone, LABELS, [row for row in labelled if row.label != 2], layers=[1]
        )
    with pytest.raises(ModelError, match="no labelled rows were given"):
        ClassifierTeacher.fit(backbone, LABELS, [Example("x")], layers=[1])
    few = [row for row in labelled if row.label != 2] + [labelled[2]]
    with pytest.raises(ModelError, match="class 2 has labelled rows in one group only"):
        ClassifierTeacher.fit(backbone, LABELS, few, layers=[1])
    with pytest.raises(ModelError, match=r"template 'x' given; expected exactly one \{text\}"):
        ClassifierTeacher.fit(backbone, LABELS, labelled, template="x")
    with pytest.raises(ModelError, match="expected a sequence-classification head with 3"):
        ClassifierTeacher.fit(backbone, LABELS, labelled, method="lora")
    teacher = ClassifierTeacher.fit(
        backbone, LABELS, [*few, Example("good and new", 2)], layers=[1]
    )
    assert teacher.description.folds == 2  # as many as the rarest class allows
