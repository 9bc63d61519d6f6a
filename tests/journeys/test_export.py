"""Exports of a run: made once, held against the run's own rows, kept aside where they fail; and one
by one on the command line.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.journeys.tiny_job import LABELS, run_here, sentences, write_csv, write_job

from tutelage.cli.main import main
from tutelage.export import recurrent
from tutelage.students import load_classifier
from tutelage_runtime.bundle import read_bundle
from tutelage_runtime.session import load

FORMATS = "export=[transformers, onnx, onnx_int8]"
QUICK = ("evaluate.control=false", "train.epochs=20")


@pytest.fixture(scope="module")
def job(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_job(tmp_path_factory.mktemp("export"), model_folder)
    done = run_here(folder, FORMATS, *QUICK, until="report")
    assert done.failed_exports == ()
    assert [one.name for one in done.stages][-3:] == [
        "exports/gru/onnx",
        "exports/gru/onnx_int8",
        "report",
    ]
    return folder


@pytest.fixture
def student(job: Path) -> Path:
    return job / "runs" / "tiny" / "students" / "gru"


def test_a_run_leaves_students_that_answer_without_torch(job: Path, student: Path) -> None:
    texts = [text for text, _ in sentences(20, seed=9)]
    expected = np.log(load_classifier(student).probs(texts))
    exported = load(student / "export" / "onnx")
    heat = exported.bundle.temperature
    assert heat != 1.0  # 30 validation rows have labels
    softened = np.exp(expected / heat)
    softened /= softened.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(exported.answer(texts).probs, softened, atol=1e-4)
    facts = exported.bundle.facts
    assert facts["parity"]["against"] == "test rows"
    assert facts["parity"]["rows"] == 50
    evaluation = json.loads((job / "runs/tiny/evaluation.json").read_text("utf-8"))
    assert facts["numbers"] == evaluation["students"]["gru"]
    assert facts["teacher"]["kind"] == "classifier"
    assert exported.bundle.question.labels == LABELS


def test_nothing_is_exported_twice(job: Path, student: Path) -> None:
    assert {one.how for one in run_here(job, FORMATS, *QUICK, until="report").stages} == {"kept"}
    (student / "export" / "onnx" / "model.onnx").unlink()
    again = run_here(job, FORMATS, *QUICK, until="report")
    done = [one.name for one in again.stages if one.how == "done"]
    assert done == ["exports/gru/onnx"]
    read_bundle(student / "export" / "onnx")


def test_a_run_goes_on_where_an_export_fails(
    job: Path, student: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = student / "export"
    shutil.rmtree(place / "onnx")
    monkeypatch.chdir(job)
    words = ["run", "recipe.yaml", "--set", FORMATS, "--quiet"]
    words += [word for one in QUICK for word in ("--set", one)]
    with monkeypatch.context() as wrong:
        wrong.setattr(recurrent, "GRU_ORDER", (0, 1, 2))
        assert main(words) == 1
        said = capsys.readouterr().out
        assert "Not exported: onnx of gru does not answer as the student: probabilities" in said
        assert "Report: " in said
        assert sorted(one.name for one in place.iterdir()) == ["onnx.failed", "onnx_int8"]
        assert main([*words, "--json"]) == 1
        assert len(json.loads(capsys.readouterr().out)["failed_exports"]) == 1
    assert main(words) == 0
    assert sorted(one.name for one in place.iterdir()) == ["onnx", "onnx_int8"]


def test_one_student_on_the_command_line(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = student.parent.parent, tmp_path / "out"
    assert main(["export", str(run), "--format", "onnx", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"gru as onnx: {out}\n")
    assert "answers as the student on 100.00% of 50 test rows" in said.out
    assert "built in" not in said.err
    assert read_bundle(out).version == read_bundle(student / "export" / "onnx").version

    write_csv(tmp_path / "mine.csv", sentences(40, seed=5))
    words = ["export", str(student), "--format", "onnx_int8", "--json", "--out", str(out)]
    assert main([*words, "--rows", str(tmp_path / "mine.csv")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["format"], told["student"]) == (40, "onnx_int8", "gru")
    parity = json.loads((out / "parity.json").read_text("utf-8"))
    assert parity["accuracy"]["rows"] == 40
    assert read_bundle(out).format_name == "onnx_int8"


def test_a_student_that_lies_alone_is_compared_on_texts_that_are_built_in(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = shutil.copytree(
        student, tmp_path / "mine", ignore=shutil.ignore_patterns("export", "checkpoints")
    )
    assert main(["export", str(alone), "--format", "onnx"]) == 0
    said = capsys.readouterr()
    assert "give some of yours with --rows FILE" in said.err
    assert "of 12 built-in texts" in said.out
    assert read_bundle(alone / "export" / "onnx").name == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--student", "lstm"], "has no student 'lstm'; it has gru"),
        (["--out", "."], r"--out . holds other things, such as .*recipe.yaml: give a folder"),
        (["--out", "train.csv"], "--out train.csv is no folder: give another name"),
        (["--rows", "nowhere.csv"], "--rows nowhere.csv: there is no such file"),
    ],
)
def test_what_cannot_be_exported_is_wrong_input(
    words: list[str], message: str, job: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(job)
    assert main(["export", "runs/tiny", "--format", "onnx", *words]) == 2
    assert re.search(message, capsys.readouterr().err)
