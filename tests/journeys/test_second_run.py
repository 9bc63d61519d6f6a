"""A second run of a finished recipe is cheap, and still finds whatever changed in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.tiny_job import environment, run_here, sentences, tutelage, write_csv
from tests.journeys.tiny_language_job import write_language_job, write_teacher

from tutelage.data.documents import tokenizing
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import Outcome
from tutelage.recipes.run import run as run_recipe
from tutelage.targets import parts, reader
from tutelage.types import SILENT

RECORD = ".stages/finished/label.json"
RUN_AND_TELL = """
import json, sys, time
from tutelage.cli.main import main
code = main(["run", "recipe.yaml", "--json"])
heavy = {"torch", "transformers", "tokenizers", "sklearn", "scipy", "accelerate"} & set(sys.modules)
print(json.dumps([code, sorted(heavy), time.process_time()]), file=sys.stderr)
"""
IMPORT_TORCH = """
import sys, time
import torch
print(time.process_time(), file=sys.stderr)
"""


def fastest_of_three(code: str, cwd: Path) -> tuple[Any, str]:
    """What a program told last on stderr, of the quickest of three processes, and its stdout."""
    told = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=cwd,
            env=environment(cwd),
            capture_output=True,
            text=True,
            check=True,
        )
        told.append((json.loads(done.stderr.splitlines()[-1]), done.stdout))
    return min(told, key=lambda one: one[0][-1] if isinstance(one[0], list) else one[0])


@pytest.fixture(scope="module")
def finished_language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a causal_lm recipe of conversations, after `tutelage run recipe.yaml`."""
    folder = tmp_path_factory.mktemp("finished_language")
    write_language_job(folder, write_teacher(folder / "weights"), form="messages", count=24)
    tutelage("run", "recipe.yaml", "--set", "evaluate.control=false", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def seconds_of_torch(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long this processor imports torch."""
    return fastest_of_three(IMPORT_TORCH, tmp_path_factory.mktemp("torch"))[0]


@pytest.mark.parametrize("task", ["finished", "finished_language"])
def test_it_ends_within_twice_the_time_that_importing_torch_takes(
    task: str, request: pytest.FixtureRequest, seconds_of_torch: float
) -> None:
    folder = request.getfixturevalue(task)
    if task == "finished_language":  # the recipe as it was run
        (folder / "recipe.yaml").write_bytes((folder / "runs/tiny/recipe.yaml").read_bytes())
    (code, heavy, seconds), printed = fastest_of_three(RUN_AND_TELL, folder)
    assert code == 0
    assert {stage["how"] for stage in json.loads(printed)["stages"]} == {"kept"}
    assert heavy == []  # so no tokenizer was at work either
    assert seconds < 2 * seconds_of_torch


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a text is tokenized, a part of a store read, a recipe's data prepared."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def counting(*given: Any, **options: Any) -> Any:
            counted[name] += 1
            return plain(*given, **options)

        monkeypatch.setattr(owner, name, counting)

    count(tokenizing, "_tokens")
    count(reader, "read_part")
    assert parts.read_part is not reader.read_part
    return counted


def label_language(recipe: Path, said: list[str] | None = None) -> Outcome:
    progress: Any = SILENT if said is None else Said(said)
    return run_recipe(
        load_recipe(recipe), root=recipe.parent / "runs", until="label", progress=progress
    )


class Said:
    """A progress display that keeps what it is told."""

    def __init__(self, lines: list[str]) -> None:
        self.say, self.bar = lines.append, SILENT.bar


def test_nothing_is_tokenized_again_and_checksums_are_verified_once(
    tmp_path: Path, calls: Counter[str]
) -> None:
    recipe = write_language_job(tmp_path, write_teacher(tmp_path / "weights"), count=24)
    told: list[list[str]] = [[], [], []]
    first = label_language(recipe, told[0])
    assert calls.pop("_tokens") > 24
    calls.clear()
    again = label_language(recipe, told[1])
    assert calls == {"read_part": 1}
    assert [stage.how for stage in again.stages] == ["kept"]
    assert (again.warnings, again.teacher_held_out) == (first.warnings, first.teacher_held_out)
    assert told[1] == [line for line in told[0] if line in told[1]]
    assert any("Soft targets" in line for line in told[1])
    # Without the record everything is looked at again, and the store is still verified once.
    (again.folder.path / RECORD).unlink()
    calls.clear()
    assert [stage.how for stage in label_language(recipe, told[2]).stages] == ["kept"]
    assert calls.pop("_tokens") > 24
    assert calls == {"read_part": 1}
    assert told[2] == told[1]


def test_what_changed_in_between_is_found(job: Path) -> None:
    def how() -> list[str]:
        return [stage.how for stage in run_here(job, until="label").stages]

    assert how() == ["done", "done"]
    assert how() == ["kept", "kept"]
    run = job / "runs" / "tiny"
    (part,) = (run / "targets").glob("part-*.parquet")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    times = part.stat()
    part.write_bytes(content)
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))  # size and time tell nothing
    assert how() == ["kept", "done"]
    assert how() == ["kept", "kept"]
    (run / "teacher" / "teacher.json").unlink()
    assert how()[0] == "done"
    assert how() == ["kept", "kept"]
    (run / RECORD).write_text("damaged")
    assert how() == ["kept", "kept"]
    rows = sentences(200, seed=0)[:120]
    write_csv(job / "train.csv", rows[:110])
    assert how() == ["done", "done"]
    write_csv(job / "train.csv", rows)
    assert how()[0] == "done"  # the folder holds the other rows' teacher now


def test_a_file_that_changes_during_the_run_leaves_no_record(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tutelage.tasks.classification.job import ClassificationJob

    plain = ClassificationJob.write_targets

    def edited(self: ClassificationJob, *given: Any) -> Any:
        write_csv(job / "train.csv", sentences(200, seed=0)[:100])
        return plain(self, *given)

    monkeypatch.setattr(ClassificationJob, "write_targets", edited)
    run_here(job, until="label")
    assert not (job / "runs" / "tiny" / RECORD).exists()
