"""`tutelage certify` on a run: what it writes, on which rows, what it refuses, and the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.journeys.tiny_job import LABELS, sentences, write_csv

import tutelage_runtime.session
from tutelage.cli.main import main
from tutelage.recipes.certifying import certify_run
from tutelage.students import load_classifier
from tutelage_runtime import Answers, Question
from tutelage_runtime.certificate import read_certificate


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run, and beside it rows that nobody has seen."""
    folder = tmp_path_factory.mktemp("certified")
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    write_csv(folder / "more.csv", sentences(120, seed=5))
    return folder / "runs/tiny"


def certify(*words: object) -> None:
    assert main(["certify", *map(str, words)]) == 0


def test_the_test_rows_certify_and_are_spent(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certify(run, "--disagreement", 0.3, "--price-per-million", 400)
    told = capsys.readouterr()
    assert "so they are spent" in told.err
    assert "it disagrees with the teacher on at most 30 % of all requests" in told.out
    path = run / "certificates/gru/certificate.json"
    certificate = read_certificate(path, labels=LABELS)
    values = certificate.values
    assert (values["rows"], values["rows_from"], values["novelty"]) == (50, "test", None)
    assert values["saved_per_million"] == pytest.approx(400 * 0.98 * values["coverage"])
    assert certificate.audit["contract"] == 0.3
    texts = [text for text, _ in sentences(200, seed=0)[150:]]
    sure = certificate.sure(load_classifier(run / "students/gru").probs(texts))
    assert sure.mean() == pytest.approx(certificate.coverage)
    assert certificate.bound <= 0.3

    assert main(["verify", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text("utf-8")
    assert "What a student could answer alone" in page
    assert "of 400.00 for a million requests" in page


def test_other_rows_certify_without_those_that_were_learned_from(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = sentences(200, seed=0)
    rows = tmp_path / "rows.csv"
    write_csv(rows, [*known[:60], *known[125:130], *sentences(120, seed=5)])
    certify(
        *(run, "--disagreement", 0.6, "--over", "answered", "--against", "labels"),
        *("--rows", rows, "--out", tmp_path / "made", "--student", "gru"),
    )
    told = capsys.readouterr()
    assert "65 of 185 rows are left out" in told.err
    assert "spent" not in told.err
    certificate = read_certificate(tmp_path / "made")
    assert (certificate.rows, certificate.against, certificate.over) == (120, "labels", "answered")


def test_every_class_may_have_its_own_threshold(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certify(
        *(run, "--disagreement", 0.4, "--per-class", "--against", "labels", "--json"),
        *("--rows", run.parents[1] / "more.csv", "--out", tmp_path / "made"),
    )
    values = json.loads(capsys.readouterr().out)
    assert list(values["thresholds"]) == list(LABELS)
    assert values["file"] == str(tmp_path / "made/certificate.json")


def test_too_few_rows_are_refused_and_what_is_wrong_is_said(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        (["--disagreement", "0.02"], "50 rows cannot show that at most 0.02 are disagreed on"),
        (["--disagreement", "0.3", "--student", "lstm"], "no student 'lstm'; it has gru"),
        (["--disagreement", "0.3", "--rows", "nowhere.csv"], "nowhere.csv: there is no such file"),
    ):
        assert main(["certify", str(run), *words]) == 2
        assert message in capsys.readouterr().err
    for words in (
        ["--disagreement", "2"],
        [],
        ["--disagreement", "0.1", "--price-per-million", "x"],
    ):
        with pytest.raises(SystemExit):
            main(["certify", str(run), *words])


def test_nothing_is_written_where_no_share_can_be_certified(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {label: LABELS[place - 1] for place, label in enumerate(LABELS)}
    write_csv(
        tmp_path / "wrong.csv", [(text, labels[label]) for text, label in sentences(90, seed=6)]
    )
    words = ["--disagreement", "0.04", "--against", "labels", "--over", "answered"]
    words += ["--rows", str(tmp_path / "wrong.csv"), "--out", str(tmp_path / "made")]
    assert main(["certify", str(run), *words]) == 1
    assert "may answer nothing alone" in capsys.readouterr().out
    assert not (tmp_path / "made").exists()


@dataclass
class Exported:
    """What stands in for an exported student: its probabilities, and as features the counts of
    letters."""

    classifier: Any
    version: str = "00112233aabbccdd"
    bundle: Any = field(default_factory=lambda: SimpleNamespace(name="gru"))
    question: Question = field(default_factory=lambda: Question(tuple(LABELS)))

    def answer(self, texts: list[str]) -> Answers:
        letters = [[text.count(chr(97 + place)) for place in range(26)] for text in texts]
        return Answers(self.classifier.probs(texts), np.array(letters, dtype=np.float32))


def test_an_export_is_certified_with_a_gate(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = Exported(load_classifier(run / "students/gru"))
    monkeypatch.setattr(tutelage_runtime.session, "load", lambda folder: student)
    values = certify_run(run, disagreement=0.3, export=tmp_path / "onnx", out=tmp_path / "made")
    assert (
        json.loads((tmp_path / "made/certificate.json").read_text("utf-8"))["sum"] == values["sum"]
    )
    certificate = read_certificate(tmp_path / "made", student=student.version)
    assert certificate.novelty is not None
    assert values["novelty"]["false_alarms"] <= 0.2
    answers = student.answer(["zzzz qqqq xxxx jjjj"] * 2)
    assert not certificate.sure(answers.probs, answers.features).any()
