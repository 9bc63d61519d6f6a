import pytest
from tests.tasks.language.report.fake_run import write_fake_language_run

from tutelage.report.reading import read_run
from tutelage.tasks.language.report import WORDS, examples


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    return read_run(write_fake_language_run(run, training_steps=12), WORDS)


def test_probabilities_of_a_position_sum_to_one_and_one_token_is_marked(records):
    positions = examples.find_positions(records.evaluation)
    assert [sum(stands for _, stands in position.tokens) for position in positions] == [1, 1, 1]
    assert [token for token, _ in positions[0].tokens] == ["ever", "␣seen", "␣", "↵", "seen"]
    for position in positions:
        assert [voice.role for voice, _ in position.lines] == [
            "teacher",
            "student",
            "control",
            "student",
            "control",
        ]
        for _, shares in position.lines:
            assert sum(shares) == pytest.approx(1)


def test_the_farthest_documents_come_first(records):
    found = examples.farthest_documents(records.predictions, cap=5)
    gaps = [max(float(one.kl) for one in document.distances) for document in found]
    assert len(gaps) == 5
    assert gaps == sorted(gaps, reverse=True)
    everyone = [kl.max() for kl in records.predictions.student_kl.values()]
    assert gaps[0] == pytest.approx(max(everyone), abs=5e-4)
