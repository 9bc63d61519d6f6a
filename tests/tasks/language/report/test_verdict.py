import dataclasses

import pytest
from tests.tasks.language.report.fake_run import write_fake_language_run

from tutelage.report.formats import MINUS, THIN
from tutelage.report.reading import read_run
from tutelage.tasks.language.report import WORDS
from tutelage.tasks.language.report.verdict import reach_verdict


def number(value, low=None, high=None):
    return {
        "value": value,
        "low": value if low is None else low,
        "high": value if high is None else high,
    }


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return read_run(
        write_fake_language_run(tmp_path_factory.mktemp("runs") / "run", training_steps=12),
        WORDS,
    )


def judged(records, against="", metric="", difference=None, **models):
    """The verdict, with one comparison of `pruned` or numbers of a model changed."""
    evaluation = dict(records.evaluation)
    evaluation["comparisons"] = [
        row | {"difference": difference}
        if (row["student"], row["against"], row["metric"]) == ("pruned", against, metric)
        else row
        for row in evaluation["comparisons"]
    ]
    evaluation["students"] = {
        name: model | models.get(name, {}) for name, model in evaluation["students"].items()
    }
    verdict = reach_verdict(dataclasses.replace(records, evaluation=evaluation))
    text = " ".join(verdict.students[0].sentences)
    return verdict, text.replace(THIN, " ").replace("\u00a0", " ").replace(MINUS, "-")


def test_the_good_case_reads_as_the_numbers_do(records):
    verdict, text = judged(
        records,
        "control",
        "nats_per_token",
        number(-0.1341, -0.155, -0.110),
        pruned={
            "top1_agreement": number(0.618, 0.59, 0.642),
            "acceptance": number(0.672, 0.668, 0.674),
        },
    )
    assert verdict.headline.replace(THIN, " ") == (
        "The student “pruned” agrees with the teacher on the next token 61.8 % of the time and "
        "writes 2.7 times faster."
    )
    assert "the teacher’s 61.8 % [59.0, 64.2] of the time" in text
    assert "67.2 % [66.8, 67.4] of its tokens would stand" in text
    assert (
        "It takes 1/2.1 of the parameters and 1/2.1 of the memory of its teacher, reads 2.7 times "
        "as fast" in text
    )
    assert (
        "the teacher bought 0.134 nats per token [0.110, 0.155]. The interval excludes zero."
        in text
    )
    assert verdict.deck[0].startswith("Trained on the text alone")
    assert (verdict.numbers[-1].value, verdict.numbers[-1].caption) == (
        "0.134",
        "nats per token bought by the teacher",
    )
    assert "less well, by" in text


def test_an_interval_with_zero_buys_nothing(records):
    verdict, text = judged(records, "control", "nats_per_token", number(-0.012, -0.03, 0.01))
    assert (
        "The difference, -0.012 nats per token [-0.030, 0.010], includes zero: 40 test documents "
        "do not" in text
    )
    assert "bought" not in text + " ".join(verdict.deck)
    assert verdict.numbers[-1].caption.endswith("not settled")


def test_a_better_control_stands_in_the_headline(records):
    verdict, text = judged(records, "control", "nats_per_token", number(0.05, 0.02, 0.08))
    assert verdict.headline.endswith("but trained on the text alone it predicts text better.")
    assert "distillation cost 0.050 nats per token [0.020, 0.080]" in text
    assert verdict.numbers[-1].value == "+0.050"


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (
            number(-0.1, -0.2, -0.05),
            "it predicts the text better, by 0.100 nats per token [0.050, 0.200]",
        ),
        (number(0.01, -0.02, 0.04), "cannot tell the two apart"),
    ],
)
def test_a_student_that_predicts_as_well_as_its_teacher(records, difference, said):
    assert said in judged(records, "teacher", "nats_per_token", difference)[1]


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (number(-0.1, -0.2, -0.05), "closer to the teacher’s than the control’s"),
        (number(0.1, 0.05, 0.2), "farther from the teacher’s than the control’s"),
        (number(0.01, -0.02, 0.04), "is not settled"),
    ],
)
def test_closeness_says_what_its_interval_says(records, difference, said):
    assert said in judged(records, "control", "kl", difference)[1]


def test_the_closest_student_stands_in_the_headline(records):
    assert "“gru”" in judged(records, gru={"kl": number(0.01)})[0].headline


def test_one_text_alone_settles_nothing(records):
    evaluation = dict(records.evaluation, comparisons=[])
    verdict = reach_verdict(dataclasses.replace(records, evaluation=evaluation))
    assert "One test text alone does not say whether another would show the same" in verdict.deck[0]
    assert "excludes zero" not in str(verdict)


def test_distances_over_other_tokens_are_not_compared(records):
    """KL of a student with a part of the tokens is over that part; the overlap is over all tokens
    for everybody."""
    trimmed = {"kl": number(0.1), "acceptance": number(0.4), "kept_mass": number(0.7)}
    verdict, _ = judged(records, pruned={"kl": number(0.5), "acceptance": number(0.6)}, gru=trimmed)
    assert "“pruned”" in verdict.headline
    verdict, _ = judged(records, pruned={"acceptance": number(0.39)}, gru=trimmed)
    assert "“gru”" in verdict.headline


def test_a_slower_and_larger_student_is_said_to_be_so(records):
    slow = {
        "parameters": number(269e6),
        "memory_bytes": number(1.3e9),
        "tokens_per_second": number(10.65),
    }
    verdict, text = judged(records, pruned=slow)
    assert verdict.headline.endswith("but writes 2.0 times slower.")
    assert "It takes 2.0 times the parameters and 2.1 times the memory of its teacher" in text


def test_cautions(tmp_path):
    run = write_fake_language_run(
        tmp_path / "run",
        documents=12,
        teacher_nats=3.0,
        bought=-0.4,
        student_gap=0.3,
        training_steps=12,
    )
    records = read_run(run, WORDS)
    records.evaluation["teacher"]["ece"] = number(0.2)
    for student in records.evaluation["students"].values():
        student["top1_agreement"] = number(0.4)
    text = " ".join(reach_verdict(records).cautions).replace(THIN, " ")
    assert "Only 12 test documents" in text
    assert (
        "The teacher itself predicts these texts less well than “pruned” trained on the text alone"
        in text
    )
    assert "No student shares the teacher’s first choice on even half" in text
    assert "read at most 58.3 k tokens, fewer than one for each parameter" in text
    assert "calibration error above 0.10): the teacher." in text


def test_a_sound_run_has_no_caution(records):
    sound = dataclasses.replace(
        records, evaluation=records.evaluation | {"training": {}}, student_curves={}
    )
    assert reach_verdict(sound).cautions == []
