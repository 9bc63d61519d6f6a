"""Recipes from files: values, defaults, paths and overrides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.config.recipe_files import MINIMAL, load, write

from tutelage.recipes.loading import load_recipe
from tutelage.students import RNN
from tutelage.tasks.classification.template import TEMPLATE
from tutelage.teachers.api.spec import ApiTeacherSpec
from tutelage.teachers.classifier.fits import HeadFit
from tutelage.teachers.classifier.spec import ClassifierTeacherSpec
from tutelage.teachers.prompted.spec import PromptedTeacherSpec


def test_defaults_and_absolute_paths(tmp_path: Path) -> None:
    recipe = load(tmp_path, MINIMAL)
    assert recipe.name == "reviews"
    assert recipe.task.labels == ("bad", "good")
    assert recipe.data.train == tmp_path / "train.csv"
    assert recipe.data.test == tmp_path.parent / "test.jsonl"
    assert recipe.data.validation == 0.1
    assert recipe.data.unlabeled == ()
    assert recipe.teacher.spec() == PromptedTeacherSpec(model="owner/name")
    assert recipe.students["gru"].spec(labels=("a", "b")) == RNN(labels=("a", "b"))
    assert recipe.students["gru"].spec(labels=()).tokenizer == "wordpiece"
    assert (recipe.train.epochs, recipe.train.seed, recipe.objective.soft_weight) == (10, 0, 0.9)
    assert recipe.export == ("transformers",)


def test_template_loads_and_names_every_section(tmp_path: Path) -> None:
    recipe = load(tmp_path, TEMPLATE)
    teacher = recipe.teacher.spec()
    assert isinstance(teacher, ClassifierTeacherSpec)
    assert teacher.fit == HeadFit()
    assert set(recipe.students) == {"transformer", "gru"}
    for section in (
        "task",
        "data",
        "teacher",
        "students",
        "objective",
        "train",
        "evaluate",
        "export",
    ):
        assert re.search(rf"^{section}:", TEMPLATE, re.MULTILINE), section


def test_commented_keys_of_the_template_exist(tmp_path: Path) -> None:
    prompted = re.findall(
        r"^  # ((?:kind: prompted|instruction|shots|verbalizers|calibration).*)$",
        TEMPLATE,
        re.MULTILINE,
    )
    served = re.findall(
        r"^  # ((?:kind: api|protocol|model|base_url|api_key_env|terms|price|budget).*)$",
        TEMPLATE,
        re.MULTILINE,
    )
    keys = re.findall(r"^ *# [a-z_]+: .*$", TEMPLATE, re.MULTILINE)
    alone = [line for line in keys if line.strip("# ") not in (*prompted, *served)]
    assert len(served) == 8, served
    assert len(prompted) == 5
    assert len(alone) == 14
    for line in alone:
        load(tmp_path, TEMPLATE.replace(line, line.replace("# ", "", 1), 1))
    block = "\n".join(f"  {line}" for line in prompted)
    recipe = load(
        tmp_path, re.sub(r"  kind: classifier.*\n(.*\n)  fit: .*", rf"{block}\n\1", TEMPLATE)
    )
    assert recipe.teacher.spec_class is PromptedTeacherSpec
    assert recipe.teacher.shots == 8
    block = "\n".join(f"  {line}" for line in served)
    recipe = load(
        tmp_path,
        re.sub(r"  kind: classifier.*\n.*\n  fit: .*", block, TEMPLATE).replace(" ...", " m"),
    )
    assert recipe.teacher.spec_class is ApiTeacherSpec
    assert recipe.teacher.budget.cost == 20


def test_yaml_1_2_scalars(tmp_path: Path) -> None:
    text = (
        MINIMAL.replace("[bad, good]", "[no, yes]")
        + "train: {learning_rate: 1e-4, checkpoint_every_steps: 2_000_000}\n"
    )
    recipe = load(tmp_path, text)
    assert recipe.task.labels == ("no", "yes")
    assert recipe.train.learning_rate == 1e-4
    assert recipe.train.checkpoint_every_steps == 2_000_000


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + MINIMAL).name == "reviews"


def test_section_without_lines_means_its_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL + "train:\n  # epochs: 3\n").train.epochs == 10


def test_overrides_come_before_validation(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        MINIMAL,
        "train.epochs=3",
        "data.augment={copies: 2}",
        "data.augment.ngram=0.5",
        "students.gru.train.learning_rate=1e-2",
        "students.big={kind: rnn, hidden_size: 256}",
        "data.validation=held.csv",
        "name=other",
    )
    assert recipe.train.epochs == 3
    assert recipe.data.augment is not None
    assert (recipe.data.augment.copies, recipe.data.augment.ngram) == (2, 0.5)
    assert recipe.train_for("gru").learning_rate == 1e-2
    assert recipe.students["big"].kind == "rnn"
    assert recipe.data.validation == tmp_path / "held.csv"
    assert recipe.name == "other"


def test_override_repairs_a_wrong_value(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL + "train: {epochs: ten}\n", "train.epochs=2").train.epochs == 2


def test_student_keys_over_the_common_ones(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "{kind: rnn}", "{kind: rnn, train: {epochs: 10}, objective: {soft_weight: 0.5}}"
    )
    recipe = load(
        tmp_path,
        text + "train: {epochs: 3, batch_size: 8, seed: 5}\nobjective: {loss_temperature: 2}\n",
    )
    # epochs: 10 is the default, yet it was asked for, so it wins over the common 3.
    assert recipe.train_for("gru").epochs == 10
    assert recipe.train_for("gru").batch_size == 8
    assert recipe.train_for("gru").seed == 5
    assert recipe.objective_for("gru").soft_weight == 0.5
    assert recipe.objective_for("gru").loss_temperature == 2
    assert type(recipe.train_for("gru")) is type(recipe.train)


def test_models_that_are_paths_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    for given, expected in {
        "weights": str(tmp_path / "weights"),
        "./absent": str(tmp_path / "absent"),
        "models/a.gguf": str(tmp_path / "models" / "a.gguf"),
        "a/b/c": str(tmp_path / "a" / "b" / "c"),
        "owner/name": "owner/name",
        "package:llm": "package:llm",
    }.items():
        assert load(tmp_path, MINIMAL.replace("owner/name", given)).teacher.model == expected


def test_recipes_are_frozen(tmp_path: Path) -> None:
    recipe = load(tmp_path, MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.epochs = 3  # type: ignore[misc]


def test_name_from_an_unusual_file_name(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, MINIMAL, "my recipe é.v2.yaml")).name == "my-recipe---v2"
