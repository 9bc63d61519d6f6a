"""Whole tiny runs: everything is made, nothing is done twice, other recipes are left alone."""

from __future__ import annotations

import json
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.journeys.tiny_job import LABELS, run_here, sentences, tutelage, tutelage_json

from tutelage.losses import reference
from tutelage.students import Predictor
from tutelage.targets import TargetStore
from tutelage.types import Example


def test_a_run_leaves_everything_it_promises(finished: Path) -> None:
    run = finished / "runs" / "tiny"
    for name in (
        "recipe.yaml", "provenance.json", "evaluation.json", "predictions.parquet", "report.html",
        "targets/manifest.json", "teacher/teacher.json", "students/gru/model.safetensors",
        "students/gru/metrics.jsonl", "controls/gru/model.safetensors",
    ):  # fmt: skip
        assert (run / name).is_file(), name
    evaluation = json.loads((run / "evaluation.json").read_text())
    for metrics in (
        evaluation["teacher"],
        evaluation["students"]["gru"],
        evaluation["controls"]["gru"],
    ):
        for metric in (
            "accuracy",
            "macro_f1",
            "nll",
            "brier",
            "ece",
            "parameters",
            "disk_bytes",
            "latency_ms_p50",
        ):
            assert set(metrics[metric]) >= {"value", "low", "high"}, metric
    assert evaluation["devices"]["students"] == "cpu"
    assert evaluation["devices"]["teacher"].startswith(("cpu", "cuda ("))
    # It learned the teacher's distributions; a control, which never saw them, is further away.
    assert evaluation["students"]["gru"]["kl"]["value"] > 0
    assert evaluation["students"]["gru"]["kl"]["high"] < evaluation["controls"]["gru"]["kl"]["low"]
    # One word tells the class, so labels teach it well; the untrained teacher says a third right,
    # and is imitated.
    assert evaluation["controls"]["gru"]["accuracy"]["value"] > 0.7
    assert evaluation["students"]["gru"]["agreement"]["value"] > 0.45
    assert pq.read_table(run / "predictions.parquet").num_rows == evaluation["rows"] == 50
    assert not (run / "students" / "gru" / "checkpoints").exists()
    page = (run / "report.html").read_text()
    assert "gru" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_second_run_does_nothing_and_takes_seconds(finished: Path) -> None:
    run = finished / "runs" / "tiny"
    before = {
        path: path.stat().st_mtime_ns
        for path in run.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    started = time.monotonic()
    record = tutelage_json("run", "recipe.yaml", cwd=finished)
    assert time.monotonic() - started < 30
    assert {stage["how"] for stage in record["stages"]} == {"kept"}
    after = {
        path: path.stat().st_mtime_ns
        for path in run.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    changed = {path.name for path in after if before.get(path) != after[path]}
    assert changed <= {"recipe.yaml"}


def test_changing_the_students_takes_teacher_and_targets_over(finished: Path) -> None:
    record = tutelage_json(
        "run", "recipe.yaml", "--set", "students.gru.hidden_size=8", cwd=finished
    )
    how = {stage["name"]: stage["how"] for stage in record["stages"]}
    assert (how["teacher"], how["targets"]) == ("reused", "reused")
    assert how["students/gru"] == "done"
    assert Path(record["run"]).name == "tiny-2"
    assert (finished / "runs" / "tiny-2" / "targets" / "manifest.json").is_file()


def test_a_run_folder_of_another_recipe_is_left_alone(finished: Path) -> None:
    run = finished / "runs" / "tiny"
    before = (run / "evaluation.json").read_bytes()
    done = tutelage(
        "run", "recipe.yaml", "--set", "train.epochs=1", "--out", run, cwd=finished, check=2
    )
    assert "train.epochs 8 → 1" in done.stderr
    assert "--out" in done.stderr
    assert (run / "evaluation.json").read_bytes() == before


def test_a_run_folder_goes_on_by_its_name(finished: Path) -> None:
    record = tutelage_json("run", "runs/tiny", cwd=finished)
    assert {stage["how"] for stage in record["stages"]} == {"kept"}


def test_stages_are_commands(job: Path) -> None:
    run = job / "runs" / "tiny"
    label = tutelage_json("label", "recipe.yaml", cwd=job)
    assert [stage["name"] for stage in label["stages"]] == ["teacher", "targets"]
    assert label["teacher_held_out"]["accuracy"]["value"] > 0.4
    assert not (run / "students").exists()
    train = tutelage_json(
        "train", "recipe.yaml", "--set", "evaluate.control=false", "--out", "other", cwd=job
    )
    assert train["stages"][0]["how"] == "done"  # another root: nothing beside it to take over
    tutelage("train", "recipe.yaml", cwd=job)
    assert not (run / "evaluation.json").exists()
    tutelage("evaluate", "recipe.yaml", cwd=job)
    assert (run / "evaluation.json").is_file()
    assert not (run / "report.html").exists()
    tutelage("report", "recipe.yaml", cwd=job)
    assert (run / "report.html").is_file()


def test_targets_can_be_looked_into_and_verified(finished: Path, tmp_path: Path) -> None:
    run = finished / "runs" / "tiny"
    facts = tutelage_json("targets", "inspect", run, cwd=finished)
    assert set(facts) >= {
        "kind", "rows", "positions", "bytes", "bytes_per_position", "mean_entropy_nats", "kept_mass", "teacher",
        "tokenizer", "complete",
    }  # fmt: skip
    assert facts["rows"] == 200
    assert facts["complete"] is True
    tutelage("targets", "verify", run / "targets", cwd=finished)
    copy = shutil.copytree(run / "targets", tmp_path / "targets")
    part = next(copy.glob("*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    done = tutelage("targets", "verify", copy, cwd=finished, check=1)
    assert part.name in done.stdout


def test_predict_answers_texts_and_files(finished: Path, tmp_path: Path) -> None:
    answers = json.loads(
        tutelage("predict", "runs/tiny", "it was superb", "--json", cwd=finished).stdout
    )
    assert answers[0]["label"] in LABELS
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    plain = tutelage("predict", "runs/tiny/students/gru", "it was superb", cwd=finished).stdout
    assert plain.split("\t")[0] == answers[0]["label"]
    tutelage(
        "predict",
        "runs/tiny",
        "--file",
        "test.csv",
        "--out",
        tmp_path / "answers.csv",
        cwd=finished,
    )
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines[0] == "row,text,label,p_negative,p_neutral,p_positive"
    assert len(lines) == 51


def test_unlabeled_rows_and_augmented_copies_are_labelled_too(job: Path) -> None:
    (job / "more.jsonl").write_text(
        '{"text": "a grey cable of sound"}\n{"text": "lovely lovely camera"}\n'
    )
    outcome = run_here(job, "data.unlabeled=more.jsonl", "data.augment={copies: 1}", until="label")
    rows = outcome.folder.stage("targets").facts["rows"]
    assert 202 + 60 < rows <= 202 + 120


def test_prompted_teacher_writes_targets(job: Path, model_folder: Path) -> None:
    teacher = f"teacher={{kind: prompted, model: {model_folder}, shots: 3, calibration: batch}}"
    assert run_here(job, teacher, until="label").teacher_held_out["rows"] == 30
    assert {stage.how for stage in run_here(job, teacher, until="label").stages} == {"kept"}


def test_students_learn_by_the_divergences_that_the_recipe_names(job: Path) -> None:
    objective = "{divergence: reverse_kl, loss_temperature: 2.0, soft_weight: 1.0}"
    student = "{kind: rnn, hidden_size: 8, tokenizer: {vocabulary_size: 300}"
    outcome = run_here(
        job,
        "train.epochs=2",
        "evaluate.control=false",
        "objective={divergence: jensen_shannon, beta: 0.3, soft_weight: 1.0}",
        f"students.own={student}, objective: {objective}}}",
    )
    folder = outcome.folder
    texts = [text for text, _ in sentences(200, seed=0)[120:150]]
    store = TargetStore.open(folder.targets_path)
    teacher = np.log(store.lookup([Example(text).example_id for text in texts]))
    for name, definition in {
        "gru": partial(reference.jensen_shannon, loss_temperature=1.0, beta=0.3),
        "own": partial(reference.reverse_kl, loss_temperature=2.0),
    }.items():
        student = np.log(Predictor.load(folder.students_path / name).probs(texts))
        expected = np.mean([definition(z, p) for z, p in zip(student, teacher, strict=True)])
        facts = folder.stage(f"students/{name}").facts
        assert facts["best_validation_loss"] == pytest.approx(expected, rel=1e-4), name
