"""A language-model run that is killed at random moments ends with the bytes of one that never was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.tiny_language_job import write_language_job, write_teacher

from tutelage.config import load_recipe
from tutelage.recipes.causal_lm import run_language_model
from tutelage.teachers import CausalTeacher

RESULTS = (
    "targets/manifest.json",
    "students/gru/metrics.jsonl",
    "students/gru/model.safetensors",
    "controls/gru/metrics.jsonl",
    "controls/gru/model.safetensors",
    "students/half/metrics.jsonl",
    "students/half/model.safetensors",
)
STUDENTS = """gru: {kind: rnn, hidden_size: 16, dropout: 0.2, embeddings: teacher}
              half: {kind: pruned, layers: 1}"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked and killed")
def test_kill_9_at_random_moments_changes_nothing(tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "weights")
    recipe = write_language_job(tmp_path, teacher, students=STUDENTS, count=160)
    done = subprocess.run(
        [sys.executable, "-m", "tests.journeys.tiny_language_job", str(recipe), "6", "1"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    reached = json.loads(done.stdout.splitlines()[-1])
    lines = [sum(moment["lines"].values()) for moment in reached]
    assert len({count for count in lines if count}) >= 2, f"the kills came at {reached}: too few to prove anything"
    for name in RESULTS:
        whole, killed = (tmp_path / place / "run" / name for place in ("whole", "killed"))
        assert whole.stat().st_size > 300
        if name.endswith("manifest.json"):
            continue
        assert whole.read_bytes() == killed.read_bytes(), name


def test_labelling_that_was_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe: Any = load_recipe(
        write_language_job(tmp_path, write_teacher(tmp_path / "weights"), count=60),
        overrides=["teacher.batch_tokens=128", "evaluate.control=false"],
    )
    read = CausalTeacher.read
    batches: list[int] = []

    def interrupted(self: CausalTeacher, documents: Any) -> Any:
        batches.append(len(documents))
        if len(batches) == 5:
            raise KeyboardInterrupt
        return read(self, documents)

    monkeypatch.setattr(CausalTeacher, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_language_model(recipe, root=tmp_path / "runs", until="label")
    first = sum(batches[:4])
    outcome = run_language_model(recipe, root=tmp_path / "runs", until="label")
    assert sum(batches[5:]) == 68 - first  # 60 documents and 8 of validation, none read twice
    assert {stage.name: stage.how for stage in outcome.stages} == {"targets": "done"}
    whole = run_language_model(recipe, out=tmp_path / "elsewhere" / "run", until="label")
    (one, other) = (
        {path.name: path.stat().st_size for path in run.folder.targets_path.glob("*.json")} for run in (outcome, whole)
    )
    assert set(one) == set(other)
