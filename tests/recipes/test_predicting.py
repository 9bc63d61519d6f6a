"""Answering a file: which column holds the text, and what is refused before anything is
answered."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tutelage.cli.main import main
from tutelage.errors import DataError, RecipeError
from tutelage.recipes.predicting import predict_file, text_column
from tutelage.students import RNN, save

RECIPE = """\
task: {kind: classification, labels: [bad, good]}
data: {train: train.csv, test: test.csv, text_field: review}
teacher: {kind: classifier, model: owner/name}
students: {gru: {kind: rnn}}
"""


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    """A run of a recipe whose texts stand in `review`, with one student that has learnt nothing."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "recipe.yaml").write_text(RECIPE)
    student = RNN(labels=["bad", "good"], hidden_size=4, embedding_size=4, vocabulary_size=60)
    save(*student.build(["a good film", "a bad film"]), folder / "students" / "gru")
    return folder


@pytest.fixture
def new(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text("review,comment\ngood film,one\nbad film,two\n")
    return path


def answered(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("inside", ["", "students/gru"])
def test_the_text_column_is_that_of_the_run_unless_another_is_named(
    finished_run, new, inside
) -> None:
    written = predict_file(finished_run / inside, new)
    assert answered(Path(written["out"])) == ["good film", "bad film"]
    written = predict_file(finished_run / inside, new, text_field="comment")
    assert answered(Path(written["out"])) == ["one", "two"]


def test_the_command_line_follows_the_run_too(finished_run, new, tmp_path, capsys) -> None:
    words = ["predict", str(finished_run), "--file", str(new), "--out", str(tmp_path / "out.csv")]
    assert main(words) == 0
    assert answered(tmp_path / "out.csv") == ["good film", "bad film"]
    assert main([*words, "--text-field", "comment"]) == 0
    assert answered(tmp_path / "out.csv") == ["one", "two"]
    assert main([*words, "--text-field", "reveiw"]) == 2
    assert "did you mean `review`?" in capsys.readouterr().err


def test_without_a_recipe_the_column_is_called_text(tmp_path) -> None:
    assert text_column(tmp_path / "students" / "gru") == "text"
    assert text_column(tmp_path) == "text"
    (tmp_path / "recipe.yaml").write_text("of: another version")
    assert text_column(tmp_path) == "text"


def test_a_missing_column_speaks_of_the_option_not_of_a_recipe(finished_run, new) -> None:
    with pytest.raises(
        RecipeError, match=r"no column `words`.*Name the right one with --text-field"
    ) as refusal:
        predict_file(finished_run, new, text_field="words")
    assert "recipe" not in str(refusal.value)


def test_a_missing_folder_is_refused_before_the_file_is_even_read(finished_run, tmp_path) -> None:
    with pytest.raises(
        DataError,
        match=r"--out .*out\.csv: there is no folder .*absent; make it, or choose another",
    ):
        predict_file(finished_run, tmp_path / "unread.csv", out=tmp_path / "absent" / "out.csv")


def test_a_file_that_is_not_there_is_refused_without_a_word_of_recipes(
    finished_run, tmp_path
) -> None:
    with pytest.raises(
        DataError,
        match=r"--file .*missing\.csv: there is no such file; correct the path, which starts",
    ):
        predict_file(finished_run, tmp_path / "missing.csv")
