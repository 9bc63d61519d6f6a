"""A recipe does not run under a launcher of several processes."""

from __future__ import annotations

import pytest

from tutelage.errors import RecipeError
from tutelage.recipes.run import require_one_process


def test_a_recipe_runs_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    require_one_process()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match=r"WORLD_SIZE is 2.*one process"):
        require_one_process()
