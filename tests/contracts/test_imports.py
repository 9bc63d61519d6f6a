"""The rooms that must work without torch import where there is none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tutelage.tasks import KINDS

BLOCK = """
import sys

class Absent:
    # as if these packages were not installed
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "accelerate", "peft"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Absent())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "room",
    [
        "cli",
        "config",
        "runs",
        "metrics",
        "targets",
        "report",
        *(
            f"{module.removeprefix('tutelage.').removesuffix('.task')}.report"
            for module in KINDS.values()
        ),
        "types",
        "errors",
    ],
)
def test_a_room_imports_without_torch(room):
    done = run(
        "import importlib, pkgutil\n"
        f"room = importlib.import_module('tutelage.{room}')\n"
        "for found in pkgutil.walk_packages(getattr(room, '__path__', []), room.__name__ + '.'):\n"
        "    if not found.name.endswith('__main__'):\n"
        "        importlib.import_module(found.name)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("package", ["torch", "transformers", "accelerate", "peft", "torch.nn"])
def test_the_block_blocks(package):
    done = run(f"import {package}")
    assert done.returncode == 1
    assert f"No module named '{package.partition('.')[0]}'" in done.stderr


def test_help_needs_no_torch():
    done = run(
        "sys.argv = ['tutelage', '--help']\nfrom tutelage.cli.main import main\nsys.exit(main())"
    )
    assert done.returncode == 0, done.stderr
    assert "tutelage" in done.stdout
