"""A finished run that was damaged since: every file, every kind of damage, every command.

Damage is named or made good; no command answers otherwise than before in silence, or ends in an
error that nobody expected.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.hostile.asking import answer
from tests.journeys.tiny_job import tutelage, write_job
from tests.journeys.tiny_language_job import write_language_job, write_teacher

from tutelage.runs.contents import FOR_PEOPLE

RUN = Path("runs/tiny")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 5] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flip": flip,
    "truncate": truncate,
    "empty": empty,
    "delete": Path.unlink,
    "folder": replace_by_folder,
}
EVERYTHING = "TUTELAGE_ALL_DAMAGES" in os.environ
"""Every kind of damage to every file, which takes a quarter of an hour; else to each file one kind,
which is made good, and in the classification a second one, which is named; others for each."""
FLOW = {"flip": "run", "truncate": "report", "empty": "evaluate", "delete": "run", "folder": "run"}
"""What is asked to make good each kind of damage."""
TEXT = "a superb lovely phone"


@pytest.fixture(scope="module")
def classification(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    folder = write_job(tmp_path_factory.mktemp("classification"), model_folder)
    shorten(folder, epochs=2)
    return folder


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    write_language_job(folder, write_teacher(folder / "weights"), form="pairs", count=24)
    shorten(folder, epochs=1)
    return folder


def shorten(folder: Path, *, epochs: int) -> None:
    """Few steps, and a finished run of them."""
    recipe = folder / "recipe.yaml"
    text = recipe.read_text(encoding="utf-8")
    for old in ("epochs: 8", "epochs: 2"):
        text = text.replace(old, f"epochs: {epochs}")
    recipe.write_text(text, encoding="utf-8")
    tutelage("run", "recipe.yaml", cwd=folder)


def files_of(run: Path) -> list[str]:
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


def answers() -> tuple[int, object]:
    """What `predict` says to a text: exit code, and the answer where there is one."""
    code, said = answer("predict", RUN, TEXT, "--json")
    return code, json.loads(said) if code == 0 else said


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("task", ["classification", "language"])
def test_damage_is_named_or_made_good(
    task: str,
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    if task == "language" and kind in ("truncate", "empty") and not EVERYTHING:
        pytest.skip("TUTELAGE_ALL_DAMAGES: each takes a minute")
    folder: Path = request.getfixturevalue(task)
    monkeypatch.chdir(folder)
    shutil.copytree(RUN, tmp_path / "whole")
    _, right = answers()
    names = [name for name in files_of(RUN) if "embeddings" not in name]  # known by their content
    assert len(names) > 20
    failures: list[str] = []
    for number, name in enumerate(names):
        turn = (number - list(DAMAGES).index(kind)) % len(DAMAGES)
        if turn > (task == "classification") and not EVERYTHING:
            continue
        DAMAGES[kind](RUN / name)
        try:
            is_named(name, kind, right)
            if turn == 0 or EVERYTHING:
                is_made_good(name, kind, right)
        except AssertionError as error:
            failures.append(f"{kind} of {name}: {str(error)[-600:]}")
        shutil.rmtree(RUN)
        shutil.copytree(tmp_path / "whole", RUN)
    assert not failures, "\n".join(failures)


def is_named(name: str, kind: str, right: object) -> None:
    code, said = answer("verify", RUN)
    record_is_gone = kind == "delete" and name.startswith(".stages/")
    assert code == 1 or record_is_gone, said
    assert name in said or record_is_gone, said

    code, given = answers()
    assert code == 2 or given == right, given
    code, said = answer("targets", "verify", RUN)
    assert code in (0, 1, 2)
    if name.startswith("targets/"):
        assert code != 0, said


def is_made_good(name: str, kind: str, right: object) -> None:
    command = "run" if name.startswith(".stages/finished/") else FLOW[kind]
    code, said = answer(command, RUN if kind == "delete" else "recipe.yaml")
    assert code == 0, said
    for_people = any(part in FOR_PEOPLE for part in Path(name).parts)
    code, said = answer("verify", RUN)
    assert code == (1 if for_people else 0), said
    assert answers() == (0, right)
