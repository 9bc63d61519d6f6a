"""Answering a file: which column holds the text, and what is refused before anything is
answered."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tutelage.cli.main import main
from tutelage.errors import DataError, RecipeError
from tutelage.recipes.predicting import predict_file, predict_texts, text_column
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


@pytest.mark.parametrize("name", ["A.CSV", "b.Tsv", "c.JSONL", "d.Parquet"])
def test_endings_may_be_capital(name: str, finished_run, new, tmp_path) -> None:
    written = predict_file(finished_run, new, out=tmp_path / name)
    assert written["rows"] == 2
    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_of_no_texts_is_refused_from_python_too(size: int, finished_run, new) -> None:
    with pytest.raises(RecipeError, match=f"batch_size is {size}: expected"):
        predict_texts(finished_run, ["good", "bad"], batch_size=size)
    with pytest.raises(RecipeError, match=f"batch_size is {size}: expected"):
        predict_file(finished_run, new, batch_size=size)


HOSTILE_TEXTS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "＝1", "fine", "a=1", "'=1", "1"]


@pytest.fixture
def formulas(tmp_path: Path) -> Path:
    path = tmp_path / "formulas.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["review"], *([text] for text in HOSTILE_TEXTS)])
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_cells_that_a_spreadsheet_would_compute_are_counted_or_made_text(
    ending: str, finished_run, formulas, tmp_path
) -> None:
    def texts(path: Path) -> list[str]:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                row["text"]
                for row in csv.DictReader(file, delimiter="\t" if ending == "tsv" else ",")
            ]

    plain, safe = tmp_path / f"plain.{ending}", tmp_path / f"safe.{ending}"
    assert predict_file(finished_run, formulas, out=plain)["formulas"] == 7
    assert texts(plain) == HOSTILE_TEXTS
    assert predict_file(finished_run, formulas, out=safe, spreadsheet_safe=True)["formulas"] == 7
    assert texts(safe) == [f"'{text}" for text in HOSTILE_TEXTS[:7]] + HOSTILE_TEXTS[7:]


def test_the_command_line_speaks_of_such_cells(
    finished_run, formulas, new, tmp_path, capsys
) -> None:
    words = ["predict", finished_run, "--file", formulas, "--out", tmp_path / "out.csv"]
    assert main([*map(str, words)]) == 0
    assert "may compute: 7. With --spreadsheet-safe" in capsys.readouterr().out
    assert main([*map(str, words), "--spreadsheet-safe"]) == 0
    assert "spreadsheet" not in capsys.readouterr().out
    assert main([*map(str, words[:3]), str(new), "--out", str(tmp_path / "out.csv")]) == 0
    assert "spreadsheet" not in capsys.readouterr().out


def test_only_spreadsheets_have_formulas(finished_run, formulas, tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    assert predict_file(finished_run, formulas, out=out)["formulas"] == 0
    with pytest.raises(RecipeError, match="about csv and tsv"):
        predict_file(finished_run, formulas, out=out, spreadsheet_safe=True)


@pytest.mark.parametrize(
    "option", [["--out", "x.csv"], ["--text-field", "a"], ["--spreadsheet-safe"]]
)
def test_what_is_about_a_file_is_refused_beside_texts(
    option: list[str], finished_run, capsys
) -> None:
    assert main(["predict", str(finished_run), "good film", *option]) == 2
    assert f"{option[0]} is about --file" in capsys.readouterr().err


def test_a_text_of_bytes_that_are_no_utf_8_is_refused(finished_run, capsys) -> None:
    assert main(["predict", str(finished_run), "fine", "caf\udce9"]) == 2
    assert "text 2 holds bytes that are not UTF-8" in capsys.readouterr().err


def test_another_name_than_the_folders_is_refused(finished_run) -> None:
    folder = finished_run / "students" / "gru"
    assert predict_texts(folder, ["good"], student="gru") == predict_texts(folder, ["good"])
    with pytest.raises(RecipeError, match="the folder of one student"):
        predict_texts(folder, ["good"], student="lstm")
