"""Processes of one launch talk to each other, and notice it when one is gone."""

from pathlib import Path

import pytest
from tests.processes.launching import launch

from tutelage.processes import ALONE, crew, is_launched

TALK = str(Path(__file__).with_name("talk.py"))


def test_a_process_alone_is_a_crew_of_one():
    assert crew() is ALONE
    assert ALONE.leads
    assert ALONE.told("word") == "word"
    assert ALONE.gathered(1) == [1]
    assert list(ALONE.share("abc")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("size", "rank", "expected"),
    [("2", "1", True), ("1", "0", False), ("2", None, False), ("two", "0", False)],
)
def test_a_launch_tells_how_many_and_who(monkeypatch, size, rank, expected):
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert is_launched() is expected


def test_two_processes_talk():
    done = launch([TALK])
    assert done.returncode == 0, done.stderr
    for line in (
        "0 told {'from': 0}", "1 told {'from': 0}", "0 gathered [0, 10]", "1 gathered [0, 10]",
        "0 share [0, 2, 4]", "1 share [1, 3]",
    ):  # fmt: skip
        assert line in done.stdout


def test_a_process_that_dies_is_noticed_by_the_others():
    done = launch([TALK, "die"])
    assert done.returncode != 0
    assert "0 lost: another of the 2 processes has ended" in done.stdout
