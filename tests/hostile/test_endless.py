"""Files that never end, or unfold without end, as the data of whole commands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.hostile.asking import answer
from tests.recipes.language_job import KNOWN, texts, tiny_teacher

CLASSES = """\
task: {{kind: classification, labels: [bad, good]}}
data: {{train: {train}, test: 0.2}}
teacher: {{kind: prompted, model: teacher}}
students: {{gru: {{kind: rnn}}}}
"""
LANGUAGE = """\
task: {{kind: causal_lm, sequence_length: 64}}
data: {{train: {train}, test: 0.2}}
teacher: {{kind: causal_lm, model: teacher}}
students: {{gru: {{kind: rnn, hidden_size: 8}}}}
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    model, tokenizer = tiny_teacher(texts(KNOWN, 60, seed=1))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**42)


def one_line(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'{"text": "' if path.suffix == ".jsonl" else b"text,label\n")
        file.truncate(2**28)


def bomb(path: Path) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300_000, np.int32)), ["x" * 1000])
    pq.write_table(pa.table({"text": column, "label": ["good"] * 300_000}), path)


def deep(path: Path) -> None:
    path.write_text("[" * 200_000)


def many_keys(path: Path) -> None:
    path.write_text(json.dumps(dict.fromkeys(map(str, range(50_000)))) + "\n")


FILES = [
    (device, "rows.csv", "is a device, which may never end"),
    (pipe, "rows.jsonl", "is a pipe, which may never end"),
    (sparse, "rows.csv", "expected at most 8,589,934,592: cut it into several files"),
    (one_line, "rows.jsonl", "raise data.max_row_bytes"),
    (one_line, "rows.tsv", "raise data.max_row_bytes"),
    (bomb, "rows.parquet", "raise data.max_file_bytes"),
    (deep, "rows.jsonl", "this is one JSON list"),
    (many_keys, "rows.jsonl", "no column `text`"),
]


@pytest.mark.parametrize("task", [CLASSES, LANGUAGE], ids=["classes", "language"])
@pytest.mark.parametrize(
    ("make", "name", "message"), FILES, ids=[f"{make.__name__}-{name}" for make, name, _ in FILES]
)
def test_a_file_without_end_is_refused_by_check_and_run(
    task: str, make: object, name: str, message: str, teacher: Path, tmp_path: Path
) -> None:
    assert callable(make)
    make(tmp_path / name)
    (tmp_path / "teacher").symlink_to(teacher)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(task.format(train=name))
    for words in (("check", recipe), ("run", recipe, "--out", tmp_path / "run")):
        code, said = answer(*words)
        assert code == 2, said
        assert message in said
