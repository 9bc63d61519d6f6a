"""Teachers of both tasks through their specs: what finished runs are known by stays the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tutelage.config import dump_recipe
from tutelage.recipes.loading import load_recipe
from tutelage.tasks.classification.data import prepare_data
from tutelage.tasks.classification.teaching import teacher_fingerprint
from tutelage.tasks.language.data import assignment_of, teacher_spec
from tutelage.tasks.language.data import teacher_fingerprint as language_teacher_fingerprint

# As the versions before the specs computed them. Another value here means that every finished run
# fits its teacher and writes its targets again.
FINGERPRINTS = {
    "{kind: classifier}": ("16a7361ef1e994be", "2a7886ef2a195ef7"),
    "{kind: classifier, seed: 3, max_length: 64, batch_tokens: 7, fit: {method: head, layers: "
    "[1, 2], pooling: [last], regularisation: 0.5, cross_fit: 0, calibrate: false}}": (
        "4372c7db45cd844c",
        "2ba357a41cff6a9e",
    ),
    "{kind: classifier, dtype: float32, fit: {method: lora, rank: 4, cross_fit: 2}}": (
        "1fa01523250f9642",
        "4f1ca15ea771a9f7",
    ),
    "{kind: classifier, trust_remote_code: true, fit: {method: full, epochs: 3}}": (
        "a3a00c8c6008cecd",
        "fc0f8e950afefb24",
    ),
    "{kind: classifier, fit: {method: none}}": ("acc056a2535056c0", "acc056a2535056c0"),
    "{kind: prompted}": ("5f119b5ec62f8139", "6e2f391886f02742"),
    "{kind: prompted, instruction: Judge., template: 'Text: {text}', verbalizers: {good: [great, "
    "fine], bad: poor}, chat: false, shots: 2, calibration: contextual}": (
        "36e02639b4d86dc4",
        "2b29a36eacab0917",
    ),
    "{kind: prompted, calibration: fitted}": ("c82b0704b0bf929b", "01e4c1f229cbdd37"),
}
LANGUAGE_FINGERPRINTS = {"auto": "857c7b6844932b69", "bfloat16": "1496304120346b4b"}
RECIPE = """\
task: {{kind: classification, labels: [bad, good]}}
data: {{train: train.csv, validation: test.csv, test: test.csv{data}}}
teacher: {teacher}
students: {{one: {{kind: rnn}}}}
"""
LANGUAGE_RECIPE = """\
task: {{kind: causal_lm}}
data: {{train: train.csv, test: test.csv}}
teacher: {{kind: causal_lm, model: model, dtype: {dtype}, batch_tokens: 9}}
students: {{one: {{kind: rnn}}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that only its bytes tell apart, and rows."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}\n')
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "tokenizer.json").write_text("{}")
    names = ["bad", "good"]
    rows = [f"text {n} is {names[n % 2]},{names[n % 2]},{n // 4}\n" for n in range(40)]
    for name, part in (("train", rows[:30]), ("test", rows[30:])):
        (tmp_path / f"{name}.csv").write_text("text,label,author\n" + "".join(part))
    return tmp_path


@pytest.mark.parametrize("teacher", FINGERPRINTS)
def test_a_teacher_is_known_by_the_same_fingerprint_as_ever(folder: Path, teacher: str) -> None:
    found = []
    for data in ("", ", group_field: author"):
        recipe = folder / "recipe.yaml"
        with_model = teacher.replace("{", "{model: model, ", 1)
        recipe.write_text(RECIPE.format(teacher=with_model, data=data))
        loaded: Any = load_recipe(recipe)
        found.append(teacher_fingerprint(loaded, prepare_data(loaded)))
    assert tuple(found) == FINGERPRINTS[teacher]


@pytest.mark.parametrize("dtype", LANGUAGE_FINGERPRINTS)
def test_a_language_teacher_too(folder: Path, dtype: str) -> None:
    (folder / "recipe.yaml").write_text(LANGUAGE_RECIPE.format(dtype=dtype))
    loaded: Any = load_recipe(folder / "recipe.yaml")
    assert language_teacher_fingerprint(loaded) == LANGUAGE_FINGERPRINTS[dtype]
    assert teacher_spec(loaded).weights(assignment_of(loaded))[1] == dtype


def test_a_teacher_is_written_out_as_ever(folder: Path) -> None:
    """A run folder belongs to the text of its recipe."""
    recipe = folder / "recipe.yaml"
    teacher = "{kind: classifier, model: owner/name, fit: {method: lora}}"
    recipe.write_text(RECIPE.format(teacher=teacher, data=""))
    written = dump_recipe(load_recipe(recipe))
    assert (
        written.partition("teacher:\n")[2].partition("targets:")[0]
        == """\
  kind: classifier
  model: owner/name
  dtype: auto
  trust_remote_code: false
  batch_tokens: 4096
  max_length: 512
  seed: 0
  fit:
    method: lora
    rank: 8
    epochs: 2
    learning_rate: 0.0002
    batch_size: 16
    cross_fit: 0
"""
    )
