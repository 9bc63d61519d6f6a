import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import metrics
from tutelage.errors import ShapeMismatch
from tutelage.evaluate.classes import comparison as classification

LABELS = ("no", "maybe", "yes")


def some_probs(seed, rows=80, classes=3):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=rows)


def some_gold(rows=80, classes=3):
    return np.random.default_rng(99).integers(0, classes, rows)


def row_of(result, **wanted):
    rows = [
        row
        for row in result["comparisons"]
        if all(row.get(key) == value for key, value in wanted.items())
    ]
    assert len(rows) == 1
    return rows[0]


def test_values_are_those_of_metrics_and_the_whole_is_json():
    gold, teacher, student = some_gold(), some_probs(1), some_probs(2)
    result = classification.compare(
        gold, LABELS, teacher=teacher, students={"gru": student}, bootstrap_samples=50
    )
    found = json.loads(json.dumps(result))["students"]["gru"]
    assert found["accuracy"]["value"] == pytest.approx(metrics.accuracy(student, gold))
    assert found["macro_f1"]["value"] == pytest.approx(metrics.macro_f1(student, gold))
    assert found["nll"]["value"] == pytest.approx(metrics.nll(student, gold))
    assert found["brier"]["value"] == pytest.approx(metrics.brier(student, gold))
    assert found["ece"]["value"] == pytest.approx(metrics.ece(student, gold))
    assert found["kl"]["value"] == pytest.approx(metrics.kl(teacher, student))
    assert found["agreement"]["value"] == pytest.approx(metrics.agreement(teacher, student))
    assert not {"kl", "agreement"} & set(result["teacher"])
    assert result["rows"] == result["labelled_rows"] == 80


def test_a_student_equal_to_its_teacher_differs_by_exactly_nothing():
    teacher = some_probs(1)
    result = classification.compare(
        some_gold(), LABELS, teacher=teacher, students={"twin": teacher}, bootstrap_samples=50
    )
    for row in result["comparisons"]:
        assert row["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    kept = row_of(result, against="teacher", metric="accuracy")
    assert kept["ratio"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert kept["mcnemar_p"] == 1.0
    assert result["students"]["twin"]["kl"]["value"] == pytest.approx(0.0, abs=1e-12)
    agrees = result["students"]["twin"]["agreement"]
    assert (agrees["value"], agrees["high"]) == (1.0, 1.0)
    assert agrees["low"] == pytest.approx(0.025 ** (1 / 80))


def test_a_better_student_is_settled_better_than_its_control():
    gold = some_gold()
    right, wrong = 0.05 + 0.85 * np.eye(3)[gold], 0.05 + 0.85 * np.eye(3)[(gold + 1) % 3]
    mixed = np.where((np.arange(80) % 4 == 0)[:, None], wrong, right)
    result = classification.compare(
        gold,
        LABELS,
        teacher=right,
        students={"gru": right},
        controls={"gru": mixed},
        baselines={"m": mixed},
        bootstrap_samples=200,
    )
    row = row_of(result, against="control", metric="accuracy")
    assert row["difference"]["value"] == pytest.approx(0.25)
    assert row["difference"]["low"] > 0
    assert row["mcnemar_p"] < 0.001
    assert (row["only_student_correct"], row["only_other_correct"]) == (20, 0)
    assert row_of(result, against="control", metric="nll")["difference"]["high"] < 0
    assert row_of(result, against="baseline", baseline="m")["difference"]["low"] > 0
    assert result["teacher_against_baselines"][0]["difference"]["value"] == pytest.approx(0.25)


def test_rows_without_gold_count_only_for_fidelity():
    gold = [None if row % 2 else int(label) for row, label in enumerate(some_gold())]
    teacher, student = some_probs(1), some_probs(2)
    result = classification.compare(
        gold, LABELS, teacher=teacher, students={"gru": student}, bootstrap_samples=20
    )
    assert (result["rows"], result["labelled_rows"]) == (80, 40)
    assert result["students"]["gru"]["accuracy"]["value"] == pytest.approx(
        metrics.accuracy(student[::2], some_gold()[::2])
    )
    assert result["students"]["gru"]["kl"]["value"] == pytest.approx(metrics.kl(teacher, student))


def test_without_any_gold_only_fidelity_remains():
    result = classification.compare(
        [None] * 80,
        LABELS,
        teacher=some_probs(1),
        students={"gru": some_probs(2)},
        bootstrap_samples=20,
    )
    assert result["teacher"] == {}
    assert set(result["students"]["gru"]) == {"agreement", "kl"}
    assert result["comparisons"] == []


def test_refusals_say_what_to_do():
    good = some_probs(1)
    with pytest.raises(ShapeMismatch, match=r"students.gru gave probabilities of shape \(79, 3\)"):
        classification.compare(some_gold(), LABELS, teacher=good, students={"gru": good[1:]})
    with pytest.raises(ValueError, match=r"row 1 sums to 2 .* give probabilities, not logits"):
        classification.compare(some_gold(), LABELS, teacher=good, students={"gru": good * 2})
    with pytest.raises(ValueError, match="gold label 3 was given but there are 3 labels"):
        classification.compare(np.full(80, 3), LABELS, teacher=good, students={})
    with pytest.raises(ValueError, match="no test rows"):
        classification.compare([], LABELS, teacher=good[:0], students={})


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 40))
def test_every_interval_holds_its_value(seed, classes, rows):
    generator = np.random.default_rng(seed)
    teacher, student = generator.dirichlet(np.ones(classes), size=(2, rows))
    result = classification.compare(
        generator.integers(0, classes, rows),
        [str(label) for label in range(classes)],
        teacher=teacher,
        students={"s": student},
        bootstrap_samples=400,
    )
    for key in ("accuracy", "nll", "brier", "ece", "agreement", "kl"):
        interval = result["students"]["s"][key]
        assert 0 <= interval["low"] <= interval["value"] + 1e-9
        assert interval["value"] <= interval["high"] + 1e-9
