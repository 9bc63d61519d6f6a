"""Reading recipes and data is for every machine: what a bare `tutelage --help` or `check` must not
wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("room", ["config", "data"])
def test_importing_brings_nothing_heavy(room: str) -> None:
    heavy = {
        "torch",
        "transformers",
        "numpy",
        "pyarrow",
        "sklearn",
        "tutelage.data.examples.collate",
    }
    code = f"import sys, tutelage.{room}; print(sorted({heavy!r} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
