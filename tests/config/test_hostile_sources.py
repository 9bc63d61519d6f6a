"""Recipes that YAML 1.2 allows, or nearly, and that are none: refused with their line, at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tutelage.config.source import read_source
from tutelage.errors import RecipeError
from tutelage.recipes.loading import load_recipe

GOOD = """\
task: {kind: classification, labels: [bad, good]}
data: {train: train.csv, test: test.csv}
teacher: {kind: classifier, model: owner/name}
students:
  a: &small {kind: rnn, hidden_size: 16}
  b: *small
train: {epochs: 1, seed: 0}
"""


def problems(text: str | bytes, folder: Path, *overrides: str) -> list[str]:
    path = folder / "r.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    try:
        load_recipe(path, overrides=overrides)
    except RecipeError as error:
        return [str(one).removeprefix(f"{path}:") for one in error.problems]
    return []


def test_the_recipe_to_begin_with_is_fine(tmp_path: Path) -> None:
    assert problems(GOOD, tmp_path) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("b: *small", "b: {<<: *small, hidden_size: 8}", "6: `<<` merges keys in YAML 1.1 alone"),
        ("b: *small", "b:\n    <<: [*small]\n    hidden_size: 8", "7: `<<` merges keys"),
        ("task:", "<<: {name: x}\ntask:", "1: `<<` merges keys"),
        ("seed: 0", "seed: 99999999999999999999999", "7: `train.seed` is 99999999999999999999999, a whole number of more than 64 bits"),
        ("seed: 0", "seed: -99999999999999999999999", "more than 64 bits"),
        ("seed: 0", f"seed: 0x{'f' * 9_999}", "more than 64 bits"),
        ("seed: 0", "seed: -1", "7: `train.seed` is -1; expected a number greater than or equal to 0"),
        ("epochs: 1", f"epochs: {'9' * 30}", "`train.epochs` is 9"),
        ("seed: 0", f"seed: {'9' * 5_000}", "7: `train.seed` is '999"),
        ("good]", "good, \"\\ud800\"]", "1: task.labels.2: '\\ud800' holds half of a character"),
        ("epochs", '"\\ud800"', "7: the key '\\ud800' holds half of a character"),
        ("train.csv", '"a\\0.csv"', "or holds a null byte"),
        ("train.csv", "~nobody-there/x.csv", "2: `data.train`: ~nobody-there/x.csv: there is no such home folder"),
        ("train.csv", f"{'a' * 300}.csv", "at most 255 bytes a name"),
        ("train.csv", f"{'a/' * 3_000}x.csv", "4,000 in all"),
        ("owner/name", f"./{'a' * 300}", "at most 255 bytes a name"),
        ("owner/name", "a" * 300, None),
        ("b: *small", "b: {kind: rnn, hidden_size: 2147483647}", "less than or equal to 1000000"),
        ("b: *small", "b: {kind: rnn, layers: 2147483647}", "less than or equal to 1000"),
        ("b: *small", "b: {kind: rnn, tokenizer: {vocabulary_size: 2147483647}}", "less than or equal to 10000000"),
        ("test: test.csv", "test: test.csv, augment: {copies: 2147483647}", "less than or equal to 1000"),
        ("train: {", "evaluate: {bootstrap_samples: 2147483647}\ntrain: {", "less than or equal to 1000000"),
        ("a: &small", f"{'a' * 201}: &small", "expected at most 200 (it names a folder)"),
        ("[bad, good]", "!!set {bad, good}", "1: the tag `!!set` is not known here; write the plain value"),
        ("[bad, good]", "!foo bar", "1: the tag `!foo` is not known here"),
        ("[bad, good]", "!!python/object/apply:os.system [id]", "1: the tag `!!python/object/apply:os.system`"),
        ("epochs: 1", "epochs: !!int ''", "`train.epochs` is ''; expected a whole number"),
        ("epochs: 1", "epochs: !!bool maybe", "expected a whole number"),
        ("[bad, good]", "&x [*x, a]", "1: this alias contains itself"),
        ("[bad, good]", '["\\U00110000", b]', "not valid YAML: chr() arg not in range"),
        ("[bad, good]", "[" * 60 + "]" * 60, "1: this is nested more than 50 deep"),
        ("[bad, good]", "[" * 4_000, "nested more than 50 deep"),
        ("task:", "%YAML 1.1\n---\ntask:", "1: not valid YAML: recipes are YAML 1.2: remove this directive"),
        ("task:", "%YAML 1.2\n---\ntask:", None),
        ("b: *small", "b: &small {kind: rnn}", None),
        ("task:", f"{'k' * 1_000_000}: 1\ntask:", ""),
        ("good]", f"good, {'y' * 1_000_000}, {'y' * 1_000_000}]", "1: `task.labels`: the label 'yyy"),
    ],
)  # fmt: skip
def test_it_is_refused_with_its_line_in_words(before, after, words, tmp_path) -> None:
    assert before in GOOD
    found = problems(GOOD.replace(before, after, 1), tmp_path)
    if words is None:
        assert found == []
    else:
        assert len(found) == 1
        assert words in found[0]
        assert len(found[0]) < 2_500


def test_an_alias_bomb_ends_soon(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    started = time.process_time()
    (found,) = problems("\n".join(lines), tmp_path)
    assert "unfolds without end" in found
    assert time.process_time() - started < 5


def test_more_values_than_any_recipe_has_are_refused_while_they_are_read(tmp_path: Path) -> None:
    (found,) = problems("a: [" + "1," * 200_000 + "]", tmp_path)
    assert "more than 100,000 values" in found


def test_a_file_that_is_no_recipe_is_read_in_part_only(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    with big.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RecipeError, match="has more than 4,194,304 bytes"):
        read_source(big)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "pipe", "."])
def test_what_is_no_file_is_refused_unread(path: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RecipeError, match=r"pipe or a device|this is a folder"):
        read_source(tmp_path / path)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "no/such/file"])
def test_a_name_that_no_file_can_have_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot be read|no such file"):
        read_source(tmp_path / name)


def test_a_recipe_may_come_through_a_pipe_of_the_shell(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"name: x\n")
    os.close(writer)
    assert read_source(Path(f"/dev/fd/{reader}")).values == {"name": "x"}
    os.close(reader)


def test_a_folder_whose_name_is_no_utf_8_is_said(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    found = problems(GOOD, folder)
    assert len(found) == 2
    assert all("is not UTF-8" in one for one in found)


@pytest.mark.parametrize(
    "override",
    ["a" + ".a" * 100_000 + "=1", "train.seed=" + "9" * 30, "train=" + "[" * 4_000, "=" * 9],
)
def test_overrides_are_as_bounded(override: str, tmp_path: Path) -> None:
    (found,) = problems(GOOD, tmp_path, override)
    assert found.startswith("--set")
    assert len(found) < 2_500


def test_many_labels_are_checked_in_time_that_grows_with_their_number(tmp_path: Path) -> None:
    labels = ", ".join(f"label{place}" for place in range(40_000))
    words = ", ".join(f"label{place}: word{place}" for place in range(20_000))
    teacher = f"{{kind: prompted, model: owner/name, verbalizers: {{{words}}}}}"
    text = GOOD.replace("bad, good", labels).replace(
        "{kind: classifier, model: owner/name}", teacher
    )
    started = time.process_time()
    (found,) = problems(text, tmp_path)
    assert "has no word for label20000, label20001" in found
    assert time.process_time() - started < 40
