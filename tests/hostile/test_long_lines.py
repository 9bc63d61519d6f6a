"""Files that are one line, and bodies without end: refused, or passed over, in little memory.

A line here has 64 MiB; `TUTELAGE_LINE_BYTES=1073741824` makes it a gigabyte. Files are sparse: they
take no room on a disk. Memory is what a process of its own takes at its peak, less what it held when
everything was imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.hostile.asking import bounded
from tests.hostile.in_process import PATHS, Served, answer_of, good
from tests.hostile.stores import lay_out
from tests.runtime.conftest import TEXTS
from tests.runtime.tiny_bundles import LABELS, write_tokens

from tutelage.students.vocabulary.training import train_tokenizer

LINE_BYTES = int(os.environ.get("TUTELAGE_LINE_BYTES", str(1 << 26)))
MOST_MB = 220
"""That a process takes, whatever the line has: rows may have 16 MiB, in a few copies."""
PROGRAM = """
import contextlib, io, json, sys
from pathlib import Path
from tests.hostile.asking import _memory, _reset_peak
import tutelage.data, tutelage.teachers.recorded.reading, tutelage.recipes.traffic, numpy
import pyarrow.parquet, tutelage.targets, tutelage_runtime.session, tutelage_runtime.releases
from tutelage.cli.main import main
import tutelage_runtime.predicting as predicting
kind, *words = sys.argv[1:]
_reset_peak()
before, _ = _memory()
said = io.StringIO()
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    try:
        if kind == "predict":
            code = predicting.main(words)
        elif kind == "traffic":
            from tutelage.recipes.traffic import read_traffic
            code, _ = 2, read_traffic(Path(words[0]), ("a", "b"))
        elif kind == "release":
            from tutelage_runtime.releases import resolved
            code, _ = 2, resolved(Path(words[0]))
        else:
            code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    except Exception as error:
        code = 2
        print(type(error).__name__, error)
_, peak = _memory()
print(json.dumps({"code": code, "mb": (peak - before) / 1e6, "said": said.getvalue()[-2000:]}))
"""
RECIPE = """\
task: {{kind: classification, labels: [bad, good]}}
data: {{train: {train}, test: 0.2}}
teacher: {{kind: recorded, file: {train}}}
students: {{gru: {{kind: rnn}}}}
"""


def one_line(path: Path, beginning: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(beginning)
        file.truncate(LINE_BYTES)
    return path


def asked(*words: object) -> tuple[int, float, str]:
    """Exit code, MB and words of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return found["code"], found["mb"], found["said"]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = train_tokenizer(TEXTS, kind="wordpiece", vocabulary_size=120).backend_tokenizer
    return write_tokens(tmp_path_factory.mktemp("student") / "tiny", tokenizer)


def commands(place: Path, student: Path) -> dict[str, tuple[Any, ...]]:
    one_line(place / "rows.csv", b"text,label\n")
    one_line(place / "rows.jsonl", b'{"text": "')
    one_line(place / "rows.txt")
    (place / "recipe.yaml").write_text(RECIPE.format(train="rows.jsonl"))
    lay_out(place / "store", "class_probabilities", described=True)
    one_line(place / "store/manifest.json", b'{"format": "')
    (place / "traffic").mkdir()
    one_line(place / "traffic/traffic-1.jsonl", b'{"request": "')
    (place / "bundle").mkdir()
    one_line(place / "bundle/student.json", b'{"a": "')
    (place / "service").mkdir()
    one_line(place / "service/current.json", b'{"a": "')
    return {
        "csv": ("main", "import", place / "rows.csv"),
        "jsonl": ("main", "check", place / "recipe.yaml"),
        "answers": ("main", "import", place / "rows.jsonl"),
        "recipe": ("main", "check", one_line(place / "long.yaml", b"name: ")),
        "manifest": ("main", "targets", "verify", place / "store"),
        "texts": ("predict", student, "--file", place / "rows.txt"),
        "cells": ("predict", student, "--file", place / "rows.csv"),
        "values": ("predict", student, "--file", place / "rows.jsonl"),
        "traffic": ("traffic", place / "traffic"),
        "bundle": ("predict", place / "bundle", "a text"),
        "release": ("release", place / "service"),
    }


KINDS = ["csv", "jsonl", "answers", "recipe", "manifest", "texts", "cells", "values", "traffic",
         "bundle", "release"]  # fmt: skip
QUICK = ["jsonl", "values", "traffic"]
"""What is asked in every run of the tests; processes take seconds to begin."""


@pytest.mark.parametrize("kind", KINDS if "TUTELAGE_LINE_BYTES" in os.environ else QUICK)
def test_a_file_of_one_line_takes_little_memory(kind: str, student: Path, tmp_path: Path) -> None:
    code, megabytes, said = asked(*commands(tmp_path, student)[kind])
    print(f"{kind}: {megabytes:.0f} MB")
    assert code in (1, 2), said
    assert "not an error that tutelage expected" not in said, said
    assert "Traceback" not in said, said
    assert megabytes < MOST_MB, said


def test_a_body_without_end_is_not_kept(student: Path) -> None:
    served = Served(student)
    part = bytes(1 << 20)
    try:
        with bounded():
            status, _ = served.ask("/classify", [part] * (LINE_BYTES >> 20))
        assert status == 413
        body = json.dumps(good(PATHS[0], LABELS)).encode()
        assert answer_of(PATHS[0], served.ask(PATHS[0], body)[1]) in LABELS
    finally:
        served.close()
