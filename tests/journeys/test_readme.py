"""What the README shows works: its commands parse, its recipe loads, its Python runs, its make
targets exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.journeys.tiny_job import environment, tutelage

from tutelage.cli.parser import build_parser
from tutelage.recipes.loading import load_recipe

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(program: str) -> list[str]:
    whole = [block.replace("\\\n", " ") for block in blocks("sh")]  # lines that go on
    lines = [line.split("#")[0].strip() for block in whole for line in block.splitlines()]
    return [line for line in lines if line.startswith(f"{program} ")]


@pytest.mark.parametrize("line", commands("tutelage"))
def test_each_command_is_one_that_the_program_knows(line: str) -> None:
    assert build_parser().parse_args(shlex.split(line)[1:]).command


def test_each_make_target_exists() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    named = {word for line in commands("make") for word in line.split()[1:]} | set(
        re.findall(r"`make ([\w-]+)`", README)
    )
    assert {"demo", "test"} <= named <= set(targets)


def test_the_recipes_load(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text("text,label\n")
    for name in ("more.jsonl", "corpus.jsonl", "heldout.jsonl"):
        (tmp_path / name).write_text("")
    found = []
    for block in blocks("yaml"):
        (tmp_path / "recipe.yaml").write_text(block, encoding="utf-8")
        found.append(set(load_recipe(tmp_path / "recipe.yaml").students))
    assert found == [{"transformer", "gru"}, {"half", "gru"}]


def test_the_python_runs(job: Path) -> None:
    tutelage("label", "recipe.yaml", "--set", "name=reviews", cwd=job)
    (block,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=job,
        env=environment(job),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (job / "student" / "config.json").is_file()


def test_linked_pages_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []
