"""An environment that has TRL, which tutelage itself does not need."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

TRL = "trl==1.16.0"
ENVIRONMENT = Path(__file__).parent / ".work" / "trl-env"


def python_with_trl() -> str:
    """This interpreter where it has TRL, else that of an environment made for it."""
    if importlib.util.find_spec("trl") is not None:
        return sys.executable
    python, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "done"
    if not done.exists():
        root = Path(__file__).parents[1]
        print(f"making an environment with TRL in {ENVIRONMENT}", file=sys.stderr)
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        pip += ["--constraint", root / "constraints.txt"]
        subprocess.run([*pip, "torch"], check=True)  # first and pinned, as in the Makefile
        subprocess.run([*pip, "--editable", root, TRL], check=True)
        done.touch()
    return str(python)
