"""A language model taught by the likeliest tokens that a server tells, from recipe to report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.tiny_language_job import write_language_job, write_teacher
from tests.teachers.api.faulty_server import FaultyServer, serving
from tests.teachers.api.token_server import Bigrams

from tutelage.errors import BudgetSpent, RecipeError
from tutelage.models import load_tokenizer
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import Outcome, run
from tutelage.targets import TargetStore
from tutelage.tasks import task_named
from tutelage.types import SILENT

FRESH = "fresh: {kind: transformer, layers: 1, hidden_size: 16, heads: 2}"
TRIED = 5
"""Requests that try the server before the first document."""


@pytest.fixture(autouse=True)
def memory_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes a process for each model, and seconds."""
    monkeypatch.setattr("tutelage.evaluate.tokens.cost.peak_memory_bytes", lambda *_: None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def model(weights: Path) -> Bigrams:
    return Bigrams(load_tokenizer(str(weights)))


def job(folder: Path, weights: Path, server: FaultyServer, more: str = "") -> Path:
    path = write_language_job(
        folder, weights, targets="{kind: top_k, k: 8}", students=FRESH, count=16
    )
    teacher = (
        f"teacher: {{kind: api, protocol: completions, model: served-1, "
        f"base_url: '{server.base_url}', tokenizer_of: teacher, retries: 8{more}}}"
    )
    text = path.read_text("utf-8").replace("teacher: {kind: causal_lm, model: teacher}", teacher)
    sizes = "batch_tokens: 512, micro_batch_tokens: 256"
    assert sizes in text
    small = text.replace(sizes, "batch_tokens: 128, micro_batch_tokens: 128")
    path.write_text(small, "utf-8")
    return path


def read(outcome: Outcome, name: str) -> dict[str, Any]:
    return json.loads((outcome.folder.path / name).read_text("utf-8"))


def test_a_student_learns_what_the_server_tells(
    tmp_path: Path, weights: Path, model: Bigrams
) -> None:
    fault = lambda n, _: 500 if n % 4 == 0 else None  # noqa: E731
    with serving(FaultyServer(reply=model.reply, fault=fault)) as server:
        path = job(tmp_path, weights, server, ", price: {input: 1, output: 2}")
        recipe = load_recipe(path)
        check = task_named("causal_lm").check(recipe, root=tmp_path, progress=SILENT)
        assert [one for one in check.problems if one.severity == "error"] == []
        assert "24 requests, about" in check.summary
        assert check.estimate["teacher_dollars"] > 0
        outcome = run(recipe, root=tmp_path / "runs")
        assert server.paid.total() == 24 + TRIED
        assert max(server.paid.values()) == 1
        evaluation = read(outcome, "evaluation.json")
        assert evaluation["teacher"] == {}
        assert evaluation["targets"]["kind"] == "top_k"
        assert "mean_entropy_nats" not in evaluation["targets"]
        assert "entropy" not in outcome.teacher_held_out["sentence"]
        student = evaluation["students"]["fresh"]
        assert "nats_per_token" in student
        assert "kl" not in student
        account = read(outcome, "provenance.json")["answers"]
        assert account["models"] == {"served-1": 24 + TRIED}
        page = outcome.folder.report_path.read_text("utf-8")
        assert "was not asked about them" in page
        assert "only writes" not in page
        again = run(load_recipe(path), root=tmp_path / "runs")
        assert {stage.how for stage in again.stages} == {"kept"}
        # Another student asks nothing.
        path.write_text(path.read_text("utf-8").replace("hidden_size: 16", "hidden_size: 8"))
        run(load_recipe(path), root=tmp_path / "runs", until="train")
        assert server.paid.total() == 24 + TRIED
        load_recipe(outcome.folder.path / "recipe.yaml")  # as it was written out, it is a recipe


def steps(outcome: Outcome) -> list[int]:
    """Of the student and its control."""
    return [
        outcome.folder.stage(f"{group}/fresh").facts["steps"] for group in ("students", "controls")
    ]


def test_a_budget_trains_on_what_is_there_and_goes_on(
    tmp_path: Path, weights: Path, model: Bigrams
) -> None:
    with serving(FaultyServer(reply=model.reply)) as server:
        path = job(tmp_path, weights, server, ", budget: {requests: 15}")
        with pytest.raises(BudgetSpent, match="raise budget"):
            run(load_recipe(path), root=tmp_path / "runs", until="label")
        path.write_text(path.read_text("utf-8").replace("15}", "19, then: train}"), "utf-8")
        outcome = run(load_recipe(path), root=tmp_path / "runs", until="train")
        # Validation, which judges, was asked about first, and then six documents to learn.
        assert server.paid.total() == 19
        assert len(TargetStore.open(outcome.folder.targets_path)) == 14
        assert steps(outcome) == [steps(outcome)[0]] * 2
        path.write_text(
            path.read_text("utf-8").replace(", budget: {requests: 19, then: train}", "")
        )
        whole = run(load_recipe(path), root=tmp_path / "runs", until="train")
        assert server.paid.total() == 24 + TRIED
        assert max(server.paid.values()) == 1
        assert len(TargetStore.open(whole.folder.targets_path)) == 24
        assert steps(whole) == [steps(whole)[0]] * 2
        assert steps(whole)[0] > steps(outcome)[0]  # of the control too


def test_what_does_not_go_together_is_refused(tmp_path: Path, weights: Path) -> None:
    path = job(tmp_path, weights, FaultyServer())
    text = path.read_text("utf-8")
    for change, expected in (
        (("{kind: top_k, k: 8}", "{kind: sampled}"), "protocol: completions"),
        (("{kind: top_k, k: 8}", "{kind: hidden}"), "no whole distributions"),
        (("protocol: completions", "protocol: chat"), "which tells no probabilities"),
        (("hidden_size: 16", "hidden_size: 16, vocabulary: corpus"), "top_k targets cannot give"),
        (("control: true", "prefer: {keep: 0.9}"), "remove it"),
        ((FRESH, "half: {kind: pruned, layers: 1}"), "be cut from it; take a student"),
    ):
        assert change[0] in text
        path.write_text(text.replace(*change), "utf-8")
        with pytest.raises(RecipeError, match=expected):
            load_recipe(path)
    prompted = write_language_job(
        tmp_path / "text", weights, form="pairs", targets="{kind: text}", objective="{}"
    )
    asked = prompted.read_text("utf-8").replace(
        "{kind: causal_lm, model: teacher}",
        "{kind: api, protocol: completions, model: a, base_url: 'http://localhost/v1', "
        "tokenizer_of: teacher}",
    )
    prompted.write_text(asked, "utf-8")
    with pytest.raises(RecipeError, match="set protocol: chat"):
        load_recipe(prompted)


def test_the_recipe_of_the_page_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "language-tokens.md").read_text("utf-8")
    (recipe,) = [block.partition("```")[0] for block in page.split("```yaml\n")[1:]]
    (tmp_path / "recipe.yaml").write_text(recipe, "utf-8")
    loaded = load_recipe(tmp_path / "recipe.yaml")
    assert (loaded.targets.kind, loaded.teacher.protocol) == ("top_k", "completions")
