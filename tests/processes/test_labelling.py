"""Targets that two processes wrote are those that one writes, bit for bit, one killed or not; and
scores that they share are those of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.journeys.tiny_job import sentences, write_csv
from tests.journeys.tiny_language_job import write_language_job, write_teacher
from tests.processes.label_together import label
from tests.processes.launching import launch

from tutelage.targets import TargetStore, verify
from tutelage.teachers.sharing import WORKERS

SCRIPT = str(Path(__file__).with_name("label_together.py"))
TEXTS = """\
name: tiny
task: {{kind: classification, labels: [negative, neutral, positive]}}
data: {{train: train.csv, validation: validation.csv, test: test.csv}}
teacher: {{kind: prompted, model: {model}, batch_tokens: 512}}
students: {{gru: {{kind: rnn, hidden_size: 8, embedding_size: 8}}}}
{more}
"""


def write_text_job(folder: Path, model: Path, more: str = "") -> Path:
    folder.mkdir(parents=True)
    rows = sentences(120, seed=0)
    for name, part in (("train", rows[:80]), ("validation", rows[80:100]), ("test", rows[100:])):
        write_csv(folder / f"{name}.csv", part)
    (folder / "recipe.yaml").write_text(TEXTS.format(model=model, more=more), "utf-8")
    return folder / "recipe.yaml"


def write_documents(folder: Path, model: Path, targets: str, more: str = "") -> Path:
    path = write_language_job(folder, model, targets=targets, count=60)
    text = path.read_text("utf-8").replace("model: teacher", "model: teacher, batch_tokens: 96")
    path.write_text(text + more, "utf-8")
    return path


def content(store: Path) -> list[tuple[Any, ...]]:
    """All that a store holds, as bytes."""
    found = TargetStore.open(store)
    return [
        (name, *(np.asarray(getattr(row, key)).tobytes() for key in _fields(row)))
        for name, row in zip(found.ids, found.lookup(found.ids), strict=True)
    ]


def _fields(row: Any) -> tuple[str, ...]:
    return ("data",) if isinstance(row, np.ndarray) else tuple(type(row).__dataclass_fields__)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("model") / "teacher")


def test_two_processes_write_what_one_writes(tmp_path: Path, model: Path) -> None:
    killed = write_documents(tmp_path / "sampled", model, "{kind: sampled, threshold: 0.05}")
    jobs = [
        killed,
        write_documents(tmp_path / "hidden", model, "{kind: hidden}"),
        write_text_job(tmp_path / "texts", model),
    ]
    if os.environ.get("TUTELAGE_LONG_TESTS"):  # quick students take seconds to import
        jobs.append(write_text_job(tmp_path / "chosen", model, "label: {limit: 40, rounds: 2}"))
    died = launch([SCRIPT, str(tmp_path / "two"), "die", str(killed)])
    assert died.returncode != 0
    left = tmp_path / "two" / "sampled" / "tiny" / "targets" / WORKERS / "001"
    assert (left / "manifest.json").is_file(), died.stderr[-3000:]
    rows = TargetStore.open(left, allow_incomplete=True).ids
    done = launch([SCRIPT, str(tmp_path / "two"), "score", *map(str, jobs)])
    assert done.returncode == 0, done.stderr[-9000:]
    assert f"workers of an earlier call had left {len(rows):,}" in done.stdout
    assert done.stdout.count("scores are equal") == 2
    for job in jobs:
        label(job, tmp_path / "one" / job.parent.name)
        one, two = (
            tmp_path / made / job.parent.name / "tiny" / "targets" for made in ("one", "two")
        )
        assert content(two) == content(one), job.parent.name
        assert verify(two) == []
        assert not (two / WORKERS).exists()
