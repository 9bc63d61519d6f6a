"""What a seed moves in the data of a recipe, and what it leaves: as its documentation says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.recipes.loading import load_recipe
from tutelage.tasks.classification.data import data_fingerprint, prepare_data, transfer_set
from tutelage.tasks.classification.recipe import Recipe

RECIPE = """\
task: {kind: classification, labels: [a, b]}
data: {train: train.csv, test: test.csv, validation: validation.csv}
teacher: {kind: classifier, model: ./model, fit: {method: head}}
students: {gru: {kind: rnn}}
"""


@pytest.fixture
def recipe(tmp_path: Path):
    for number, name in enumerate(("train", "validation", "test")):
        rows = [
            f"{name} text of row {row} among many others,{'ab'[row % 2]}"
            for row in range(40 * number, 40 * number + 40)
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return lambda seed, *overrides: load_recipe(
        tmp_path / "recipe.yaml", overrides=[f"train.seed={seed}", *overrides]
    )


def seen(recipe: Recipe) -> tuple[str, set[str]]:
    data = prepare_data(recipe)
    return data_fingerprint(data), {example.text for example in transfer_set(recipe, data)}


def test_with_files_every_seed_sees_the_same_rows(recipe) -> None:
    assert seen(recipe(0)) == seen(recipe(1))


@pytest.mark.parametrize("share", ["data.test=0.2", "data.validation=0.2"])
def test_a_share_is_chosen_by_the_seed(recipe, share: str) -> None:
    assert seen(recipe(0, share))[0] != seen(recipe(1, share))[0]


def test_texts_made_by_augmentation_follow_the_seed(recipe) -> None:
    (same, first), (also, second) = (
        seen(recipe(seed, "data.augment={copies: 2}")) for seed in (0, 1)
    )
    assert same == also
    assert first != second
