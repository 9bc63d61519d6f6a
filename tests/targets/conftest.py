"""A store of class probabilities that tests may damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.targets.class_targets import open_writer
from tests.targets.twenty_rows import IDS, PROBS


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Twenty rows in three parts."""
    path = tmp_path / "targets"
    with open_writer(path) as writer:
        writer.add(IDS, PROBS)
        writer.finish()
    return path
