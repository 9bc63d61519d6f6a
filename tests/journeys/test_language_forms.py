"""Every form of document, every kind of targets and every kind of student, from files to
evaluation.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.journeys.tiny_language_job import write_language_job, write_teacher

from tutelage.errors import TrainingDiverged
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run as run_recipe
from tutelage.runs import MetricsLog
from tutelage.targets import TargetStore
from tutelage.tasks.language.data import prepare_language_data, teacher_tokenizer

METRICS = {"nats_per_token", "bits_per_byte", "kl", "top1_agreement", "acceptance", "ece"}
COSTS = {"parameters", "disk_bytes", "latency_ms_p50", "latency_ms_p95", "tokens_per_second"}


@dataclass(frozen=True)
class Case:
    form: str
    targets: str
    students: str
    objective: str = "{divergence: forward_kl}"


CASES = {
    "text, sampled": Case(
        "text",
        "{kind: sampled, budget: 10}",
        """fresh: {kind: transformer, layers: 1, hidden_size: 16, heads: 2, embeddings: teacher}
           lstm: {kind: rnn, cell: lstm, hidden_size: 16, embedding_size: 12}""",
        "{soft_weight: 0.9, soft_weight_final: 0.5}",
    ),
    "pairs, top_k": Case(
        "pairs",
        "{kind: top_k, k: 20}",
        """half: {kind: pruned, layers: 1, choice: influence, train: {learning_rate: 1e-3}}
           copy: {kind: pretrained, model: ./teacher, lora: {rank: 2, alpha: 4}}""",
        "{divergence: reverse_kl}",
    ),
    "messages, hidden": Case(
        "messages",
        "{kind: hidden}",
        """narrow: {kind: pruned, layers: 1, hidden_weight: 0.5}
           adapted: {kind: transformer, layers: 1, hidden_size: 16, heads: 2, lora: {rank: 2}}""",
        "{divergence: jensen_shannon, loss_temperature: 2.0}",
    ),
    "messages, live": Case(
        "messages",
        "{kind: live}",
        "gru: {kind: rnn, cell: gru, hidden_size: 16, embeddings: teacher}",
        "{divergence: skew_reverse_kl, soft_weight: 1.0}",
    ),
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("language") / "teacher")


@pytest.fixture(autouse=True)
def _without_probing_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a process for each model; `test_language_run` does it."""
    monkeypatch.setattr("tutelage.evaluate.tokens.cost.peak_memory_bytes", lambda *_: None)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", CASES)
def test_from_documents_to_evaluation(name: str, teacher: Path, tmp_path: Path) -> None:
    case = CASES[name]
    path = write_language_job(
        tmp_path,
        teacher,
        form=case.form,
        targets=case.targets,
        students=case.students,
        objective=case.objective,
    )
    recipe: Any = load_recipe(path)
    outcome = run_recipe(recipe, root=tmp_path / "runs", until="evaluate")
    data = prepare_language_data(recipe, teacher_tokenizer(recipe))
    evaluation = json.loads(outcome.folder.evaluation_path.read_text("utf-8"))

    assert (evaluation["task"], evaluation["documents"]) == ("causal_lm", 12)
    assert evaluation["tokens"] == sum(document.positions for document in data.test)
    teacher_nats = evaluation["teacher"]["nats_per_token"]["value"]
    assert teacher_nats > np.log(340)  # a random teacher knows nothing of the text
    for group in ("students", "controls"):
        assert set(evaluation[group]) == set(recipe.students)
        for metrics in evaluation[group].values():
            assert set(metrics) >= METRICS | COSTS
            for metric in METRICS | COSTS:
                assert np.isfinite(metrics[metric]["value"]), metric
                assert (
                    metrics[metric]["low"] <= metrics[metric]["value"] <= metrics[metric]["high"]
                ), metric
            assert metrics["kl"]["value"] > 0
            assert all(
                0 <= metrics[metric]["value"] <= 1
                for metric in ("top1_agreement", "acceptance", "ece")
            )
    for student in recipe.students:
        ours, control = evaluation["students"][student], evaluation["controls"][student]
        if (
            case.objective != "{divergence: reverse_kl}"
        ):  # two epochs; the copy begins with nothing to learn
            assert ours["kl"]["value"] < control["kl"]["value"], student
        if student == "copy":
            assert ours["kl"]["value"] < 0.5
        log = MetricsLog.read(outcome.folder.students_path / student / "metrics.jsonl")
        losses = [record["validation_loss"] for record in log if "validation_loss" in record]
        assert len(losses) == 2
        assert (outcome.folder.students_path / student / "model.safetensors").is_file()
        assert not (outcome.folder.students_path / student / "checkpoints").exists()
    assert {*evaluation["samples"][0]["continuations"]} >= {
        "teacher",
        *(f"students.{one}" for one in recipe.students),
    }
    if "live" in name:
        assert not outcome.folder.targets_path.exists()
    else:
        store = TargetStore.open(outcome.folder.targets_path)
        assert store.manifest.kind == recipe.targets.kind
        assert store.manifest.positions == sum(
            one.positions for one in (*data.train, *data.validation)
        )


@pytest.mark.parametrize("form", ["pairs", "messages"])
def test_only_what_the_assistant_says_trains(form: str, teacher: Path, tmp_path: Path) -> None:
    recipe: Any = load_recipe(write_language_job(tmp_path, teacher, form=form))
    tokenizer = teacher_tokenizer(recipe)
    for document in prepare_language_data(recipe, tokenizer).train:
        learned = tokenizer.decode(document.token_ids[document.trained])
        assert "zq" in tokenizer.decode(document.token_ids[~document.trained])
        assert "zq" not in learned
        parts = learned.split("<|im_end|>")
        assert parts[-1] == ""
        assert parts[:-2] == (["let me look"] if form == "messages" else [])
        assert parts[-2].startswith("it is ")
    everything: Any = load_recipe(tmp_path / "recipe.yaml", overrides=["data.train_on=all"])
    assert all(
        document.positions == len(document.token_ids) - 1
        for document in prepare_language_data(everything, tokenizer).train
    )


def test_a_run_that_explodes_keeps_what_it_has_and_trains_when_asked_for_less(
    teacher: Path, tmp_path: Path
) -> None:
    path = write_language_job(tmp_path, teacher)
    wild: Any = load_recipe(
        path, overrides=["train.learning_rate=5", "train.epochs=8", "train.warmup_share=1"]
    )
    with pytest.raises(
        TrainingDiverged, match=r"has exploded.*Lower learning_rate.*checkpoint is in"
    ):
        run_recipe(wild, root=tmp_path / "runs", until="train")
    run = tmp_path / "runs" / "tiny"
    assert list((run / "students" / "half" / "checkpoints").glob("step-*"))
    tame: Any = load_recipe(path)
    outcome = run_recipe(tame, root=tmp_path / "runs", until="train")
    assert {stage.name: stage.how for stage in outcome.stages}["targets"] in ("kept", "reused")
    assert (outcome.folder.students_path / "half" / "model.safetensors").is_file()
