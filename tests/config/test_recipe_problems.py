"""Recipes that are wrong: every problem with its place in the file or among the overrides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.config.recipe_files import MINIMAL, load

from tutelage.errors import RecipeError
from tutelage.recipes.loading import load_recipe


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(folder, text, *overrides)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


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
export: [gguf]
"""
    assert problems(tmp_path, text) == [
        "reviews.yaml:1: `task.kind` is 'clasification'; expected one of classification, "
        "causal_lm; did you mean `classification`?",
        'reviews.yaml:1: `task.labels.2` is 3; expected text; put it in quotes: "3"',
        "reviews.yaml:2: `data.train` is missing; expected a csv, tsv, jsonl or parquet file",
        "reviews.yaml:3: unknown key `trian` in `data`; did you mean `train`?",
        "reviews.yaml:4: `data.validation`: 0.7 is not a share of train; expected a number above 0 "
        "and at most 0.5, or a file",
        "reviews.yaml:5: `data.test`: hub:imdb:test: hub: files are not available in this version; "
        "download to csv, jsonl, parquet",
        "reviews.yaml:6: `teacher.kind` is 'promptd'; expected one of prompted, classifier, api, recorded, "
        "ensemble; did you mean `prompted`?",
        "reviews.yaml:8: `students.small net`: the name 'small net' is not usable; expected "
        "letters, digits, - and _ (it names a folder)",
        "reviews.yaml:11: `students.gru.cell` is 'rnn'; expected one of gru, lstm",
        "reviews.yaml:12: unknown key `seed` in `students.gru.train`; it belongs in `train`",
        "reviews.yaml:12: unknown key `epohcs` in `students.gru.train`; did you mean `epochs`?",
        "reviews.yaml:13: `students.other` has no `kind`; expected one of transformer, rnn, "
        "pretrained, pruned, linear, static",
        "reviews.yaml:15: `train.epochs` is '10'; expected a whole number without quotes",
        f"reviews.yaml:16: `epochs` is given twice, first at {tmp_path}/reviews.yaml:15; keep one "
        "of them",
        "reviews.yaml:17: unknown key `loss_temperature` in `train`; it belongs in `objective`",
        "reviews.yaml:18: `export.0`: gguf is for students of the task causal_lm; this one is "
        "classification: leave it out",
    ]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("epoch: 3", "unknown key `epoch`; known here: name, task"),
        ("nmae: x", "unknown key `nmae`; did you mean `name`"),
        ("name: a b", "the name 'a b' is not usable"),
        ("targets: {kind: sampled}", "`sampled` targets belong to the task causal_lm"),
        ("objective: {alpha: 0.2}", "`objective.alpha` has no meaning for forward_kl"),
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
        ("export: [gguf]", "`export.0`: gguf is for students of the task causal_lm; this one is"),
        ("export: [onxx]", "`export.0` is 'onxx'; expected one of transformers, onnx"),
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
        ("kind: classification, ", "",
         "`task.kind` is missing; expected kind: classification or causal_lm"),
        ("[bad, good]", "[bad]", "there is 1 label; a classification needs at least two"),
        ("[bad, good]", "[bad, good, bad]", "the label 'bad' is listed 2 times"),
        ("[bad, good]", "[bad, ' good']", "the label ' good' is empty or has space around it"),
        ("[bad, good]", "bad", "expected a list, such as"),
        ("train: train.csv", "train: train.txt", "train.txt is not in a format that can be read"),
        ("train: train.csv", "train: 3", "3 is not a file"),
        ("train.csv,", "train.csv, validation: 0,", "0 is not a share of train"),
        ("train.csv,", "train.csv, validation: true,", "True is not a file"),
        ("train.csv,", "train.csv, augment: {word_mask: 0.1},", "`data.augment.copies` is missing"),
        ("train.csv,", "train.csv, augment: {copies: 1, ngram_min: 7},",
         r"ngram_min (7) is above ngram_max (5)"),
        ("train.csv,", "train.csv, augment: {copies: 1, ngram: 0, word_mask: 0},",
         "no new text can be made"),
        (", model: owner/name", "", "`teacher.model` is missing; expected a folder"),
        ("owner/name", "owner/name, template: 'Review:'", "the template has no {text}"),
        ("owner/name", "owner/name, fit: {method: head}", "unknown key `fit` in `teacher`"),
        ("owner/name", "owner/name, chat: maybe", "expected one of auto, true, false"),
        ("owner/name", "m, verbalizers: {bda: x, bad: z, good: y}",
         "no label `bda`; did you mean `bad`?"),
        ("owner/name", "m, verbalizers: {bad: x}", "has no word for good"),
        ("owner/name", "m, verbalizers: {bad: [x, y], good: y}",
         "`y` stands for both bad and good"),
        ("owner/name", "m, verbalizers: {bad: [], good: y}", "expected at least one entry"),
        ("kind: prompted, model: owner/name", "kind: classifier, model: m, fit: {rank: 4}",
         "has no `method`; expected one of head"),
        ("kind: prompted, model: owner/name",
         "kind: classifier, model: m, fit: {method: head, rank: 4}",
         "unknown key `rank` in `teacher.fit`"),
        ("kind: prompted, model: owner/name",
         "kind: classifier, model: m, fit: {method: head, cross_fit: 1}",
         "one fold leaves nothing"),
        ("gru: {kind: rnn}", "{}", "`students` is {}; expected at least one entry"),
        ("gru: {kind: rnn}", "t: {kind: transformer, hidden_size: 100, heads: 3}",
         "cannot be divided among 3 heads"),
        ("gru: {kind: rnn}", "t: {kind: transformer, tokenizer: {kind: wordpeice}}",
         "did you mean `wordpiece`?"),
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
    with pytest.raises(
        RecipeError, match=r"latin.yaml:2: byte 13 is not UTF-8 \(0xe9\); save the recipe as UTF-8"
    ):
        load_recipe(tmp_path / "latin.yaml")


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
    assert found.pop(2).startswith("--set objective: not valid YAML")
    assert found == [
        "--set data.test.x: `data.test` holds '../test.jsonl', which has no keys; set it as a "
        "whole",
        "--set data.text_field: expected KEY=VALUE, such as --set train.epochs=3",
        "--set a..b=1: expected KEY=VALUE, such as --set train.epochs=3",
        "--set train.epochs: `train.epochs` is 'many'; expected a whole number",
        "--set trian.epochs: unknown key `trian`; did you mean `train`?",
    ]


def test_an_overridden_section_has_no_lines_left(tmp_path: Path) -> None:
    text = MINIMAL.replace("  gru: {kind: rnn}", "  gru:\n    kind: pretrained\n    model: m\n")
    assert problems(tmp_path, text, "students.gru={kind: pretrained}") == [
        "--set students.gru: `students.gru.model` is missing; expected a folder, a .gguf file, a "
        "hub id, or package:NAME"
    ]
