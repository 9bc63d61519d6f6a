"""The estimate, and the refusal of what would not fit."""

from __future__ import annotations

import pytest

from tutelage.errors import NotEnoughDisk, RecipeError
from tutelage.recipes.checking import matrix_product_rate, require_disk
from tutelage.recipes.classification import require_one_process


def test_what_does_not_fit_with_a_margin_is_refused() -> None:
    require_disk({"disk_bytes": 1_000_000_000, "free_disk_bytes": 1_300_000_000})
    with pytest.raises(NotEnoughDisk, match=r"about 1\.20 GB would be written but 1\.10 GB are free\. Free some space"):
        require_disk({"disk_bytes": 1_000_000_000, "free_disk_bytes": 1_100_000_000})


def test_the_rate_is_that_of_a_machine_of_this_world() -> None:
    assert 1e8 < matrix_product_rate(size=256) < 1e15


def test_a_recipe_runs_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    require_one_process()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match=r"WORLD_SIZE is 2.*one process"):
        require_one_process()
