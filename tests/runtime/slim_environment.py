"""A Python where a wheel is installed with numpy, onnxruntime and tokenizers, and nothing else.

The three come from the environment of the tests by links, so nothing is fetched."""

import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path

LINKED = ("numpy", "numpy.libs", "onnxruntime", "tokenizers")


def slim_environment(folder, wheel):
    """Make it, and give the folder of its commands."""
    venv.create(folder, with_pip=False, symlinks=True)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    python = commands / "python"
    [site] = (folder / "lib").rglob("site-packages")
    installed = Path(importlib.util.find_spec("numpy").origin).parent.parent
    for name in LINKED:
        if (installed / name).is_dir():
            (site / name).symlink_to(installed / name)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    call([*pip, "install", "--no-deps", "--no-index", "--quiet", str(wheel)])
    assert call([python, "-c", "import torch"], code=1) == ""
    return commands


def call(words, *, code=0):
    """What a command says; PYTHONPATH is not handed down."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)), capture_output=True, encoding="utf-8", env=environment, cwd="/"
    )
    assert done.returncode == code, done.stderr
    return done.stdout
