"""A run whose student is no network: trained, controlled, evaluated, asked and reported as others
are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.journeys.tiny_job import run_here, tutelage, tutelage_json, write_job

from tutelage.errors import RecipeError
from tutelage.recipes.loading import load_recipe
from tutelage.tasks.classification.checking import check_recipe


def with_bag(job: Path, options: str = "") -> Path:
    """The tiny job with a linear student in place of its recurrent one."""
    path = job / "recipe.yaml"
    lines = path.read_text("utf-8").splitlines()
    place = next(row for row, line in enumerate(lines) if line.startswith("  gru:"))
    lines[place] = f"  bag: {{kind: linear{options}}}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return job


@pytest.fixture(scope="module")
def bagged(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """Such a job after `tutelage run`; shared, so what lies in it is not changed."""
    folder = with_bag(write_job(tmp_path_factory.mktemp("bagged"), model_folder))
    tutelage("run", "recipe.yaml", cwd=folder)
    return folder


def test_a_run_leaves_the_student_its_control_and_their_scores(bagged: Path) -> None:
    run = bagged / "runs" / "tiny"
    evaluation = json.loads((run / "evaluation.json").read_text())
    student, control = (evaluation[group]["bag"] for group in ("students", "controls"))
    assert student["kl"]["high"] < control["kl"]["low"]
    assert control["accuracy"]["value"] > 0.9  # one word tells the class
    assert student["agreement"]["value"] > 0.45
    weights = json.loads((run / "students/bag/ngrams.json").read_text())
    assert student["parameters"]["value"] == 3 * (1 + sum(map(len, weights.values())))
    assert 1000 < student["disk_bytes"]["value"] < 300_000
    assert student["latency_ms_p50"]["value"] < evaluation["teacher"]["latency_ms_p50"]["value"]
    files = {path.name for path in (run / "students/bag").iterdir()}
    assert files == {"config.json", "ngrams.json", "model.safetensors", "metrics.jsonl"}
    page = (run / "report.html").read_text()
    assert "Loss with the teacher" in page


def test_metrics_hold_the_path_of_strengths(bagged: Path) -> None:
    run = bagged / "runs" / "tiny"
    for group in ("students", "controls"):
        folder = run / group / "bag"
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert len(records) > 1
        strengths = [record["strength"] for record in records]
        assert strengths == sorted(strengths, reverse=True)
        best = min(records, key=lambda record: record["validation_loss"])
        config = json.loads((folder / "config.json").read_text())
        assert config["strength"] == best["strength"]


def test_a_second_run_does_nothing(bagged: Path) -> None:
    record = tutelage_json("run", "recipe.yaml", cwd=bagged)
    assert {stage["how"] for stage in record["stages"]} == {"kept"}


def test_it_answers_texts_and_files(bagged: Path) -> None:
    run = bagged / "runs" / "tiny"
    answers = tutelage_json("predict", run, "a superb phone", cwd=bagged)
    (answer,) = answers if isinstance(answers, list) else answers["answers"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    tutelage("predict", run, "--file", "test.csv", "--out", "answers.csv", cwd=bagged)
    lines = (bagged / "answers.csv").read_text().splitlines()
    assert lines[0].startswith("row,text,label,p_negative")
    assert len(lines) == 51


def test_a_killed_fit_begins_anew_and_ends_the_same(job: Path) -> None:
    with_bag(job)
    run = job / "runs" / "tiny"
    folder = run / "students" / "bag"
    run_here(job, "evaluate.control=false")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "config.json").unlink()
    (folder / "metrics.jsonl").write_bytes(before["metrics.jsonl"] + b'{"step": 3}\n{"step":')
    run_here(job, "evaluate.control=false")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_check_estimates_it(job: Path) -> None:
    found = check_recipe(load_recipe(with_bag(job) / "recipe.yaml"), root=job)
    assert [one for one in found.problems if one.severity == "error"] == []
    assert found.estimate["steps"] == 0
    assert 0 < found.estimate["training_seconds"] < 60
    assert found.estimate["disk_bytes"] > 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (", words: 0, characters: 0", "leave no n-gram"),
        (", train: {epochs: 3}", "fitted by itself"),
        (", penalty: l3", "l3"),
        (", strength: 0.0", "strength"),
        (", lora: {rank: 2}", "lora"),
    ],
)
def test_what_means_nothing_to_it_is_refused(job: Path, options: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(with_bag(job, options) / "recipe.yaml")


def test_too_few_texts_for_an_ngram_are_refused_before_the_teacher_is_asked(job: Path) -> None:
    found = check_recipe(
        load_recipe(with_bag(job, ", min_texts: 100000") / "recipe.yaml"), root=job
    )
    errors = [one.where for one in found.problems if one.severity == "error"]
    assert errors == ["students.bag.min_texts"]


def test_explain_tells_what_every_ngram_added(bagged: Path) -> None:
    control = bagged / "runs" / "tiny" / "controls" / "bag"
    (told,) = tutelage_json("explain", control, "it was superb", cwd=bagged)
    assert told["label"] == "positive"
    first = told["ngrams"][0]
    assert first["ngram"].strip() in "superb"
    assert max(first["logits"], key=first["logits"].get) == "positive"
    for label, logit in told["logits"].items():
        total = told["baseline"][label] + sum(part["logits"][label] for part in told["ngrams"])
        assert total == pytest.approx(logit, abs=1e-4)
    odds = np.exp(list(told["logits"].values()))
    assert list(told["probabilities"].values()) == pytest.approx(list(odds / odds.sum()), rel=1e-4)
    lines = tutelage("explain", control, "it was superb", "--top", "2", cwd=bagged).stdout
    assert "positive" in lines.splitlines()[0]
    assert "others" in lines


def test_faithfulness_of_a_run_is_measured(bagged: Path) -> None:
    control = bagged / "runs" / "tiny" / "controls" / "bag"
    words = ("explain", control, "--faithfulness", "20")
    found = tutelage_json(*words, cwd=bagged)
    assert found["texts"] == 20
    assert found["difference"]["low"] > 0.05
    line = tutelage(*words, cwd=bagged).stdout
    assert f"{found['difference']['value']:.3f} [" in line


def test_the_report_names_the_strongest_words(bagged: Path) -> None:
    run = bagged / "runs" / "tiny"
    told = json.loads((run / "evaluation.json").read_text())["explanations"]
    named = {
        label: [word for word, _ in words] for label, words in told["strongest"]["bag"].items()
    }
    assert set(named) == {"negative", "neutral", "positive"}
    assert {"awful", "broken", "terrible", "useless", "poor"} & set(named["negative"][:4])
    for row in told["disagreements"]["rows"]:
        assert row["teacher"]["label"] != row["student"]["label"]
    page = (run / "report.html").read_text()
    assert "What the answers hang on" in page
    assert "the words that speak most for each label" in page


def test_explain_refuses_what_it_cannot_tell(bagged: Path) -> None:
    run = bagged / "runs" / "tiny"
    for words, message in (
        ((run, " "), "text 1 is empty"),
        ((run,), "give a text"),
        ((run, "one", "--student", "none"), "no student 'none'"),
        ((run, "one", "--faithfulness", "3"), "only one of them"),
        ((run, "one", "--teacher", "--student", "bag"), "leave one out"),
        ((run, "one", "--out", "x.jsonl"), "--out is about --file"),
        ((run, "one", "--teacher", "--method", "exact"), "teacher is no sum of parts"),
    ):
        assert message in tutelage("explain", *words, cwd=bagged, check=2).stderr
