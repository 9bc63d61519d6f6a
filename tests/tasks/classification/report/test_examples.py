import numpy as np
import pytest

from tutelage.report.reading import read_run
from tutelage.report.tables import score_lines
from tutelage.tasks.classification.report import WORDS
from tutelage.tasks.classification.report.examples import choose_examples, find_disagreements
from tutelage.tasks.classification.report.predictions import Predictions, confusions


def four_rows():
    teacher = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.95, 0.05]])
    student = np.array([[0.8, 0.2], [0.6, 0.4], [0.7, 0.3], [0.1, 0.9]])
    return Predictions(
        ["a", "b", "c", "d"],
        np.array([0, 1, 1, -1]),
        ["", "", "", ""],
        teacher,
        {"gru": student},
        {},
    )


def test_examples_are_chosen_by_the_rule():
    chosen = choose_examples(four_rows(), ["no", "yes"], each=1)
    assert [(example.text, example.why) for example in chosen] == [
        ("a", "agreeing"),
        ("b", "ambiguous"),
        ("d", "disagreeing"),
    ]
    assert [example.gold for example in chosen] == ["no", "yes", None]


def test_the_widest_disagreement_comes_first():
    found, count = find_disagreements(four_rows(), ["no", "yes"], cap=1)
    assert count == 2
    assert [row.text for row in found] == ["d"]
    assert found[0].answers[0].right is None
    second = find_disagreements(four_rows(), ["no", "yes"], cap=9)[0][1]
    assert (second.teacher_right, second.answers[0].right, second.answers[0].label) == (
        True,
        False,
        "no",
    )


def test_folded_labels_keep_gold_and_the_teachers_answer():
    generator = np.random.default_rng(0)
    teacher, student = generator.dirichlet(np.ones(20), size=(2, 30))
    predictions = Predictions(
        ["t"] * 30, generator.integers(0, 20, 30), [""] * 30, teacher, {"s": student}, {}
    )
    for example in choose_examples(predictions, [str(label) for label in range(20)]):
        assert example.gold in example.labels
        assert example.others == 17
        for _, _, bars in example.lines:
            assert sum(bar.share for bar in bars) == pytest.approx(1)
            assert sum(bar.top for bar in bars) == 1
        assert not example.lines[0][2][-1].top


def test_confusion_counts_rows_with_gold_only():
    against_gold = confusions(four_rows(), ["no", "yes"])[1]
    assert (against_gold.model, against_gold.against) == ("gru", "gold")
    assert against_gold.counts == [[1, 0], [2, 0]]


def test_each_student_stands_above_its_control(reviews):
    lines = score_lines(read_run(reviews, WORDS).evaluation, WORDS)
    assert [line.role for line in lines] == [
        "teacher",
        "student",
        "control",
        "student",
        "control",
        "baseline",
        "baseline",
    ]
    assert len({len(line.cells) for line in lines}) == 1
    speed = next(cell for cell in lines[1].cells if cell.measure.key == "latency_ms_p50")
    assert speed.ratio == "73× faster"
