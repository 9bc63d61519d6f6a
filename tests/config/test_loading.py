"""Recipes from files: values, places, problems."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tutelage.config import (
    TEMPLATE,
    ClassifierTeacherSpec,
    HeadFit,
    PromptedTeacherSpec,
    Recipe,
    RecurrentSpec,
    load_recipe,
)
from tutelage.errors import RecipeError

MINIMAL = """\
task: {kind: classification, labels: [bad, good]}
data: {train: train.csv, test: ../test.jsonl}
teacher: {kind: prompted, model: owner/name}
students:
  gru: {kind: rnn}
"""


def write(folder: Path, text: str, name: str = "reviews.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, *overrides: str) -> Recipe:
    return load_recipe(write(folder, text), overrides=overrides)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(folder, text, *overrides)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_defaults_and_absolute_paths(tmp_path: Path) -> None:
    recipe = load(tmp_path, MINIMAL)
    assert recipe.name == "reviews"
    assert recipe.task.labels == ("bad", "good")
    assert recipe.data.train == tmp_path / "train.csv"
    assert recipe.data.test == tmp_path.parent / "test.jsonl"
    assert recipe.data.validation == 0.1
    assert recipe.data.unlabeled == ()
    assert isinstance(recipe.teacher, PromptedTeacherSpec)
    assert recipe.teacher.model == "owner/name"
    assert recipe.teacher.calibration == "none"
    assert isinstance(recipe.students["gru"], RecurrentSpec)
    assert recipe.students["gru"].tokenizer.kind == "wordpiece"
    assert (recipe.train.epochs, recipe.train.seed, recipe.objective.soft_weight) == (10, 0, 0.9)
    assert recipe.export == ("transformers",)


def test_template_loads_and_names_every_section(tmp_path: Path) -> None:
    recipe = load(tmp_path, TEMPLATE)
    assert isinstance(recipe.teacher, ClassifierTeacherSpec)
    assert recipe.teacher.fit == HeadFit(method="head")
    assert set(recipe.students) == {"transformer", "gru"}
    for section in ("task", "data", "teacher", "students", "objective", "train", "evaluate", "export"):
        assert re.search(rf"^{section}:", TEMPLATE, re.MULTILINE), section


def test_commented_keys_of_the_template_exist(tmp_path: Path) -> None:
    prompted = re.findall(
        r"^  # ((?:kind: prompted|instruction|shots|verbalizers|calibration).*)$", TEMPLATE, re.MULTILINE
    )
    keys = re.findall(r"^ *# [a-z_]+: .*$", TEMPLATE, re.MULTILINE)
    alone = [line for line in keys if line.strip("# ") not in prompted]
    assert len(prompted) == 5
    assert len(alone) == 13
    for line in alone:
        load(tmp_path, TEMPLATE.replace(line, line.replace("# ", "", 1), 1))
    block = "\n".join(f"  {line}" for line in prompted)
    recipe = load(tmp_path, re.sub(r"  kind: classifier.*\n(.*\n)  fit: .*", rf"{block}\n\1", TEMPLATE))
    assert isinstance(recipe.teacher, PromptedTeacherSpec)
    assert recipe.teacher.shots == 8


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


def test_every_problem_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
task: {kind: clasification, labels: [a, b, 3]}
data:
  trian: train.csv
  validation: 0.7
  test: hub:imdb:test
teacher: {kind: promptd, model: m}
students:
  small net: {kind: rnn}
  gru:
    kind: rnn
    cell: rnn
    train: {seed: 3, epohcs: 2}
  other: {cell: gru}
train:
  epochs: "10"
  epochs: 11
  loss_temperature: 2
export: [onnx]
"""
    assert problems(tmp_path, text) == [
        "reviews.yaml:1: `task.kind` is 'clasification'; expected one of classification, causal_lm; did you mean `classification`?",  # noqa: E501
        'reviews.yaml:1: `task.labels.2` is 3; expected text; put it in quotes: "3"',
        "reviews.yaml:2: `data.train` is missing; expected a csv, tsv, jsonl or parquet file",
        "reviews.yaml:3: unknown key `trian` in `data`; did you mean `train`?",
        "reviews.yaml:4: `data.validation`: 0.7 is not a share of train; expected a number above 0 and at most 0.5, or a file",  # noqa: E501
        "reviews.yaml:5: `data.test`: hub:imdb:test: hub: files are not available in this version; download to csv, jsonl, parquet",  # noqa: E501
        "reviews.yaml:6: `teacher.kind` is 'promptd'; expected one of prompted, classifier; did you mean `prompted`?",
        "reviews.yaml:8: `students.small net`: the name 'small net' is not usable; expected letters, digits, - and _ (it names a folder)",  # noqa: E501
        "reviews.yaml:11: `students.gru.cell` is 'rnn'; expected one of gru, lstm",
        "reviews.yaml:12: unknown key `seed` in `students.gru.train`; it belongs in `train`",
        "reviews.yaml:12: unknown key `epohcs` in `students.gru.train`; did you mean `epochs`?",
        "reviews.yaml:13: `students.other` has no `kind`; expected one of transformer, rnn, pretrained",
        "reviews.yaml:15: `train.epochs` is '10'; expected a whole number without quotes",
        f"reviews.yaml:16: `epochs` is given twice, first at {tmp_path}/reviews.yaml:15; keep one of them",
        "reviews.yaml:17: unknown key `loss_temperature` in `train`; it belongs in `objective`",
        "reviews.yaml:18: `export.0`: `onnx` is not available in this version",
    ]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("epoch: 3", "unknown key `epoch`; known here: name, task"),
        ("nmae: x", "unknown key `nmae`; did you mean `name`"),
        ("name: a b", "the name 'a b' is not usable"),
        ("targets: {kind: sampled}", "`sampled` targets belong to the task causal_lm"),
        ("objective: {divergence: reverse_kl}", "`reverse_kl` is for the task causal_lm"),
        ("objective: {divergence: hellinger}", "expected one of forward_kl"),
        ("objective: {loss_temperature: 0}", "is 0; expected a number greater than 0"),
        ("objective: {soft_weight: 1.5}", "is 1.5; expected a number less than or equal to 1"),
        ("train: {epochs: 0}", "is 0; expected a number greater than or equal to 1"),
        ("train: {batch_size: 1.5}", "is 1.5; expected a whole number"),
        ("train: {patience: true}", "is true; expected a whole number"),
        ("train: {learning_rate: .inf}", "is inf; expected a finite number"),
        ("train: {learning_rate: fast}", "is 'fast'; expected a number"),
        ("train: 3", "`train` is 3; expected a mapping of keys to values"),
        ("evaluate: {control: yes}", "is 'yes'; expected true or false"),
        ("export: transformers", "expected a list, such as"),
        ("export: [gguf]", "`gguf` is not available in this version"),
        ("1: x", "`1` is not text, as a key must be; put it in quotes"),
        ("a: [1", "not valid YAML"),
        ("a: &x [*x]", "this alias contains itself"),
        ("a: !!int many", "unknown key `a`"),
    ],
)
def test_refused(tmp_path: Path, section: str, message: str) -> None:
    found = problems(tmp_path, MINIMAL + section + "\n")
    assert len(found) == 1
    assert message in found[0]
    assert re.match(r"reviews\.yaml:[67]: ", found[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: classification, ", "", "`task.kind` is missing; expected kind: classification or causal_lm"),
        ("[bad, good]", "[bad]", "there is 1 label; a classification needs at least two"),
        ("[bad, good]", "[bad, good, bad]", "the label 'bad' is listed 2 times"),
        ("[bad, good]", "[bad, ' good']", "the label ' good' is empty or has space around it"),
        ("[bad, good]", "bad", "expected a list, such as"),
        ("train: train.csv", "train: train.txt", "train.txt is not in a format that can be read"),
        ("train: train.csv", "train: 3", "3 is not a file"),
        ("train.csv,", "train.csv, validation: 0,", "0 is not a share of train"),
        ("train.csv,", "train.csv, validation: true,", "True is not a file"),
        ("train.csv,", "train.csv, augment: {word_mask: 0.1},", "`data.augment.copies` is missing"),
        ("train.csv,", "train.csv, augment: {copies: 1, ngram_min: 7},", r"ngram_min (7) is above ngram_max (5)"),
        ("train.csv,", "train.csv, augment: {copies: 1, ngram: 0, word_mask: 0},", "no new text can be made"),
        (", model: owner/name", "", "`teacher.model` is missing; expected a folder"),
        ("owner/name", "owner/name, template: 'Review:'", "the template has no {text}"),
        ("owner/name", "owner/name, fit: {method: head}", "unknown key `fit` in `teacher`"),
        ("owner/name", "owner/name, chat: maybe", "expected one of auto, true, false"),
        ("owner/name", "m, verbalizers: {bda: x, bad: z, good: y}", "no label `bda`; did you mean `bad`?"),
        ("owner/name", "m, verbalizers: {bad: x}", "has no word for good"),
        ("owner/name", "m, verbalizers: {bad: [x, y], good: y}", "`y` stands for both bad and good"),
        ("owner/name", "m, verbalizers: {bad: [], good: y}", "expected at least one entry"),
        ("kind: prompted, model: owner/name", "kind: classifier, model: m, fit: {rank: 4}", "has no `method`; expected one of head"),  # noqa: E501
        ("kind: prompted, model: owner/name", "kind: classifier, model: m, fit: {method: head, rank: 4}", "unknown key `rank` in `teacher.fit`"),  # noqa: E501
        ("kind: prompted, model: owner/name", "kind: classifier, model: m, fit: {method: head, cross_fit: 1}", "one fold leaves nothing"),  # noqa: E501
        ("gru: {kind: rnn}", "{}", "`students` is {}; expected at least one entry"),
        ("gru: {kind: rnn}", "t: {kind: transformer, hidden_size: 100, heads: 3}", "cannot be divided among 3 heads"),
        ("gru: {kind: rnn}", "t: {kind: transformer, tokenizer: {kind: wordpeice}}", "did you mean `wordpiece`?"),
    ],
)  # fmt: skip
def test_refused_inside(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    found = problems(tmp_path, MINIMAL.replace(old, new, 1))
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_recipe_misses_its_four_sections(tmp_path: Path, text: str) -> None:
    found = problems(tmp_path, text)
    assert [re.findall("`([a-z]+)` is missing", problem)[0] for problem in found] == [
        "task",
        "data",
        "teacher",
        "students",
    ]


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no such file; write one with: tutelage init"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(RecipeError, match="this is a folder; expected a recipe file"):
        load_recipe(tmp_path)
    with pytest.raises(RecipeError, match="a recipe is a mapping with the keys"):
        load(tmp_path, "- a\n- b\n")
    (tmp_path / "latin.yaml").write_bytes(b"name: x\n# caf\xe9\n")
    with pytest.raises(RecipeError, match=r"latin.yaml:2: byte 13 is not UTF-8 \(0xe9\); save the recipe as UTF-8"):
        load_recipe(tmp_path / "latin.yaml")


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


def test_override_problems_point_at_the_override(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        MINIMAL,
        "trian.epochs=3",
        "train.epochs=many",
        "data.test.x=1",
        "data.text_field",
        "objective=[1",
        "a..b=1",
    )
    assert found == [
        "--set data.test.x: `data.test` holds '../test.jsonl', which has no keys; set it as a whole",
        "--set data.text_field: expected KEY=VALUE, such as --set train.epochs=3",
        found[2],
        "--set a..b=1: expected KEY=VALUE, such as --set train.epochs=3",
        "--set train.epochs: `train.epochs` is 'many'; expected a whole number",
        "--set trian.epochs: unknown key `trian`; did you mean `train`?",
    ]
    assert found[2].startswith("--set objective: not valid YAML")


def test_an_overridden_section_has_no_lines_left(tmp_path: Path) -> None:
    text = MINIMAL.replace("  gru: {kind: rnn}", "  gru:\n    kind: pretrained\n    model: m\n")
    assert problems(tmp_path, text, "students.gru={kind: pretrained}") == [
        "--set students.gru: `students.gru.model` is missing; expected a folder, a .gguf file, a hub id, or package:NAME"  # noqa: E501
    ]


def test_student_keys_over_the_common_ones(tmp_path: Path) -> None:
    text = MINIMAL.replace("{kind: rnn}", "{kind: rnn, train: {epochs: 10}, objective: {soft_weight: 0.5}}")
    recipe = load(tmp_path, text + "train: {epochs: 3, batch_size: 8, seed: 5}\nobjective: {loss_temperature: 2}\n")
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
