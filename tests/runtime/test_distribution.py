"""The slim distribution: what it says it needs, and that it works where nothing else is."""

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.slim_environment import call, slim_environment

from tutelage_runtime import load

ROOT = Path(__file__).parents[2]
SLIM, WHOLE = (
    tomllib.loads((ROOT / path).read_text())["project"]
    for path in ("runtime/pyproject.toml", "pyproject.toml")
)


def test_both_distributions_ask_for_the_same_packages():
    assert SLIM["version"] == WHOLE["version"]
    assert SLIM["requires-python"] == WHOLE["requires-python"]
    extras = WHOLE["optional-dependencies"]
    assert set(SLIM["dependencies"]) <= {*WHOLE["dependencies"], *extras["serve"]}
    onnxruntime = {one for one in SLIM["dependencies"] if one.startswith("onnxruntime")}
    assert set(SLIM["optional-dependencies"]["serve"]) | onnxruntime == set(extras["serve"])
    assert SLIM["scripts"].items() <= WHOLE["scripts"].items()


def test_the_licence_goes_with_the_package():
    inside = ROOT / "src/tutelage_runtime/LICENSE"
    assert inside.read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.slow
def test_installed_alone_it_answers(bundle, tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="builds the wheel")
    sources = tmp_path / "sources"
    shutil.copytree(ROOT / "runtime", sources / "runtime")
    shutil.copytree(ROOT / "src/tutelage_runtime", sources / "src/tutelage_runtime")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, "-w", tmp_path, sources / "runtime"], check=True)
    [wheel] = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    assert packed == {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src/tutelage_runtime").rglob("*.py")
    }
    commands = slim_environment(tmp_path / "venv", wheel)
    texts = ["a fine film", "naïve 👩\u200d👧"]
    told = call([commands / "tutelage-runtime", "predict", bundle, "--json", *texts])
    probs = [list(json.loads(line)["probs"].values()) for line in told.splitlines()]
    np.testing.assert_allclose(probs, load(bundle).probs(texts), atol=1e-6)
