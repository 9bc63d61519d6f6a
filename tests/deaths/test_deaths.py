"""Commands that die at random moments and are started again: the same bytes, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DEATHS = int(os.environ.get("TUTELAGE_DEATHS", "0"))
"""How many; each takes some seconds. CI's share of them are the tests beside this one."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked and killed")
@pytest.mark.skipif(not DEATHS, reason="TUTELAGE_DEATHS says how many; each takes some seconds")
@pytest.mark.timeout(0)
def test_whatever_kills_a_command_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.deaths", str(tmp_path), str(DEATHS), "0"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert json.loads(done.stdout.splitlines()[-1])["faults"] == 0
