import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.report import confusions, formats, rows, tables
from tutelage.report.measures import BY_KEY
from tutelage.report.reading import Predictions, read_run


def plain(text):
    return (
        text.replace(formats.THIN, " ").replace(formats.NO_BREAK, " ").replace(formats.MINUS, "-")
    )


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.percent(0.9612), "96.1 %"),
        (formats.times(1.44), "1.4"),
        (formats.times(143.3), "143"),
        (formats.times(12_345), "12,300"),
        (formats.magnitude(134_515_008), "135 M"),
        (formats.size_bytes(5_240_000), "5.24 MB"),
        (formats.milliseconds(0.4567), "0.457 ms"),
        (formats.milliseconds(1500), "1.50 s"),
        (formats.duration(200), "3 min 20 s"),
        (formats.duration(3725), "1 h 2 min"),
        (formats.change(-0.04, 1), "0.0"),
        (formats.change(4.12, 1), "+4.1"),
        (formats.bracket({"low": -0.0112, "high": 0.0344}, scale=100), "[-1.1, 3.4]"),
        (formats.bracket({"low": -0.0884, "high": -0.0001}, digits=3), "[-0.088, -0.0001]"),
        (formats.probability(0.00001), "< 0.001"),
        (formats.plural(1, "row"), "1 row"),
        (
            BY_KEY["latency_ms_p50"].interval({"value": 1.3, "low": 1.2, "high": 1.4}),
            "[1.20, 1.40]",
        ),
        (BY_KEY["parameters"].interval({"value": 7, "low": 7, "high": 7}), ""),
    ],
)
def test_numbers_as_people_read_them(shown, expected):
    assert plain(shown) == expected


@given(st.text(max_size=50), st.integers(1, 60))
def test_shortened_text_keeps_its_limit(text, limit):
    assert len(formats.shortened(text, limit)) <= limit
    if len(text) <= limit:
        assert formats.shortened(text, limit) == text


@pytest.mark.parametrize(
    ("low", "high", "up", "word"),
    [
        (0.1, 0.2, True, "better"),
        (0.1, 0.2, False, "worse"),
        (-0.2, -0.1, True, "worse"),
        (-0.2, -0.1, False, "better"),
        (-0.1, 0.2, True, "not settled"),
        (0.0, 0.2, True, "not settled"),
    ],
)
def test_what_an_interval_settles(low, high, up, word):
    assert tables.settled({"low": low, "high": high}, higher_is_better=up) == word


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
    chosen = rows.choose_examples(four_rows(), ["no", "yes"], each=1)
    assert [(example.text, example.why) for example in chosen] == [
        ("a", "agreeing"),
        ("b", "ambiguous"),
        ("d", "disagreeing"),
    ]
    assert [example.gold for example in chosen] == ["no", "yes", None]


def test_the_widest_disagreement_comes_first():
    found, count = rows.find_disagreements(four_rows(), ["no", "yes"], cap=1)
    assert count == 2
    assert [row.text for row in found] == ["d"]
    assert found[0].answers[0].right is None
    second = rows.find_disagreements(four_rows(), ["no", "yes"], cap=9)[0][1]
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
    for example in rows.choose_examples(predictions, [str(label) for label in range(20)]):
        assert example.gold in example.labels
        assert example.others == 17
        for _, _, bars in example.lines:
            assert sum(bar.share for bar in bars) == pytest.approx(1)
            assert sum(bar.top for bar in bars) == 1
        assert not example.lines[0][2][-1].top


def test_confusion_counts_rows_with_gold_only():
    against_gold = confusions.confusions(four_rows(), ["no", "yes"])[1]
    assert (against_gold.model, against_gold.against) == ("gru", "gold")
    assert against_gold.counts == [[1, 0], [2, 0]]


def test_each_student_stands_above_its_control(reviews):
    lines = tables.score_lines(read_run(reviews).evaluation)
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
