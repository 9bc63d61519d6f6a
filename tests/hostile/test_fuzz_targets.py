"""What the fuzzer is given reads its first inputs, and a few that are spoiled: so it cannot rot."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.hostile.asking import bounded
from tests.hostile.fuzzing.__main__ import NAMES
from tests.hostile.fuzzing.mutating import mutated
from tests.hostile.fuzzing.targets import TARGETS


# What a model folder says takes seconds to read; tests/hostile/test_models.py does so as well.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "model_config"])
def test_a_target_reads_what_it_begins_with(name: str, tmp_path: Path) -> None:
    assert list(TARGETS) == NAMES
    target, draw = TARGETS[name](tmp_path), random.Random(0)
    with bounded():
        for seed in target.seeds:
            target.read(seed)
            for _ in range(4):
                at = draw.randrange(len(seed))
                target.read(seed[:at] + draw.randbytes(2) + seed[at + 2 :])
                if (start := target.json_from) is not None:
                    target.read(seed[:start] + (mutated(seed[start:], draw) or b""))
