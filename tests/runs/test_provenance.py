"""Provenance says where a result came from, and is JSON."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from importlib.metadata import version

import numpy as np

from tutelage.runs import provenance


def test_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = json.loads(json.dumps(provenance(), allow_nan=False))
    assert list(found) == ["tutelage", "created", "python", "packages", "machine", "git"]
    assert found["packages"]["numpy"] == np.__version__
    assert found["packages"]["pyarrow"] == version("pyarrow")
    assert datetime.fromisoformat(found["created"]).utcoffset() is not None
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_bytes"] > 2**20
    assert found["machine"]["cpu"]
    assert found["git"] is None


def test_the_state_of_git(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def git(*words: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        return subprocess.run(
            ["git", *identity, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    assert provenance()["git"] == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "new").write_text("")
    assert provenance()["git"]["dirty"] is True
