"""A language-model run that is killed at random moments ends with the bytes of one that never
was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.journeys.tiny_language_job import write_language_job, write_teacher

from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run as run_recipe
from tutelage.runs.folder import Stage
from tutelage.targets import read_manifest, verify
from tutelage.tasks.language.evaluating import describe_targets
from tutelage.teachers import CausalTeacher
from tutelage.types import SILENT

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
        timeout=500,
        check=False,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    reached = json.loads(done.stdout.splitlines()[-1])
    lines = [sum(moment["lines"].values()) for moment in reached]
    assert len({count for count in lines if count}) >= 2, (
        f"the kills came at {reached}: too few to prove anything"
    )
    for name in RESULTS:
        whole, killed = (tmp_path / place / "run" / name for place in ("whole", "killed"))
        assert whole.stat().st_size > 300
        if name.endswith("manifest.json"):
            continue
        assert whole.read_bytes() == killed.read_bytes(), name


def test_labelling_that_was_interrupted_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        run_recipe(recipe, root=tmp_path / "runs", until="label")
    first = sum(batches[:4])
    outcome = run_recipe(recipe, root=tmp_path / "runs", until="label")
    assert sum(batches[5:]) == 68 - first  # 60 documents and 8 of validation, none read twice
    assert {stage.name: stage.how for stage in outcome.stages} == {"targets": "done"}
    whole = run_recipe(recipe, out=tmp_path / "elsewhere" / "run", until="label")
    (one, other) = (
        {path.name: path.stat().st_size for path in run.folder.targets_path.glob("*.json")}
        for run in (outcome, whole)
    )
    assert set(one) == set(other)
    # Nobody has the time of all the labelling that went on, so none is told.
    for run, told in ((outcome, False), (whole, True)):
        assert ("seconds" in describe_targets(recipe, run.folder)) == told


def test_a_kill_after_training_and_before_its_record_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe: Any = load_recipe(
        write_language_job(tmp_path, write_teacher(tmp_path / "weights"), count=60),
        overrides=["evaluate.control=false"],
    )
    mark_done = Stage.mark_done

    def killed(self: Stage, *arguments: Any, **facts: Any) -> None:
        if "training_seconds" in facts:
            raise KeyboardInterrupt
        mark_done(self, *arguments, **facts)

    monkeypatch.setattr(Stage, "mark_done", killed)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, root=tmp_path / "runs", until="train")
    monkeypatch.setattr(Stage, "mark_done", mark_done)
    said: list[str] = []
    progress: Any = SimpleNamespace(say=said.append, bar=SILENT.bar)
    outcome = run_recipe(recipe, root=tmp_path / "runs", until="train", progress=progress)
    (news,) = [line for line in said if "going on" in line]
    steps = outcome.folder.stage("students/half").facts["steps"]
    assert news.endswith(f"going on from step {steps} of {steps}")
    assert outcome.folder.stage("students/half").facts["training_seconds"] > 0
    assert not list(outcome.folder.path.rglob("checkpoints"))


def test_targets_taken_over_from_another_seed_are_added_to_and_mended(tmp_path: Path) -> None:
    recipe_path = write_language_job(tmp_path, write_teacher(tmp_path / "weights"), count=60)

    def go(seed: int) -> Any:
        recipe: Any = load_recipe(
            recipe_path, overrides=[f"train.seed={seed}", "evaluate.control=false"]
        )
        return run_recipe(recipe, root=tmp_path / "runs", until="label")

    assert [stage.how for stage in go(0).stages] == ["done"]
    other = go(1)
    assert [stage.how for stage in other.stages] == ["reused"]
    with (tmp_path / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "the phone is a phone"}\n')
    grown = go(1)
    assert grown.folder.path == other.folder.path
    assert [stage.how for stage in grown.stages] == ["done"]
    assert read_manifest(grown.folder.targets_path).seed == 0
    part = min(grown.folder.targets_path.glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-9])
    assert [stage.how for stage in go(1).stages] == ["done"]
    assert verify(grown.folder.targets_path) == []
