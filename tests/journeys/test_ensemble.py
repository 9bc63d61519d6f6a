"""A teacher of several members, from the recipe to the report; each member is asked once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.journeys.tiny_job import run_here, sentences
from tests.teachers.api.faulty_server import FaultyServer, decision, serving

from tutelage.cli.main import main
from tutelage.errors import RecipeError
from tutelage.metrics import nll
from tutelage.recipes.labelling import label_file, teacher_of_recipe
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run
from tutelage.targets import TargetStore
from tutelage.tasks.classification.checking import check_recipe
from tutelage.tasks.classification.data import prepare_data
from tutelage.tasks.classification.evaluating import labels_of
from tutelage.teachers.classifier.spec import ClassifierTeacherSpec
from tutelage.teachers.prompted.spec import PromptedTeacherSpec
from tutelage.types import example_id

RECIPE = """\
name: several
task: {{kind: classification, labels: [negative, neutral, positive]}}
data: {{train: train.csv, validation: validation.csv, test: test.csv}}
teacher:
  kind: ensemble
  {settings}
  members:
    fitted: {{kind: classifier, model: {model}, fit: {{method: head, cross_fit: 2}}}}
    asked: {{kind: prompted, model: {model}, instruction: Judge it.}}
students:
  words: {{kind: linear}}
evaluate: {{bootstrap_samples: 100, latency_examples: 5}}
"""


def write_recipe(job: Path, model: Path, settings: str = "combine: mixture") -> Path:
    (job / "recipe.yaml").write_text(
        RECIPE.format(model=model, settings=settings), encoding="utf-8"
    )
    return job


def relabelled(body: dict) -> dict:
    """A decision among the labels of the job, declined where a camera is spoken of."""
    told = decision(body["input"])
    if "camera" in body["input"]:
        return told | {"answers": [{"type": "refusal", "name": "label"}]}
    (answer,) = told["answers"]
    probabilities = [
        one | {"value": label}
        for one, label in zip(
            answer["probabilities"], ("negative", "neutral", "positive"), strict=True
        )
    ]
    best = max(probabilities, key=lambda one: one["probability"])["value"]
    return told | {"answers": [answer | {"probabilities": probabilities, "choice": best}]}


def members_of(job: Path) -> dict[str, TargetStore]:
    places = sorted((job / "runs" / "answers" / "members").iterdir())
    return {place.name: TargetStore.open(place / "targets") for place in places}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kinds of members that were made or loaded."""
    seen: list[str] = []
    for spec in (ClassifierTeacherSpec, PromptedTeacherSpec):

        def load(self, folder, assignment, *, _load=spec.load):
            seen.append(f"load {self.kind}")
            return _load(self, folder, assignment)

        def make(self, assignment, *, out, progress, _make=spec.make):
            seen.append(f"make {self.kind}")
            return _make(self, assignment, out=out, progress=progress)

        monkeypatch.setattr(spec, "load", load)
        monkeypatch.setattr(spec, "make", make)
    return seen


def test_targets_are_the_mean_of_what_each_member_wrote(
    job: Path, model_folder: Path, asked: list[str]
) -> None:
    write_recipe(job, model_folder, "weights: {fitted: 3, asked: 1}")
    outcome = run_here(job, until="label")
    whole = TargetStore.open(outcome.folder.targets_path)
    stores = list(members_of(job).values())
    assert len(stores) == 2
    ids = whole.ids
    answers = np.stack([store.lookup(ids) for store in stores])
    ways = [np.einsum("k,kbc->bc", weights, answers) for weights in ([0.75, 0.25], [0.25, 0.75])]
    assert min(np.abs(whole.lookup(ids) - way).max() for way in ways) < 1e-6
    assert sorted(asked) == ["load classifier", "load prompted", "make classifier", "make prompted"]
    assert not list((job / "runs" / "answers").rglob("reading"))


def test_another_ensemble_asks_the_members_it_shares_nothing(
    job: Path, model_folder: Path, asked: list[str]
) -> None:
    write_recipe(job, model_folder)
    run_here(job, until="label")
    asked.clear()
    more = f"teacher.members.third={{kind: prompted, model: {model_folder}, instruction: Other.}}"
    run_here(job, more, "teacher.combine=log_mean", until="label")
    assert asked == ["make prompted", "load prompted"]
    assert len(members_of(job)) == 3


def test_a_killed_member_goes_on_and_a_finished_one_is_not_asked_again(
    job: Path, model_folder: Path, asked: list[str]
) -> None:
    write_recipe(job, model_folder)
    outcome = run_here(job, until="label")
    before = TargetStore.open(outcome.folder.targets_path)
    ids, said = before.ids, before.lookup(before.ids)
    shutil.rmtree(outcome.folder.targets_path)
    unfinished = next(
        place
        for place in (job / "runs" / "answers" / "members").iterdir()
        if json.loads((place / "made.json").read_text())["kind"] == "classifier"
    )
    (unfinished / "made.json").unlink()  # killed before it was whole
    asked.clear()
    outcome = run_here(job, until="label")
    assert asked == ["make classifier"]
    np.testing.assert_array_equal(TargetStore.open(outcome.folder.targets_path).lookup(ids), said)


@pytest.mark.parametrize("combine", ["mixture", "log_mean"])
def test_fitted_weights_are_those_that_validation_rows_ask_for(
    job: Path, model_folder: Path, combine: str
) -> None:
    write_recipe(job, model_folder, f"combine: {combine}\n  weights: fitted")
    outcome = run_here(job, until="label")
    told = json.loads((outcome.folder.teacher_path / "ensemble.json").read_text())
    assert sum(told["weights"].values()) == pytest.approx(1, abs=1e-5)
    data = prepare_data(load_recipe(job / "recipe.yaml"))
    ids = [example.example_id for example in data.validation]
    gold = labels_of(data.validation)
    ours = nll(TargetStore.open(outcome.folder.targets_path).lookup(ids), gold)
    assert ours <= min(nll(store.lookup(ids), gold) for store in members_of(job).values()) + 1e-6


def test_weights_are_not_fitted_by_a_handful_of_rows(job: Path, model_folder: Path) -> None:
    rows = (job / "validation.csv").read_text().splitlines()[:13]
    (job / "validation.csv").write_text("\n".join(rows) + "\n")
    write_recipe(job, model_folder, "weights: fitted")
    with pytest.raises(
        RecipeError, match=r"teacher\.weights: there are 12 labelled validation rows"
    ):
        run_here(job, until="label")


def test_the_report_shows_members_and_where_they_part(job: Path, model_folder: Path) -> None:
    write_recipe(job, model_folder)
    outcome = run(load_recipe(job / "recipe.yaml"), root=job / "runs")
    told = json.loads(outcome.folder.evaluation_path.read_text())["members"]
    assert [one["name"] for one in told["each"]] == ["fitted", "asked"]
    assert told["each"][0]["accuracy"]["value"] > told["each"][1]["accuracy"]["value"]
    assert set(told["disputed"][0]["answers"]) == {"fitted", "asked"}
    page = outcome.folder.report_path.read_text()
    assert 'id="members"' in page
    assert "Where they part most" in page
    assert "the weighted mean of their probabilities" in page


def test_problems_of_members_are_told_at_their_place(job: Path, model_folder: Path) -> None:
    write_recipe(job, model_folder)
    path = job / "recipe.yaml"

    def places(*overrides: str) -> list[str]:
        problems = check_recipe(load_recipe(path, overrides=overrides), root=job).problems
        return [problem.where for problem in problems if problem.severity == "error"]

    assert places() == []
    assert places("teacher.members.asked.model=./nowhere") == ["teacher.members.asked.model"]
    with pytest.raises(RecipeError, match="teacher of kind ensemble has none here"):
        run_here(job, "students.one={kind: rnn, embeddings: teacher}", until="label")


def test_a_served_member_is_paid_once_and_what_it_refuses_is_left_out(
    job: Path, model_folder: Path
) -> None:
    write_recipe(job, model_folder)
    with serving(FaultyServer(reply=relabelled)) as server:
        member = (
            "teacher.members.asked={kind: api, protocol: decisions, model: served-1, "
            f"base_url: '{server.base_url}', bad_answer_retries: 0}}"
        )
        outcome = run_here(job, member, until="report")
        asked = set(server.paid)
        assert set(server.paid.values()) == {1}
        run_here(job, member, "teacher.combine=log_mean", until="label")
        out = label_file(
            job / "test.csv",
            teacher_of_recipe(load_recipe(job / "recipe.yaml", overrides=[member])),
            out=job / "out.csv",
        )
        assert set(server.paid) == asked
    store = TargetStore.open(outcome.folder.targets_path)
    texts = [text for text, _ in sentences(200, seed=0)]
    answered = [example_id(text) in store for text in texts]
    assert answered == ["camera" not in text for text in texts]
    assert out["unanswered"] == sum("camera" in text for text in texts[150:]) > 0
    assert 'id="members"' in outcome.folder.report_path.read_text()


def test_a_recorded_and_a_served_member_each_have_their_account(
    job: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = sentences(200, seed=0)
    lines = [f"{text},0.5,0.25,0.25" for text, _ in rows if "cable" not in text]
    (job / "answers.csv").write_text(
        "\n".join(["text,p_negative,p_neutral,p_positive", *lines]) + "\n", encoding="utf-8"
    )
    write_recipe(job, model_folder)
    with serving(FaultyServer(reply=relabelled)) as server:
        members = (
            "teacher.members={kept: {kind: recorded, file: answers.csv}, asked: {kind: api, "
            f"protocol: decisions, model: served-1, base_url: '{server.base_url}', "
            "bad_answer_retries: 0, price: {input: 10}}}"
        )
        outcome = run_here(job, members, until="report")
        assert set(server.paid.values()) == {1}
        assert len(server.paid) == 200
        some = run_here(job, members, "label={limit: 30, rounds: 2}", until="label")
        assert len(server.paid) == 200, "members keep their answers"
    silent = [sum("camera" in text for text, _ in rows), 200 - len(lines)]
    both = sum("camera" in text or "cable" in text for text, _ in rows)
    told = outcome.folder.stage("targets").facts["answers"]
    assert told["answers"] == 200 - both == len(TargetStore.open(outcome.folder.targets_path))
    assert sum(told["unanswered"].values()) == both
    assert told["members"]["asked"]["unanswered"] == {"refused": silent[0]}
    assert told["members"]["asked"]["cost"] == pytest.approx(200 * 40 * 10 / 1e6)
    assert told["members"]["asked"]["models"] == {"served-1": 200}
    assert told["members"]["kept"]["unanswered"] == {"not recorded": silent[1]}
    page = outcome.folder.report_path.read_text(encoding="utf-8")
    section = page[page.index('id="replies"') : page.index('id="numbers"')]
    assert "<h3" in section
    assert section.index(">kept<") < section.index(">asked<")
    for said in ("served-1 behind an API", "0.08 $", "declined by the model", "answers.csv"):
        assert said in section
    chosen = some.folder.stage("targets").facts["answers"]
    assert chosen["chosen"]["asked"] == 30
    assert chosen["unanswered"]["not chosen"] == 90
    assert set(chosen["members"]) == {"kept", "asked"}
    capsys.readouterr()
    assert main(["explain", str(outcome.folder.path), "--teacher", "great phone"]) == 2
    said = capsys.readouterr().err
    assert "the teacher is of kind ensemble and has no weights here" in said
    assert len(said.strip().splitlines()) == 1


def test_members_that_tell_nothing_have_no_section(job: Path, model_folder: Path) -> None:
    write_recipe(job, model_folder)
    outcome = run_here(job, until="report")
    assert "answers" not in outcome.folder.stage("targets").facts
    assert 'id="replies"' not in outcome.folder.report_path.read_text(encoding="utf-8")
