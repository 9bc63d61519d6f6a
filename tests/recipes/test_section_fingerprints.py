"""Stages of recipes written before have the fingerprints they had: a finished run stays finished.

The fingerprint of a stage names the sections of its recipe by the name of their class and what they
hold, so neither may change with where the options are declared. The constants were taken from the
code before options were declared once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tutelage.config import dump_recipe
from tutelage.recipes.loading import load_recipe
from tutelage.runs import fingerprint

CLASSIFICATION = """\
name: all
task: {kind: classification, labels: [bad, good]}
data:
  train: /data/train.csv
  test: 0.2
  unlabeled: [/data/a.jsonl]
  augment: {copies: 2, ngram_max: 4}
teacher: {kind: classifier, model: owner/teacher, fit: {method: lora, rank: 4}}
students:
  gru: {kind: rnn}
  lstm:
    kind: rnn
    cell: lstm
    dropout: 0.2
    max_length: 40
    tokenizer: {kind: word, vocabulary_size: 300, lowercase: false}
    embeddings: teacher_contextual
    embeddings_layer: 3
    train: {epochs: 3, ema_decay: 0.9}
    objective: {soft_weight: 0.5}
  former: {kind: transformer, heads: 3, tokenizer: {kind: teacher}, embeddings: teacher}
  given: {kind: pretrained, model: owner/name, max_length: 64}
train: {epochs: 4, seed: 3}
evaluate: {control: true}
"""

PROMPTED = """\
name: prompted
task: {kind: classification, labels: [bad, good]}
data: {train: /data/train.csv, validation: /data/validation.csv, test: /data/test.csv}
teacher:
  kind: prompted
  model: package:weights
  template: "{text}!"
  verbalizers: {bad: [" bad", " poor"], good: " good"}
  chat: false
  shots: 2
  calibration: batch
students: {former: {kind: transformer, layers: 2, intermediate_size: 80}}
"""

LANGUAGE = """\
name: language
task: {kind: causal_lm, sequence_length: 64}
data: {train: /data/train.jsonl, test: /data/test.jsonl, prompt_field: p, response_field: r}
teacher: {kind: causal_lm, model: owner/teacher, dtype: float32}
targets: {kind: hidden}
students:
  half: {kind: pruned, layers: 2, hidden_weight: 0.5, lora: {rank: 4}}
  cut: {kind: pruned, heads: 1, vocabulary: corpus, choice: influence}
  fresh: {kind: transformer, hidden_size: 64, heads: 2, kv_heads: 1, embeddings: teacher}
  gru: {kind: rnn}
  lstm:
    kind: rnn
    cell: lstm
    hidden_size: 16
    embedding_size: 8
    dropout: 0.0
    train: {token_budget: 1000}
    objective: {divergence: alpha_beta, alpha: 0.3}
  given: {kind: pretrained, model: owner/name}
objective: {divergence: jensen_shannon, beta: 0.4, loss_temperature: 2.0}
train: {epochs: 2, schedule: wsd, seed: 1}
"""

SAMPLED = """\
name: sampled
task: {kind: causal_lm}
data: {train: /data/train.jsonl, test: /data/test.jsonl}
teacher: {kind: causal_lm, model: owner/teacher}
targets: {kind: sampled, budget: 12}
students: {gru: {kind: rnn, layers: 2}}
"""

TOP_K = SAMPLED.replace("sampled, budget: 12", "top_k")


def parts(recipe: Any) -> dict[str, str]:
    """What stages hash of a recipe, by a name for each."""
    sections = ("task", "data", "teacher", "targets", "objective", "train", "evaluate")
    found = {name: fingerprint(getattr(recipe, name)) for name in sections}
    for name, student in recipe.students.items():
        found[f"students.{name}"] = fingerprint(student)
        found[f"train_for.{name}"] = fingerprint(recipe.train_for(name))
        found[f"objective_for.{name}"] = fingerprint(recipe.objective_for(name))
    # A run folder belongs to the recipe whose text, as it is written out in full, it holds.
    return {**found, "recipe": fingerprint(recipe), "text": fingerprint(dump_recipe(recipe))}


BEFORE: dict[str, dict[str, str]] = {
    CLASSIFICATION: {
        "task": "469163d7d314a6d0",
        "data": "330405c0afe13c8d",
        "teacher": "ad9803c2d55a484a",
        "targets": "0c699e387fcbde06",
        "objective": "fc91e8319336ec48",
        "train": "7e49d19f70726b4e",
        "evaluate": "dbd5e6e023844230",
        "students.gru": "762625efecf9a633",
        "train_for.gru": "7e49d19f70726b4e",
        "objective_for.gru": "fc91e8319336ec48",
        "students.lstm": "3d9ab49d3521d30a",
        "train_for.lstm": "8d20d527b610574d",
        "objective_for.lstm": "a3d6a82c9a53a728",
        "students.former": "84e6ae43ffbc08fb",
        "train_for.former": "7e49d19f70726b4e",
        "objective_for.former": "fc91e8319336ec48",
        "students.given": "7ba132281bb4363a",
        "train_for.given": "7e49d19f70726b4e",
        "objective_for.given": "fc91e8319336ec48",
        "recipe": "ba7f545115941ed7",
        "text": "f5460eb6eaf23862",
    },
    PROMPTED: {
        "task": "469163d7d314a6d0",
        "data": "8f1a82044b31c4f9",
        "teacher": "e16d42081b1a9805",
        "targets": "0c699e387fcbde06",
        "objective": "fc91e8319336ec48",
        "train": "c6d958a02541c663",
        "evaluate": "db658df05c406b39",
        "students.former": "0e1a6f16aec495b0",
        "train_for.former": "c6d958a02541c663",
        "objective_for.former": "fc91e8319336ec48",
        "recipe": "98ccbb85ca7b564c",
        "text": "c59e2373c2db29f8",
    },
    LANGUAGE: {
        "task": "c8732257c1228f49",
        "data": "a0586f11b0e714bf",
        "teacher": "f3056199c2027954",
        "targets": "18fe310626863f69",
        "objective": "8857f1171f591ce3",
        "train": "15416ad049c17e86",
        "evaluate": "c6394962bba7536e",
        "students.half": "2f95dbdb927ce6bf",
        "train_for.half": "15416ad049c17e86",
        "objective_for.half": "8857f1171f591ce3",
        "students.cut": "eab8812e05ae8b74",
        "train_for.cut": "15416ad049c17e86",
        "objective_for.cut": "8857f1171f591ce3",
        "students.fresh": "e89025b97d7b0b0a",
        "train_for.fresh": "15416ad049c17e86",
        "objective_for.fresh": "8857f1171f591ce3",
        "students.gru": "85aa144b1e0badd8",
        "train_for.gru": "15416ad049c17e86",
        "objective_for.gru": "8857f1171f591ce3",
        "students.lstm": "97660d5802720446",
        "train_for.lstm": "df5c357b8b1eeb68",
        "objective_for.lstm": "2a488bf64084c0c9",
        "students.given": "861edf8c9c759687",
        "train_for.given": "15416ad049c17e86",
        "objective_for.given": "8857f1171f591ce3",
        "recipe": "f242b0070251ef1b",
        "text": "2abacbf8280b2574",
    },
    SAMPLED: {
        "task": "bf0e755bd775b912",
        "data": "391ecc3c247769cd",
        "teacher": "6d76c8d3ae4be497",
        "targets": "e5178f1e29052742",
        "objective": "9800688cc8987a9f",
        "train": "003585fc95e97620",
        "evaluate": "c6394962bba7536e",
        "students.gru": "ff19f497234a6a40",
        "train_for.gru": "003585fc95e97620",
        "objective_for.gru": "9800688cc8987a9f",
        "recipe": "4494af1ed332fc35",
        "text": "07e2d468c5c71379",
    },
    TOP_K: {
        "task": "bf0e755bd775b912",
        "data": "391ecc3c247769cd",
        "teacher": "6d76c8d3ae4be497",
        "targets": "2c4326260cae74cd",
        "objective": "9800688cc8987a9f",
        "train": "003585fc95e97620",
        "evaluate": "c6394962bba7536e",
        "students.gru": "ff19f497234a6a40",
        "train_for.gru": "003585fc95e97620",
        "objective_for.gru": "9800688cc8987a9f",
        "recipe": "8f98fa288304999d",
        "text": "861edaf1254e25e7",
    },
}


@pytest.mark.parametrize("text", list(BEFORE), ids=lambda text: text.partition("\n")[0])
def test_the_sections_of_a_recipe_have_the_fingerprints_they_had(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, "utf-8")
    assert parts(load_recipe(path)) == BEFORE[text]


def test_a_student_that_is_trained_in_part_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    path, found = tmp_path / "recipe.yaml", set()
    for more in ("", "freeze: 0", "freeze: 1", "head_learning_rate: 1e-3", "lora: {}"):
        student = f"model: owner/name, max_length: 64, {more}".rstrip(", ")
        path.write_text(CLASSIFICATION.replace("model: owner/name, max_length: 64", student))
        recipe = load_recipe(path)
        found.add(fingerprint(recipe.students["given"]))
        path.write_text(dump_recipe(recipe))
        assert load_recipe(path) == recipe
    assert len(found) == 5
    assert BEFORE[CLASSIFICATION]["students.given"] in found
