"""A tiny language-model run from documents to numbers; again, nothing; with another student, the rest is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.journeys.tiny_job import sentences

from tutelage.config import load_recipe
from tutelage.recipes.causal_lm import run_language_model

RECIPE = """\
name: tiny
task: {{kind: causal_lm, sequence_length: 64}}
data: {{train: train.jsonl, validation: validation.jsonl, test: test.jsonl}}
teacher: {{kind: causal_lm, model: {model}}}
targets: {{kind: sampled, threshold: 0.05}}
students:
  half: {{kind: pruned, layers: 1}}
train: {{epochs: 2, batch_tokens: 256, micro_batch_tokens: 128, learning_rate: 5e-3}}
evaluate: {{control: true, bootstrap_samples: 100, generation_prompts: 1, generation_tokens: 4}}
"""


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_from_documents_to_numbers_and_nothing_twice(tmp_path: Path, model_folder: Path) -> None:
    rows = [text for text, _ in sentences(60, seed=0)]
    for name, part in (("train", rows[:40]), ("validation", rows[40:48]), ("test", rows[48:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in part), "utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=model_folder), encoding="utf-8")

    first = run_language_model(load_recipe(recipe), root=tmp_path / "runs", until="evaluate")  # type: ignore[arg-type]
    assert {stage.how for stage in first.stages} == {"done"}
    evaluation = json.loads(first.folder.evaluation_path.read_text("utf-8"))
    student, control = evaluation["students"]["half"], evaluation["controls"]["half"]
    assert evaluation["documents"] == 12
    for metrics in (student, control):
        assert metrics["kl"]["value"] > 0
        assert metrics["nats_per_token"]["low"] < metrics["nats_per_token"]["value"] < metrics["nats_per_token"]["high"]
    assert student["kl"]["value"] < control["kl"]["value"]  # the student learned from the teacher, the control did not
    assert control["nats_per_token"]["value"] < evaluation["teacher"]["nats_per_token"]["value"]  # random teacher

    reported = run_language_model(load_recipe(recipe), root=tmp_path / "runs", until="report")  # type: ignore[arg-type]
    assert {stage.name for stage in reported.stages if stage.how == "done"} == {"report"}
    page = reported.folder.report_path.read_text("utf-8")
    for words in ("The student “half” agrees with the teacher", "Tokens scored", "How they write", "12 test documents"):
        assert words in page

    again = run_language_model(load_recipe(recipe), root=tmp_path / "runs", until="report")  # type: ignore[arg-type]
    assert {stage.how for stage in again.stages} == {"kept"}

    changed = load_recipe(recipe, overrides=["students.gru={kind: rnn, hidden_size: 16}", "evaluate.control=false"])
    more = run_language_model(changed, root=tmp_path / "runs", until="train")  # type: ignore[arg-type]
    assert {stage.name: stage.how for stage in more.stages} == {
        "targets": "reused",
        "students/half": "reused",
        "students/gru": "done",
    }
