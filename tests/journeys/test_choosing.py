"""A teacher that is asked about some of the texts, from the recipe to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.journeys.test_ensemble import relabelled
from tests.journeys.test_recorded import job as recorded_job
from tests.journeys.tiny_job import run_here
from tests.teachers.api.faulty_server import FaultyServer, serving

from tutelage.cli.main import main
from tutelage.config import dump_recipe
from tutelage.recipes.loading import load_recipe
from tutelage.targets import TargetStore
from tutelage.tasks.classification.checking import check_recipe
from tutelage.tasks.classification.data import prepare_data
from tutelage.teachers.classifier.teacher import ClassifierTeacher

SOME = "label={limit: 24, rounds: 3}"
"""Of 60 rows to learn from; 60 judge."""


def served(server: FaultyServer, more: str = "") -> str:
    return (
        f"teacher={{kind: api, protocol: decisions, model: served-1, base_url: '{server.base_url}'"
        f", bad_answer_retries: 0, price: {{input: 10}}{more}}}"
    )


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = recorded_job(tmp_path_factory.mktemp("some"))
    run_here(folder, SOME, until="report")
    return folder


def train_ids(folder: Path) -> list[bytes]:
    rows = prepare_data(load_recipe(folder / "recipe.yaml")).train
    return [one.example_id for one in rows]


def test_students_learn_from_the_chosen_and_everything_judges(some: Path) -> None:
    run = some / "runs" / "tiny"
    store = TargetStore.open(run / "targets")
    assert len(store) == 24 + 60
    assert store.holds(train_ids(some)).sum() == 24
    assert json.loads((run / "evaluation.json").read_text())["rows"] == 40
    answers = json.loads((run / "provenance.json").read_text())["answers"]
    assert answers["chosen"]["asked"] == 24
    assert answers["unanswered"] == {"not chosen": 36}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "was asked about 24 of 60 texts to learn from" in page
    assert "in 3 rounds" in page
    assert "not asked about: others were chosen" in page
    assert {one.how for one in run_here(some, SOME, until="report").stages} == {"kept"}


def test_another_limit_is_other_targets_of_other_students_and_controls(some: Path) -> None:
    more = run_here(some, "label={limit: 40, rounds: 3}", until="train")
    assert {one.name: one.how for one in more.stages} == {
        "teacher": "reused",
        "targets": "done",
        "students/words": "done",
        "controls/words": "done",
    }
    everything = run_here(some, until="train")
    assert [one.how for one in everything.stages] == ["reused", "done", "done", "done"]
    assert len(TargetStore.open(everything.folder.targets_path)) == 120


def test_a_recipe_without_the_section_is_the_text_that_it_was(some: Path) -> None:
    plain = dump_recipe(load_recipe(some / "recipe.yaml"))
    assert "label:" not in plain
    assert "label:\n  limit: 24\n  choose: mixed" in dump_recipe(
        load_recipe(some / "recipe.yaml", overrides=[SOME])
    )


def test_a_served_teacher_is_paid_for_the_chosen_and_for_none_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recorded_job(tmp_path)
    died = [False]

    def fault(call: int, _: Any) -> Any:
        if call > 70 and not died[0]:
            died[0] = True
            return 401
        return None

    with serving(FaultyServer(reply=relabelled, fault=fault)) as server:
        words = ["check", str(folder / "recipe.yaml"), "--set", served(server), "--set", SOME]
        assert main(words) == 0
        told = capsys.readouterr().out
        assert "asked     at most 24 of 60 rows to learn from (choose: mixed)" in told
        assert "84 requests" in told
        assert server.calls == 0
        with pytest.raises(Exception, match="401"):
            run_here(folder, served(server), SOME, until="label")
        outcome = run_here(folder, served(server), SOME, until="report")
        assert len(server.paid) == 84
        account = outcome.folder.stage("targets").facts["answers"]
        assert account["requests"] == 84
        assert account["chosen"]["asked"] == 24
        refused = account["unanswered"]["refused"]
        assert account["answers"] == 84 - refused
        assert refused > 24 - account["chosen"]["answered"] > 0
        paid = set(server.paid)
        run_here(folder, served(server), "label={limit: 30, rounds: 3}", until="label")
        assert paid <= set(server.paid)
        assert len(server.paid) < 84 + 30, "what was answered before is kept"
        assert set(server.paid.values()) == {1}
    capsys.readouterr()
    assert main(["explain", str(outcome.folder.path), "--teacher", "great phone"]) == 2
    assert "the teacher is of kind api and has no weights here" in capsys.readouterr().err
    page = outcome.folder.report_path.read_text(encoding="utf-8")
    assert "declined by the model" in page
    assert "Requests" in page


def test_a_spent_budget_ends_the_rounds(tmp_path: Path) -> None:
    folder = recorded_job(tmp_path)
    with serving(FaultyServer(reply=relabelled)) as server:
        budget = ", budget: {requests: 75, then: train}"
        outcome = run_here(folder, served(server, budget), SOME, until="train")
        assert len(server.paid) == 75
    account = outcome.folder.stage("targets").facts["answers"]
    assert account["unanswered"]["over budget"] > 0
    assert account["chosen"]["asked"] <= 24


def test_a_teacher_that_is_here_is_not_asked_what_runs_beside_know(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "students={words: {kind: linear}}"
    whole = run_here(job, words, until="label")
    monkeypatch.setattr(ClassifierTeacher, "label", None)
    few = run_here(job, words, SOME, until="label")
    assert {one.name: one.how for one in few.stages} == {"teacher": "reused", "targets": "done"}
    small, large = (TargetStore.open(one.folder.targets_path) for one in (few, whole))
    assert len(small) == 24 + 80
    np.testing.assert_array_equal(small.lookup(small.ids), large.lookup(small.ids))


def test_the_estimate_is_of_what_is_asked(some: Path) -> None:
    recipe = load_recipe(some / "recipe.yaml", overrides=["label.limit=7"])
    found = check_recipe(recipe, root=some)
    assert found.estimate["asked_rows"] == 7
    assert found.estimate["transfer_rows"] == 60
    assert "asked" not in check_recipe(load_recipe(some / "recipe.yaml"), root=some).summary


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("label={}", "label.limit"),
        ("label={limit: 0}", "label.limit"),
        ("label={limit: 5, choose: best}", "label.choose"),
        ("label={limits: 5}", "did you mean"),
    ],
)
def test_what_the_section_cannot_say(
    some: Path, capsys: pytest.CaptureFixture[str], given: str, told: str
) -> None:
    assert main(["check", str(some / "recipe.yaml"), "--set", given]) == 2
    captured = capsys.readouterr()
    assert told in captured.out + captured.err
