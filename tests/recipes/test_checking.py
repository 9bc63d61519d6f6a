"""The estimate, and the refusal of what would not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.errors import NotEnoughDisk, RecipeError
from tutelage.recipes.run import require_one_process
from tutelage.runs import RunFolder
from tutelage.tasks.classification.checking import matrix_product_rate, require_disk, still_to_write


def test_what_does_not_fit_with_a_margin_is_refused() -> None:
    require_disk({"disk_bytes": 1_000_000_000, "free_disk_bytes": 1_300_000_000})
    with pytest.raises(
        NotEnoughDisk,
        match=r"about 1\.20 GB would be written but 1\.10 GB are free\. Free some space",
    ):
        require_disk({"disk_bytes": 1_000_000_000, "free_disk_bytes": 1_100_000_000})


def test_what_is_written_need_not_fit_again_and_what_is_no_longer_asked_for_frees_nothing(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path)
    for name, size in (("targets", 700), ("students/one/checkpoints", 200), ("controls/one", 5)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "part").write_bytes(bytes(size))
    stages = {"targets": "now", "students/one": "now"}
    estimate = {"disk_bytes": 1000, "free_disk_bytes": 9}
    assert still_to_write(estimate, folder, stages) == {"disk_bytes": 100, "free_disk_bytes": 9}
    folder.stage("targets").mark_done("now", seconds=1.0)
    assert still_to_write(estimate, folder, stages)["disk_bytes"] == 100
    folder.stage("targets").mark_done("of other rows", seconds=1.0)
    assert still_to_write(estimate, folder, stages)["disk_bytes"] == 800
    assert still_to_write({"disk_bytes": 100}, folder, stages)["disk_bytes"] == 0
    assert still_to_write(estimate, RunFolder(tmp_path / "none"), stages)["disk_bytes"] == 1000


def test_the_rate_is_that_of_a_machine_of_this_world() -> None:
    assert 1e8 < matrix_product_rate(size=256) < 1e15


def test_a_recipe_runs_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    require_one_process()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match=r"WORLD_SIZE is 2.*one process"):
        require_one_process()
