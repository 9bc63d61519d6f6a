"""A machine dies half-way through a run at a URL; another goes on, and ends with the bytes of a run
that nobody stopped, made on a disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.journeys import conftest
from tests.journeys.tiny_job import run_here, write_job
from tests.remote.object_store import Store

from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run
from tutelage.runs.remote.objects import Objects

model_folder = conftest.model_folder
"""The random language model of the journeys."""
URL = "s3://bucket/runs/tiny"


def contents(folder: Path) -> dict[str, bytes]:
    """What a run promises to be the same, however often it was killed."""
    kept = ("*.safetensors", "*.jsonl", "*.parquet", "targets/manifest.json")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for pattern in kept
        for path in folder.rglob(pattern)
    }


def test_another_machine_ends_what_one_began_that_died(
    server: Store, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    torch.set_num_threads(1)
    job = write_job(tmp_path, model_folder)
    text = (job / "recipe.yaml").read_text("utf-8").replace("control: true", "control: false")
    text = text.replace("epochs: 8", "epochs: 4")
    there = Objects("s3://bucket/data")
    there.put({f"{part}.csv": job / f"{part}.csv" for part in ("train", "validation", "test")})
    for part in ("train", "validation", "test"):
        text = text.replace(f" {part}.csv", f" s3://bucket/data/{part}.csv")
    (job / "remote.yaml").write_text(text, encoding="utf-8")

    unbroken = run_here(job, "evaluate.control=false", "train.epochs=4").folder.path
    dying = subprocess.run(
        [sys.executable, Path(__file__).with_name("dying_run.py"), job / "remote.yaml", URL],
        env={**os.environ, "TUTELAGE_CACHE": str(tmp_path / "died"), "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert dying.returncode == -signal.SIGKILL, dying.stderr
    pushed = Objects(URL).list()
    assert any("checkpoints/step-" in name for name in pushed)
    assert ".stages/targets.json" in pushed
    assert ".stages/students/gru.json" not in pushed

    recipe = load_recipe(job / "remote.yaml")
    outcome = run(recipe, out=Path(URL), until="train")
    how = {stage.name: stage.how for stage in outcome.stages}
    assert how == {"teacher": "kept", "targets": "kept", "students/gru": "done"}
    assert contents(outcome.folder.path) == contents(unbroken)

    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "third"))
    again = run(recipe, out=Path(URL), until="train")
    assert {stage.how for stage in again.stages} == {"kept"}
    assert contents(again.folder.path) == contents(unbroken)
