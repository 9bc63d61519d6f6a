"""A teacher that one run has fitted and saved, taken as it is by another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.journeys.tiny_job import LABELS, run_here

from tutelage.errors import ModelError
from tutelage.recipes.loading import load_recipe
from tutelage.targets import TargetStore
from tutelage.tasks.classification.checking import check_recipe
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teaching import assignment_of, teacher_facts

FITS = {
    "head": "{method: head, layers: [1], cross_fit: 2}",
    "lora": "{method: lora, rank: 2, epochs: 1, cross_fit: 2}",
    "full": "{method: full, epochs: 1}",
}


def recipe_of(job: Path, *overrides: str) -> Recipe:
    recipe = load_recipe(job / "recipe.yaml", overrides=overrides)
    assert isinstance(recipe, Recipe)
    return recipe


@pytest.mark.parametrize("method", FITS)
def test_it_labels_as_it_did_when_it_was_fitted(job: Path, method: str) -> None:
    fitted = f"teacher.fit={FITS[method]}"
    first = run_here(job, fitted, until="label")
    teacher = first.folder.teacher_path
    on_disk = sum(path.stat().st_size for path in teacher.rglob("*.safetensors"))
    recipe = recipe_of(job, fitted)
    expected = recipe.teacher.spec().saved_bytes(assignment_of(recipe))
    if method == "head":
        assert expected == 0
    else:
        assert 0.5 * on_disk < expected < 1.5 * on_disk

    as_it_is = (f"teacher.model={teacher}", "teacher.fit={method: none}", "name=again")
    found = check_recipe(recipe_of(job, *as_it_is), root=job / "runs")
    assert [problem for problem in found.problems if problem.severity == "error"] == []
    if method != "full":
        assert found.estimate["teacher_parameters"] == teacher_facts(recipe_of(job)).parameters
    second = run_here(job, *as_it_is, until="label")
    stores = [
        TargetStore.open(outcome.folder.targets_path, labels=LABELS) for outcome in (first, second)
    ]
    ids = sorted(stores[0].ids)
    np.testing.assert_array_equal(stores[0].lookup(ids), stores[1].lookup(ids))
    again = run_here(job, *as_it_is, until="label")
    assert {stage.how for stage in again.stages} == {"kept"}


def test_other_labels_or_other_weights_are_refused_at_once(job: Path) -> None:
    teacher = run_here(job, until="label").folder.teacher_path
    as_it_is = (f"teacher.model={teacher}", "teacher.fit={method: none}", "name=again")
    swapped = (*as_it_is, "task.labels=[positive, neutral, negative]")
    message = (
        r"is a saved teacher for the labels \['negative'.*write the same labels in the same order"
    )
    with pytest.raises(ModelError, match=message):
        run_here(job, *swapped)
    assert "same order" in " ".join(
        problem.message for problem in check_recipe(recipe_of(job, *swapped)).problems
    )
    with pytest.raises(
        ModelError, match=r"is a teacher that tutelage saved, not a model\. Use it as it is"
    ):
        run_here(job, f"teacher.model={teacher}", "name=again")
    description = teacher / "teacher.json"
    text = description.read_text()
    description.write_text(text.replace('"model_fingerprint": "', '"model_fingerprint": "0'))
    with pytest.raises(
        ModelError, match=r"was fitted on .* with fingerprint 0.*give the same weights"
    ):
        run_here(job, *as_it_is)
    description.write_text(text.replace('"trust_remote_code": false', '"trust_remote_code": true'))
    with pytest.raises(
        ModelError, match=r"brings code of its own: .*set teacher\.trust_remote_code to true"
    ):
        run_here(job, *as_it_is)
    assert not (job / "runs" / "again").exists()


def test_a_fitted_classifier_for_other_labels_is_refused_at_once(job: Path, tmp_path: Path) -> None:
    teacher = run_here(job, f"teacher.fit={FITS['full']}", until="label").folder.teacher_path
    (
        teacher / "teacher.json"
    ).unlink()  # what is left is an ordinary classifier, whose order of labels may differ
    (teacher / "head.safetensors").unlink()
    as_it_is = (f"teacher.model={teacher}", "teacher.fit={method: none}", "name=again")
    assert run_here(
        job, *as_it_is, "task.labels=[positive, neutral, negative]", until="label"
    ).stages
    with pytest.raises(
        ModelError,
        match=r"classifies as \['negative', 'neutral', 'positive'\], but task\.labels are",
    ):
        teacher_facts(recipe_of(job, *as_it_is, "task.labels=[negative, neutral, superb]"))
