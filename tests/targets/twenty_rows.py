"""A store of twenty rows to damage, and the check that everything which opens it refuses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.targets.class_targets import open_writer

from tutelage.errors import TargetsCorrupt
from tutelage.targets import TargetStore, inspect, verify
from tutelage.types import example_id

IDS = [example_id(f"text {number}") for number in range(20)]
PROBS = np.random.default_rng(0).dirichlet([1, 1, 1], 20).astype(np.float32)


def assert_broken(path: Path, message: str) -> None:
    """Reader, verifier, inspector and writer all say it."""
    for call in (lambda: TargetStore.open(path), lambda: inspect(path), lambda: open_writer(path)):
        with pytest.raises(TargetsCorrupt, match=message):
            call()
    found = verify(path)
    assert len(found) == 1
    with pytest.raises(TargetsCorrupt, match=message):
        raise TargetsCorrupt(found[0])
