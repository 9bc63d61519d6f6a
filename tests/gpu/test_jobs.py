"""Whole jobs of both tasks on a device: labelled, trained, evaluated, timed and exported there; and
a run that is killed there goes on. On the processor the same jobs are in `tests/journeys`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.journeys.test_interruption import _lines, _start
from tests.journeys.tiny_job import sentences, tutelage, write_job
from tests.journeys.tiny_language_job import write_language_job, write_teacher

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    return write_job(tmp_path_factory.mktemp("job"), teacher)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_classifier_is_made_evaluated_and_exported(job: Path) -> None:
    tutelage("run", "recipe.yaml", "--out", "whole", cwd=job)
    evaluation = json.loads((job / "whole/evaluation.json").read_text("utf-8"))
    assert any("cuda" in str(one) for one in evaluation["devices"].values()), evaluation["devices"]
    tutelage("export", "whole", "--student", "gru", "--to", "onnx", cwd=job)
    folder = job / "whole/students/gru/export/onnx"
    from tutelage.students import Predictor
    from tutelage_runtime import load

    texts = [text for text, _ in sentences(20, seed=3)]
    mine = Predictor.load(job / "whole/students/gru").probabilities(texts)
    assert abs(load(folder).probs(texts) - mine).max() < 1e-3


def test_a_language_model_is_made_and_evaluated(teacher: Path, tmp_path: Path) -> None:
    write_language_job(tmp_path, teacher)
    tutelage("run", "recipe.yaml", "--out", "whole", cwd=tmp_path)
    told = records(tmp_path / "whole/students/half/metrics.jsonl")
    found = [record["train_loss"] for record in told if "train_loss" in record]
    assert found[-1] < found[0]


def test_a_killed_run_goes_on_to_the_same_losses(job: Path) -> None:
    if not (job / "whole").exists():
        tutelage("run", "recipe.yaml", "--out", "whole", cwd=job)
    metrics = "students/gru/metrics.jsonl"
    expected = records(job / "whole" / metrics)
    for share in (0.2, 0.6):
        process = _start(job, "killed")
        while _lines(job / "killed" / metrics) < share * len(expected) and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        process.communicate()
    tutelage("run", "recipe.yaml", "--out", "killed", cwd=job)
    found = records(job / "killed" / metrics)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() & {"train_loss", "validation_loss"}:
            assert one[name] == pytest.approx(other[name], rel=1e-3)
