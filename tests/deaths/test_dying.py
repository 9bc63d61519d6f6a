"""The harness itself, with a command that takes no time, and what it must notice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.deaths.comparing import contents, differences, varying
from tests.deaths.dying import Death, End, Volume, faults, run

from tutelage.cli.main import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc are Linux's")


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    place = tmp_path / "disk"
    place.mkdir()
    assert main(["init", str(tmp_path / "once.yaml"), "--quiet"]) == 0  # what forks then have
    found = Volume.__new__(Volume)
    found.place, found.mounted = place, False
    return found


@pytest.mark.parametrize(
    ("death", "code", "left"),
    [
        (None, 0, {"recipe.yaml"}),
        (Death("SIGKILL", event=1), -9, set()),
        (Death("SIGTERM", event=2), -15, None),
        (Death("SIGINT", event=1), 130, set()),
        (Death("allocation", event=2), 1, set()),
        (Death("file size", amount=500), 1, set()),
    ],
)
def test_a_command_dies_as_it_is_told_and_goes_on(
    death: Death | None, code: int, left: set[str] | None, volume: Volume, tmp_path: Path
) -> None:
    words = ["init", "recipe.yaml", "--quiet"]
    end = run(words, cwd=volume.place, volume=volume, log=tmp_path / "log", death=death)
    assert end.code == code, end.said
    assert faults(end, death) == []
    assert left is None or names_in(volume.place) == left
    if death is not None:
        assert run(words, cwd=volume.place, volume=volume, log=tmp_path / "log").code == 0


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name[0] != "."}


def test_faults_are_noticed() -> None:
    kill = Death("SIGKILL", event=1)
    assert faults(End(1, "Traceback (most recent call last):", 0.0, 0), kill)
    assert faults(End(-11, "", 0.0, 0), kill)
    assert faults(End(1, "", 0.0, 0), kill)
    assert faults(End(1, "StorageError: the disk is full. Free some space", 0.0, 0), kill) == []


def test_other_bytes_are_noticed_and_other_times_are_not(tmp_path: Path) -> None:
    for name, seconds, loss in (("a", 1, 0.5), ("b", 2, 0.5), ("c", 3, 0.25)):
        (tmp_path / name).mkdir()
        text = f'{{"seconds": {seconds}, "at": {seconds}, "loss": {loss}}}'
        (tmp_path / name / "x.json").write_text(text)
        (tmp_path / name / "weights").write_bytes(b"same" if name != "c" else b"other")
    one, two, three = (contents(tmp_path / name) for name in "abc")
    may_vary = varying(one, two)
    assert differences(one, two, may_vary) == []
    assert differences(one, three, may_vary) == ["weights ", "x.json /loss"]
