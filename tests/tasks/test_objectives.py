"""The objective of a recipe: what it was named by before, whose keys count, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tutelage.config import dump_recipe
from tutelage.errors import RecipeError
from tutelage.losses import Objective
from tutelage.losses.table import DIVERGENCES, TABLE
from tutelage.recipes.loading import load_recipe
from tutelage.runs import fingerprint

HEAD = {
    "classification": """\
task: {kind: classification, labels: [bad, good]}
data: {train: train.csv, test: test.csv}
teacher: {kind: prompted, model: package:weights}
""",
    "causal_lm": """\
task: {kind: causal_lm}
data: {train: train.jsonl, test: test.jsonl}
teacher: {kind: causal_lm, model: package:weights}
targets: {kind: live}
""",
}
TASKS = tuple(HEAD)


def load(folder: Path, task: str, objective: str, own: str = "", *overrides: str) -> Any:
    students = f"students: {{gru: {{kind: rnn{own}}}}}\n"
    path = folder / "recipe.yaml"
    path.write_text(HEAD[task] + students + f"objective: {objective}\n")
    return load_recipe(path, overrides=overrides)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("{}", "fc91e8319336ec48"),
        ("{divergence: forward_kl, alpha: null}", "fc91e8319336ec48"),
        ("{loss_temperature: 2.0, soft_weight: 0.5}", "f171d1154811a2ad"),
    ],
)
def test_recipes_of_before_name_the_same_student(
    tmp_path: Path, objective: str, expected: str
) -> None:
    """When forward KL was the only one, a classification had no parameters to write down."""
    recipe = load(tmp_path, "classification", objective)
    assert fingerprint(recipe.objective_for("gru")) == expected
    assert "alpha" not in dump_recipe(recipe)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_every_divergence_is_usable_from_the_command_line(
    tmp_path: Path, task: str, name: Any
) -> None:
    keys = [f"objective.{key}=0.3" for key in TABLE[name].parameters]
    more = (f"objective.divergence={name}", "objective.loss_temperature=2", *keys)
    recipe = load(tmp_path, task, "{}", "", *more)
    found = recipe.objective_for("gru").spec()
    parameters = dict.fromkeys(TABLE[name].parameters, 0.3)
    assert found.distance.parameters == parameters
    assert found == Objective(
        divergence=name,
        loss_temperature=2.0,
        soft_weight=0.9 if task == "classification" else 0.8,
        **parameters,
    )
    path = tmp_path / "again.yaml"
    path.write_text(dump_recipe(recipe))
    assert load_recipe(path) == recipe


@pytest.mark.parametrize("task", TASKS)
def test_a_students_own_divergence_sets_the_common_parameters_aside(
    tmp_path: Path, task: str
) -> None:
    common = "{divergence: jensen_shannon, beta: 0.3, soft_weight: 0.5}"
    recipe = load(tmp_path, task, common, ", objective: {divergence: reverse_kl}")
    own = recipe.objective_for("gru").spec()
    assert own == Objective(divergence="reverse_kl", soft_weight=0.5)
    recipe = load(tmp_path, task, common, ", objective: {beta: 0.6}")
    assert recipe.objective_for("gru").spec().distance.parameters == {"beta": 0.6}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("objective", "own", "message"),
    [
        (
            "{divergence: reverse_kl, beta: 0.3}",
            "",
            "`objective.beta` has no meaning for reverse_kl, only for jensen_shannon and "
            "alpha_beta; remove it",
        ),
        (
            "{divergence: jensen_shannon}",
            ", objective: {head_mass: 0.3}",
            "`students.gru.objective.head_mass` has no meaning for jensen_shannon, only for "
            "adaptive_kl; remove it",
        ),
        (
            "{divergence: skew_forward_kl, alpha: 1}",
            "",
            "`objective.alpha` is 1; expected a number",
        ),
        ("{divergence: hellinger}", "", "expected one of forward_kl, reverse_kl, jensen_shannon"),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_line(
    tmp_path: Path, task: str, objective: str, own: str, message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, task, objective, own)
    (problem,) = caught.value.problems
    assert message in problem.message
    line = HEAD[task].count("\n") + (1 if own else 2)
    assert re.fullmatch(rf".*recipe\.yaml:{line}", problem.where)


def test_the_weight_of_a_classifiers_soft_targets_stays(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="unknown key `soft_weight_final`"):
        load(tmp_path, "classification", "{soft_weight_final: 0.5}")
