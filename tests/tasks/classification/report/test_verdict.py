import copy

import pytest

from tutelage.report.formats import THIN
from tutelage.tasks.classification.report.verdict import reach_verdict


def number(value, low=None, high=None):
    return {
        "value": value,
        "low": value if low is None else low,
        "high": value if high is None else high,
    }


def evaluation():
    """A good student, by the numbers."""
    student = {
        "accuracy": number(0.731, 0.70, 0.76),
        "agreement": number(0.88, 0.86, 0.90),
        "ece": number(0.03),
        "nll": number(0.6),
    }
    student |= {"parameters": number(960_000), "latency_ms_p50": number(0.46)}
    return {
        "labels": ["no", "yes"],
        "rows": 740,
        "labelled_rows": 740,
        "teacher": {
            "accuracy": number(0.761),
            "ece": number(0.02),
            "parameters": number(134.5e6),
            "latency_ms_p50": number(96.6),
        },
        "students": {"gru": student},
        "controls": {"gru": {"accuracy": number(0.655), "ece": number(0.1), "nll": number(0.8)}},
        "baselines": {
            "majority": {"accuracy": number(0.41)},
            "tfidf_logistic_regression": {"accuracy": number(0.61)},
        },
        "comparisons": [
            {
                "student": "gru",
                "against": "teacher",
                "metric": "accuracy",
                "difference": number(-0.03, -0.05, -0.005),
                "ratio": number(0.961, 0.930, 0.992),
            },
            {
                "student": "gru",
                "against": "control",
                "metric": "accuracy",
                "difference": number(0.076, 0.05, 0.1),
            },
            {
                "student": "gru",
                "against": "control",
                "metric": "nll",
                "difference": number(-0.2, -0.3, -0.1),
            },
            {
                "student": "gru",
                "against": "baseline",
                "baseline": "tfidf_logistic_regression",
                "metric": "accuracy",
                "difference": number(0.12, 0.08, 0.16),
            },
        ],
        "teacher_against_baselines": [
            {
                "baseline": "tfidf_logistic_regression",
                "metric": "accuracy",
                "difference": number(0.15, 0.1, 0.2),
            }
        ],
    }


def changed(against, metric, difference, **more):
    found = copy.deepcopy(evaluation())
    for row in found["comparisons"]:
        if (row["against"], row["metric"]) == (against, metric):
            row |= {"difference": difference, **more}
    return found


def words(found):
    verdict = reach_verdict(found)
    return verdict, " ".join(verdict.students[0].sentences).replace(THIN, " ").replace(
        "\u00a0", " "
    )


def test_the_good_case_reads_as_the_numbers_do():
    verdict, text = words(evaluation())
    assert (
        verdict.headline.replace(THIN, " ")
        == "The student “gru” keeps 96.1 % of the teacher’s accuracy and answers 210 times faster."
    )
    assert (
        "Keeps 96.1 % of the teacher’s accuracy [93.0, 99.2] (73.1 % against 76.1 %) "
        "at 1/140 of its parameters, and answers 210 times faster." in text
    )
    assert "It is less accurate than its teacher, by 3.0 points [0.5, 5.0]." in text
    assert (
        "On labels alone the same network reaches 65.5 %: the teacher bought 7.6 points [5.0, "
        "10.0]." in text
    )
    assert "negative log-likelihood lower by 0.200 nats" in text
    assert verdict.cautions == []


def test_an_interval_with_zero_buys_nothing():
    verdict, text = words(changed("control", "accuracy", number(0.012, -0.011, 0.034)))
    assert "includes zero: these rows do not show that the teacher helped accuracy" in text
    assert "bought" not in text + " ".join(verdict.deck)
    assert verdict.numbers[-1].caption.endswith("not settled")


def test_a_better_control_stands_in_the_headline():
    verdict, text = words(changed("control", "accuracy", number(-0.021, -0.04, -0.002)))
    assert verdict.headline.endswith("but trained on labels alone it does better.")
    assert "distillation cost 2.1 points [0.2, 4.0]" in text


def test_a_better_baseline_stands_in_the_headline():
    verdict, text = words(changed("baseline", "accuracy", number(-0.05, -0.08, -0.02)))
    assert verdict.headline.endswith(
        "but TF-IDF with logistic regression, which needs no teacher, does better."
    )
    assert "is better than this student, by 5.0 points [2.0, 8.0]" in text


def test_no_clear_lead_over_the_baseline_stands_in_the_deck():
    verdict, _ = words(changed("baseline", "accuracy", number(0.01, -0.02, 0.04)))
    assert any("not clearly better than TF-IDF" in sentence for sentence in verdict.deck)


@pytest.mark.parametrize(
    ("ratio", "difference", "said"),
    [
        (
            number(1.02, 1.005, 1.04),
            number(0.015, 0.004, 0.03),
            "It is more accurate than its teacher, by 1.5 points",
        ),
        (number(1.01, 0.98, 1.04), number(0.008, -0.01, 0.03), "cannot tell the two apart"),
    ],
)
def test_a_student_at_least_as_good_reaches_rather_than_keeps(ratio, difference, said):
    verdict, text = words(changed("teacher", "accuracy", difference, ratio=ratio))
    assert "reaches 10" in verdict.headline
    assert said in text
    assert "less accurate" not in text


def test_a_slower_and_larger_student_is_said_to_be_so():
    found = evaluation()
    found["students"]["gru"] |= {"parameters": number(269e6), "latency_ms_p50": number(193.2)}
    verdict, text = words(found)
    assert verdict.headline.endswith("but answers 2.0 times slower.")
    assert "at 2.0 times its parameters" in text


def test_cautions():
    found = evaluation() | {"labelled_rows": 120}
    found["baselines"]["majority"] = {"accuracy": number(0.70)}
    found["teacher_against_baselines"][0]["difference"] = number(0.01, -0.02, 0.04)
    found["students"]["gru"]["ece"] = number(0.2)
    text = " ".join(reach_verdict(found).cautions)
    assert "Only 120 test rows" in text
    assert "the share kept says little" in text
    assert "The teacher itself is not clearly better than TF-IDF" in text
    assert "calibration error above 0.10): gru." in text


def test_without_a_control_the_report_says_what_it_cannot_say():
    found = evaluation() | {"controls": {}}
    found["comparisons"] = [row for row in found["comparisons"] if row["against"] != "control"]
    assert "nothing here says what the teacher bought" in words(found)[1]
