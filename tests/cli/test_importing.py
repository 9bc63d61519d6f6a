"""`tutelage import`: what is understood of a file, what is not, and the normal form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.cli.main import main
from tutelage.errors import RecipeError
from tutelage.recipes.importing import import_answers


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    path = tmp_path / "votes.csv"
    path.write_text("text,votes_yes,votes_no\none,3,0\ntwo,1,2\none,1,0\nthree,,\n", "utf-8")
    return path


def test_a_person_is_told_what_was_understood(
    votes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(votes)]) == 0
    assert capsys.readouterr().out == (
        "votes.csv: votes, in votes_yes, votes_no; 0.5 added to each\n"
        "  rows     4: 1 without an answer, 1 about a text that was there before\n"
        "  texts    2: 0 with answers that differ\n"
        "  entropy  0.493 nats on average, of at most 0.693\n"
        "  2 labels, with their mean probability:\n"
        "    yes  0.637\n"
        "    no   0.362\n"
    )


def test_a_program_is_told_the_same(votes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(votes), "--labels", "no, yes", "--smoothing", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert list(found["labels"].items()) == [("no", 0.333333), ("yes", 0.666667)]
    assert (found["rows"], found["texts"], found["repeated_rows"]) == (4, 2, 1)
    assert (found["problems"], found["out"], found["smoothing"]) == ([], None, 0.0)


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "jsonl"])
def test_the_normal_form_says_the_same(
    votes: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = votes.with_name(f"normal.{ending}")
    assert main(["import", str(votes), "--out", str(out)]) == 0
    assert f"Wrote {out}" in capsys.readouterr().out
    before, after = import_answers(votes).recorded, import_answers(out).recorded
    assert before is not None
    assert after is not None
    assert (after.form, after.labels, after.ids) == ("probabilities", before.labels, before.ids)
    assert after.probs == pytest.approx(before.probs, abs=1e-6)


def test_rows_that_are_not_understood_are_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "answers.csv", tmp_path / "out.csv"
    bad = "".join(f"text {row},2,2\n" for row in range(12))
    path.write_text(f"text,p_yes,p_no\none,0.5,0.5\n{bad}", "utf-8")
    assert main(["import", str(path), "--out", str(out)]) == 2
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "answers.csv: probabilities, in p_yes, p_no"
    assert sum("sum to 4; expected 1" in line for line in said) == 10
    assert said[-2].endswith("and 2 more rows whose probabilities do not sum to 1")
    assert said[-1] == f"Not everything was understood, so {out} was not written."
    assert not out.exists()
    assert main(["import", str(path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_labels_may_be_those_of_a_recipe(votes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = votes.with_name("recipe.yaml")
    recipe.write_text(
        "task: {kind: classification, labels: [no, yes]}\n"
        "data: {train: votes.csv, test: 0.2}\n"
        "teacher: {kind: recorded, file: votes.csv}\n"
        "students: {words: {kind: linear}}\n",
        "utf-8",
    )
    assert main(["import", str(votes), "--recipe", str(recipe), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["labels"]) == ["no", "yes"]


def test_columns_may_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("said,x,y\none,3,1\n", "utf-8")
    words = ["--text-field", "said", "--column", "yes=x", "--column", "no=y"]
    assert main(["import", str(path), *words, "--form", "votes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == {"yes": 0.7, "no": 0.3}
    assert main(["import", str(path), *words]) == 2
    assert "add --form probabilities or --form votes" in capsys.readouterr().err
    assert main(["import", str(path), "--column", "yes"]) == 2
    assert "expected LABEL=COLUMN" in capsys.readouterr().err
    assert main(["import", str(path), "--template", "Text:"]) == 2
    assert "has no {text}" in capsys.readouterr().err


def test_places_that_cannot_be_written_are_refused(votes: Path) -> None:
    with pytest.raises(RecipeError, match=r"ends in \.txt; expected \.csv"):
        import_answers(votes, out=votes.with_name("a.txt"))
    with pytest.raises(RecipeError, match="is the file that is read"):
        import_answers(votes, out=votes)
