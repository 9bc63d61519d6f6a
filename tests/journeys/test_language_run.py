"""A tiny language-model run from documents to numbers; again, nothing; with another student, the
rest is kept."""

from __future__ import annotations

import json
import shutil
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.journeys.tiny_job import sentences
from tests.journeys.tiny_language_job import in_float32, write_language_job, write_teacher
from transformers import AutoModelForCausalLM, AutoTokenizer

from tutelage.cli.main import main
from tutelage.errors import TargetsMismatch
from tutelage.models import output_layer
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import Outcome
from tutelage.recipes.run import run as run_recipe
from tutelage.runs.stages import Deferred
from tutelage.students import language_embeddings
from tutelage.targets import TargetStore, TargetWriter, verify
from tutelage.tasks.language import checking as language_checking
from tutelage.tasks.language.data import load_teacher, prepare_language_data, teacher_tokenizer
from tutelage.tasks.language.training import build_language_student
from tutelage.types import SILENT, example_id

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


def write_documents(folder: Path, **parts: list[str]) -> None:
    for name, texts in parts.items():
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8"
        )


@pytest.fixture
def memory_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes a process for each model, and seconds."""
    monkeypatch.setattr("tutelage.evaluate.tokens.cost.peak_memory_bytes", lambda *_: None)


def nats_and_bytes(folder: Path, texts: list[str]) -> tuple[float, int, int]:
    """What transformers alone says about texts, one by one: nats, tokens and bytes."""
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    nats, tokens = 0.0, 0
    for text in texts:
        first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        ids = torch.tensor(
            [first, *tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        )
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0, :-1, : len(tokenizer)].double()
        nats += float(torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum"))
        tokens += len(ids) - 1
    return nats, tokens, sum(len(text.encode("utf-8")) for text in texts)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_from_documents_to_numbers_and_nothing_twice(tmp_path: Path, model_folder: Path) -> None:
    rows = [text for text, _ in sentences(60, seed=0)]
    write_documents(tmp_path, train=rows[:40], validation=rows[40:48], test=rows[48:])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=model_folder), encoding="utf-8")

    first = run_recipe(load_recipe(recipe), root=tmp_path / "runs", until="evaluate")  # type: ignore[arg-type]
    assert {stage.how for stage in first.stages} == {"done"}
    evaluation = json.loads(first.folder.evaluation_path.read_text("utf-8"))
    student, control = evaluation["students"]["half"], evaluation["controls"]["half"]
    assert evaluation["documents"] == 12
    for metrics in (student, control):
        assert metrics["kl"]["value"] > 0
        assert (
            metrics["nats_per_token"]["low"]
            < metrics["nats_per_token"]["value"]
            < metrics["nats_per_token"]["high"]
        )
    assert (
        student["kl"]["value"] < control["kl"]["value"]
    )  # the student learned from the teacher, the control did not
    assert (
        control["nats_per_token"]["value"] < evaluation["teacher"]["nats_per_token"]["value"]
    )  # random teacher

    # Whoever loads the student's folder without us finds the same numbers.
    nats, tokens, num_bytes = nats_and_bytes(first.folder.students_path / "half", rows[48:])
    assert (evaluation["tokens"], evaluation["bytes"]) == (tokens, num_bytes)
    assert student["nats_per_token"]["value"] == pytest.approx(nats / tokens, rel=1e-5)
    assert student["bits_per_byte"]["value"] == pytest.approx(nats / log(2) / num_bytes, rel=1e-5)

    reported = run_recipe(load_recipe(recipe), root=tmp_path / "runs", until="report")  # type: ignore[arg-type]
    assert {stage.name for stage in reported.stages if stage.how == "done"} == {"report"}
    page = reported.folder.report_path.read_text("utf-8")
    for words in (
        "The student “half” agrees with the teacher",
        "Tokens scored",
        "How they write",
        "12 test documents",
    ):
        assert words in page

    again = run_recipe(load_recipe(recipe), root=tmp_path / "runs", until="report")  # type: ignore[arg-type]
    assert {stage.how for stage in again.stages} == {"kept"}

    changed = load_recipe(
        recipe, overrides=["students.gru={kind: rnn, hidden_size: 16}", "evaluate.control=false"]
    )
    more = run_recipe(changed, root=tmp_path / "runs", until="train")  # type: ignore[arg-type]
    assert {stage.name: stage.how for stage in more.stages} == {
        "targets": "reused",
        "students/half": "reused",
        "students/gru": "done",
    }


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.usefixtures("memory_is_not_measured")
def test_what_is_no_longer_true_is_removed_and_nothing_else_is_done_again(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [text for text, _ in sentences(40, seed=0)]
    write_documents(tmp_path, train=rows[:24], validation=rows[24:30], test=rows[30:38])
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=model_folder), encoding="utf-8")
    said: list[str] = []

    def go(until: str) -> Outcome:
        recipe = load_recipe(tmp_path / "recipe.yaml", overrides=["evaluate.control=false"])
        progress = SimpleNamespace(say=said.append, bar=SILENT.bar)
        return run_recipe(recipe, root=tmp_path / "runs", until=until, progress=progress)  # type: ignore[arg-type]

    def how(outcome: Outcome) -> dict[str, str]:
        return {stage.name: stage.how for stage in outcome.stages}

    folder = go("report").folder
    measured = [folder.evaluation_path, folder.predictions_path, folder.report_path]
    write_documents(tmp_path, test=rows[30:])
    assert how(go("train")) == {"targets": "kept", "students/half": "kept"}
    assert not any(path.exists() for path in measured)
    assert how(go("report")) == {
        "targets": "kept", "students/half": "kept", "evaluation": "done", "report": "done"
    }  # fmt: skip
    assert json.loads(folder.evaluation_path.read_text("utf-8"))["documents"] == 10

    ids = TargetStore.open(folder.targets_path).ids
    (part,) = folder.targets_path.glob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:-9])
    assert how(go("train")) == {"targets": "done", "students/half": "kept"}
    (message,) = [line for line in said if "damaged" in line]
    assert message.endswith("these rows are labelled again")
    assert TargetStore.open(folder.targets_path).ids == ids

    for file in ("config.json", "model.safetensors", "metrics.jsonl"):
        (folder.students_path / "half" / file).unlink()
        assert how(go("train")) == {"targets": "kept", "students/half": "done"}, file
        assert not any(path.exists() for path in measured)

    go("report")
    monkeypatch.setattr(language_checking, "free_disk_bytes", lambda _: 0)
    monkeypatch.setattr(language_checking, "total_memory_bytes", lambda: 0)
    assert set(how(go("report")).values()) == {
        "kept"
    }  # nothing is left to write, so nothing has to fit
    for path in measured:
        path.unlink()
        again = how(go("report"))
        assert again["students/half"] == "kept"
        assert (
            again["report"] == "done"
        )  # a page of other timings than those in evaluation.json does not stay
        assert all(path.exists() for path in measured)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.usefixtures("memory_is_not_measured")
def test_targets_of_another_teacher_are_refused_and_nothing_is_lost(
    tmp_path: Path, model_folder: Path
) -> None:
    rows = [text for text, _ in sentences(40, seed=0)]
    write_documents(tmp_path, train=rows[:24], validation=rows[24:30], test=rows[30:38])
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=tmp_path / "model"), encoding="utf-8")

    def go(until: str) -> Outcome:
        recipe = load_recipe(tmp_path / "recipe.yaml", overrides=["evaluate.control=false"])
        return run_recipe(recipe, root=tmp_path / "runs", until=until)  # type: ignore[arg-type]

    folder = go("report").folder
    kept = {
        path: path.read_bytes()
        for path in folder.path.rglob("*")
        if path.is_file() and path.name != ".lock"
    }

    def unharmed() -> bool:
        stages = folder.path / ".stages"
        return all(
            path.read_bytes() == content
            for path, content in kept.items()
            if stages not in path.parents
        )

    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    (tmp_path / "model" / "model.safetensors").write_bytes(weights[:-4] + bytes(4))
    with pytest.raises(TargetsMismatch, match="teacher"):
        go("report")
    assert unharmed()
    (tmp_path / "model" / "model.safetensors").write_bytes(weights)
    assert {stage.name: stage.how for stage in go("report").stages} == {
        "targets": "done", "students/half": "kept", "evaluation": "kept", "report": "kept"
    }  # fmt: skip

    manifest = folder.targets_path / "manifest.json"
    honest = manifest.read_text("utf-8")
    manifest.write_text(honest.replace(json.loads(honest)["teacher"], "0" * 64), "utf-8")
    go("train")
    assert manifest.read_text("utf-8") == honest  # put back from the record

    shutil.rmtree(folder.targets_path)  # somebody put others there, which are whole
    with TargetWriter.open(
        folder.targets_path, kind="class_probabilities", teacher="0" * 64, labels=["a", "b"]
    ) as writer:
        writer.add([example_id("a text")], np.array([[0.5, 0.5]]))
        writer.finish()
    with pytest.raises(TargetsMismatch, match="that this run did not write"):
        go("train")
    assert verify(folder.targets_path) == []


@pytest.mark.usefixtures("memory_is_not_measured")
def test_on_the_command_line_a_run_ends_in_a_table_and_again_in_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_language_job(tmp_path, write_teacher(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "recipe.yaml"]) == 0
    said = capsys.readouterr().out
    for words in (
        "nats/token [95 %]",
        "on the text alone",
        "12 test documents",
        "runs/tiny/report.html",
    ):
        assert words in said
    assert main(["run", "recipe.yaml", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {stage["how"] for stage in record["stages"]} == {"kept"}


@pytest.mark.usefixtures("memory_is_not_measured")
def test_adapters_are_learned_on_pruned_and_trimmed_students_and_merged(tmp_path: Path) -> None:
    students = """whole: {kind: pruned, layers: 1, lora: {rank: 2}}
                  cut: {kind: pruned, layers: 1, vocabulary: corpus, lora: {rank: 2}}"""
    path = write_language_job(
        tmp_path, write_teacher(tmp_path / "weights"), targets="{kind: hidden}", students=students
    )
    in_float32(path)  # students begin with the weights as the teacher has them in memory
    outcome = run_recipe(load_recipe(path), root=tmp_path / "runs", until="evaluate")  # type: ignore[arg-type]
    evaluation = json.loads(outcome.folder.evaluation_path.read_text("utf-8"))
    rows = {}
    for name in ("whole", "cut"):
        folder = outcome.folder.students_path / name
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert type(model).__name__ == "LlamaForCausalLM"
        assert not [key for key in load_file(folder / "model.safetensors") if "lora" in key]
        rows[name] = model.lm_head.weight.shape[0]
        assert (
            evaluation["students"][name]["kl"]["value"]
            < evaluation["controls"][name]["kl"]["value"]
        )
    assert rows["cut"] < rows["whole"]
    began = AutoModelForCausalLM.from_pretrained(tmp_path / "weights").lm_head.weight
    learned = AutoModelForCausalLM.from_pretrained(
        outcome.folder.students_path / "whole"
    ).lm_head.weight
    assert torch.equal(began, learned)  # adapters stand on the layers' matrices alone


@pytest.mark.parametrize(
    "student",
    ["rnn, hidden_size: 16, embedding_size: 12", "transformer, hidden_size: 12, heads: 2"],
)
def test_students_begin_with_the_teachers_embeddings_reduced(student: str, tmp_path: Path) -> None:
    section = f"one: {{kind: {student}, embeddings: teacher}}"
    recipe: Any = load_recipe(
        write_language_job(tmp_path, write_teacher(tmp_path / "weights"), students=section)
    )
    tokenizer = teacher_tokenizer(recipe)
    data = prepare_language_data(recipe, tokenizer)
    teacher = Deferred(lambda: load_teacher(recipe))
    model = build_language_student(recipe, "one", data, teacher, tokenizer)
    expected = language_embeddings(teacher.get().language_model, width=12)
    assert torch.equal(model.get_input_embeddings().weight[: len(expected)], expected)
    assert torch.equal(output_layer(model).weight[: len(expected)], expected)  # tied
