"""A recipe or its data changed after a run: what depends on it is made again, everything else is
taken as it is.

The command line is not the point here, so these runs happen in this process.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.journeys.tiny_job import LABELS, run_here, sentences, write_csv

from tutelage.errors import RecipeError
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import Outcome, run
from tutelage.targets import TargetStore
from tutelage.tasks.classification.job import ClassificationJob
from tutelage.tasks.task import Student
from tutelage.teachers import ClassifierTeacher
from tutelage.types import SILENT

ONE_MORE = "students.lstm={kind: rnn, cell: lstm, hidden_size: 8, embedding_size: 8, tokenizer: {vocabulary_size: 300}}"
SHORT = "train.epochs=2"


def how(outcome: Outcome) -> dict[str, str]:
    return {stage.name: stage.how for stage in outcome.stages}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run that clocks and locks have no part in, by its path."""
    names = [
        "metrics.jsonl",
        "model.safetensors",
        "config.json",
        "head.safetensors",
        "manifest.json",
    ]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in names
        for path in folder.rglob(name)
    }


def test_a_student_more_is_trained_and_the_other_taken_over(job: Path) -> None:
    first = run_here(job, SHORT)
    second = run_here(job, SHORT, ONE_MORE, until="report")
    assert second.folder.path.name == "tiny-2"
    assert how(second) == {
        "teacher": "reused", "targets": "reused", "students/gru": "reused", "controls/gru": "reused",
        "students/lstm": "done", "controls/lstm": "done", "evaluation": "done", "report": "done",
    }  # fmt: skip
    before, after = contents(first.folder.path), contents(second.folder.path)
    assert len(before) == 8
    assert {name: after[name] for name in before} == before
    fresh = run_here(job, SHORT, ONE_MORE, root="elsewhere")
    assert contents(fresh.folder.path) == after
    evaluation = json.loads(second.folder.evaluation_path.read_text())
    assert list(evaluation["students"]) == list(evaluation["controls"]) == ["gru", "lstm"]
    assert set(how(run_here(job, SHORT, ONE_MORE, until="report")).values()) == {"kept"}


def test_other_settings_of_the_evaluation_train_nobody_again(job: Path) -> None:
    first = run_here(job, SHORT, "evaluate.control=false")
    assert how(run_here(job, SHORT)) == {
        **dict.fromkeys(how(first), "reused"),
        "controls/gru": "done",
    }
    third = run_here(job, SHORT, "evaluate.bootstrap_samples=120")
    assert third.folder.path.name == "tiny-3"
    assert set(how(third).values()) == {"reused"}


def test_changed_rows_are_done_again_in_the_same_folder_and_harm_no_sibling(job: Path) -> None:
    first = run_here(job, SHORT, "evaluate.control=false")
    run_here(job, SHORT, until="evaluate")  # holds links to what the first made
    before = contents(first.folder.path)
    rows = sentences(200, seed=0)[:120]
    write_csv(job / "train.csv", [*rows[10:], *sentences(230, seed=2)[200:]])
    again = run_here(job, SHORT, until="evaluate")
    assert again.folder.path.name == "tiny-2"
    assert set(how(again).values()) == {"done"}
    assert json.loads(again.folder.provenance_path.read_text())["data"]["train"]["rows"] == 140
    fresh = run_here(job, SHORT, root="elsewhere")
    assert contents(again.folder.path) == contents(fresh.folder.path)
    assert contents(first.folder.path) == before


def test_test_rows_are_no_part_of_what_a_student_depends_on(job: Path) -> None:
    first = run_here(job, SHORT, until="report")
    before = contents(first.folder.path / "students") | contents(first.folder.path / "teacher")
    rows = sentences(200, seed=0)[150:]
    write_csv(
        job / "test.csv",
        [(rows[0][0], "positive" if rows[0][1] != "positive" else "neutral"), *rows[1:]],
    )
    mended = run_here(job, SHORT, until="report")
    assert how(mended) == {
        **dict.fromkeys(how(first), "kept"),
        "evaluation": "done",
        "report": "done",
    }
    write_csv(job / "test.csv", [*rows, ("a superb phone indeed", "positive")])
    label, asked = "tutelage.teachers.classifier.teacher.ClassifierTeacher.label", []
    with pytest.MonkeyPatch.context() as patch:
        plain = ClassifierTeacher.label
        patch.setattr(label, lambda self, examples: asked.extend(examples) or plain(self, examples))
        longer = run_here(job, SHORT, until="train")
    assert [example.text for example in asked] == ["a superb phone indeed"]
    assert how(longer) == {**dict.fromkeys(how(longer), "kept"), "targets": "done"}
    assert (
        contents(first.folder.path / "students") | contents(first.folder.path / "teacher") == before
    )
    fresh = run_here(job, SHORT, root="elsewhere")
    assert contents(fresh.folder.path / "students") == contents(first.folder.path / "students")


def test_what_was_measured_on_other_rows_does_not_stay(job: Path) -> None:
    folder = run_here(job, SHORT, "evaluate.control=false", until="report").folder
    measured = [folder.evaluation_path, folder.predictions_path, folder.report_path]
    assert all(path.is_file() for path in measured)
    write_csv(job / "train.csv", sentences(200, seed=0)[:110])
    run_here(job, SHORT, "evaluate.control=false", until="train")
    assert not any(path.exists() for path in measured)
    run_here(job, SHORT, "evaluate.control=false", until="evaluate")
    assert [path.exists() for path in measured] == [True, True, False]
    folder.predictions_path.unlink()
    assert (
        how(run_here(job, SHORT, "evaluate.control=false", until="report"))["evaluation"] == "done"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tutelage.tasks.classification.checking.free_disk_bytes", lambda _: 0)
        again = run_here(job, SHORT, "evaluate.control=false", until="report")
        assert set(how(again).values()) == {
            "kept"
        }  # nothing is left to write, so nothing has to fit
    (folder.students_path / "gru" / "model.safetensors").unlink()
    run_here(job, SHORT, "evaluate.control=false", until="train")
    assert not any(path.exists() for path in measured)


def test_a_damaged_part_of_the_targets_is_labelled_again(job: Path) -> None:
    first = run_here(job, SHORT, "evaluate.control=false", until="label")
    (part,) = first.folder.targets_path.glob("part-*.parquet")
    rows = TargetStore.open(first.folder.targets_path)
    ids = rows.ids
    expected = rows.lookup(ids)
    part.write_bytes(part.read_bytes()[:-9])
    said: list[str] = []
    progress = SimpleNamespace(say=said.append, bar=SILENT.bar)
    recipe = load_recipe(job / "recipe.yaml", overrides=[SHORT, "evaluate.control=false"])
    outcome = run(recipe, root=job / "runs", until="label", progress=progress)
    assert how(outcome) == {"teacher": "kept", "targets": "done"}
    (message,) = [line for line in said if "damaged" in line]
    assert message.endswith("these rows are labelled again")
    np.testing.assert_allclose(
        TargetStore.open(first.folder.targets_path).lookup(ids), expected, atol=1e-6
    )


def test_a_prompted_teacher_needs_no_label_to_train_students(job: Path) -> None:
    write_csv(job / "train.csv", [(text, "") for text, _ in sentences(200, seed=0)[:120]])
    model = load_recipe(job / "recipe.yaml").teacher.model
    teacher = f"teacher={{kind: prompted, model: '{model}', calibration: batch}}"
    with pytest.raises(
        RecipeError, match=r"evaluate\.control: no training row has a label.*set it to false"
    ):
        run_here(job, SHORT, teacher)
    outcome = run_here(job, SHORT, teacher, "evaluate.control=false", until="report")
    evaluation = json.loads(outcome.folder.evaluation_path.read_text())
    answers = pq.read_table(outcome.folder.predictions_path).to_pylist()
    hits = [LABELS[int(np.argmax(row["students.gru"]))] == row["label"] for row in answers]
    assert evaluation["students"]["gru"]["accuracy"]["value"] == pytest.approx(np.mean(hits))
    assert evaluation["labelled_rows"] == 50
    assert "no control" in outcome.folder.report_path.read_text()


def test_a_classifier_that_is_fitted_needs_labels_and_says_so(job: Path) -> None:
    write_csv(job / "train.csv", [(text, "") for text, _ in sentences(200, seed=0)[:120]])
    with pytest.raises(
        RecipeError, match=r"train\.csv: no training row is labelled negative, neutral, positive"
    ):
        run_here(job, SHORT)
    assert not (job / "runs").exists()


OWN = "students.gru.embeddings=random"


def test_a_control_that_takes_nothing_of_the_teacher_outlives_it(job: Path) -> None:
    run_here(job, SHORT, OWN)
    assert how(run_here(job, SHORT, OWN, "teacher.seed=1")) == {
        "teacher": "done", "targets": "done", "students/gru": "done", "controls/gru": "reused",
    }  # fmt: skip


def test_a_control_that_begins_with_the_teachers_vectors_does_not(job: Path) -> None:
    run_here(job, SHORT)
    assert how(run_here(job, SHORT, "teacher.seed=1"))["controls/gru"] == "done"


def test_controls_of_versions_before_are_found_by_their_former_name(job: Path) -> None:
    first = run_here(job, SHORT, OWN, until="report")
    recipe = load_recipe(job / "recipe.yaml", overrides=[SHORT, OWN])
    prints = ClassificationJob(recipe).fingerprints
    control = Student("gru", is_control=True)
    record = first.folder.stage(control.stage)
    assert record.is_done(prints.students[control])
    record.mark_done(prints.formerly[control], seconds=1.0)
    shutil.rmtree(first.folder.path / ".stages" / "finished")
    assert set(how(run_here(job, SHORT, OWN, until="report")).values()) == {"kept"}
    other = run_here(job, SHORT, OWN, "evaluate.bootstrap_samples=120")
    assert set(how(other).values()) == {"reused"}
