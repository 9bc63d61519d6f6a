"""`tutelage label FILE`: a table of texts in, the same table with soft labels out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.journeys.tiny_job import LABELS, run_here

from tutelage.cli.main import main
from tutelage.targets import TargetStore
from tutelage.teachers.keeping import KeptTeacher
from tutelage.types import example_id

TEXTS = ["the great phone", "a broken camera", "the box, of cable", "the great phone"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    with path.open("w", newline="") as file:
        rows = [(number, text, "mine") for number, text in enumerate(TEXTS, start=7)]
        csv.writer(file).writerows([("id", "text", "label"), *rows])
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a teacher was loaded to answer."""
    loads: list[int] = []

    def load(self: KeptTeacher, *, _load: Any = KeptTeacher.load) -> Any:
        loads.append(1)
        return _load(self)

    monkeypatch.setattr(KeptTeacher, "load", load)
    return loads


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def label(*words: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["label", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_table_keeps_its_columns_and_gets_a_probability_for_every_label(
    table: Path, model_folder: Path, asked: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = (table, "--labels", ",".join(LABELS), "--model", model_folder)
    done = label(*words, capsys=capsys)
    out = table.with_name("texts.labelled.csv")
    assert done["out"] == str(out)
    assert (done["rows"], done["texts"], done["unanswered"]) == (4, 3, 0)
    rows = rows_of(out)
    assert list(rows[0]) == ["id", "text", "label_before", "label", *(f"p_{one}" for one in LABELS)]
    assert [row["id"] for row in rows] == ["7", "8", "9", "10"]
    assert [row["text"] for row in rows] == TEXTS
    assert {row["label_before"] for row in rows} == {"mine"}
    probs = np.array([[float(row[f"p_{one}"]) for one in LABELS] for row in rows])
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    assert [LABELS[best] for best in probs.argmax(axis=1)] == [row["label"] for row in rows]
    assert done["mean"][LABELS[0]] == pytest.approx(probs[:, 0].mean(), abs=1e-6)
    assert done["entropy_nats"] == pytest.approx(-(probs * np.log(probs)).sum(1).mean(), abs=1e-5)

    other = table.with_name("again.parquet")
    label(*words, "--out", other, capsys=capsys)
    assert len(asked) == 1  # all was known
    assert pq.read_table(other).column("p_positive").to_pylist() == pytest.approx(probs[:, 2])
    table.write_text("text\nanother one\nthe great phone\n")
    label(*words, capsys=capsys)
    assert len(asked) == 2  # one text was new
    assert len(rows_of(out)) == 2


def test_the_teacher_that_a_run_has_fitted_answers(
    job: Path,
    asked: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(job)
    outcome = run_here(job, until="label")
    store = TargetStore.open(outcome.folder.targets_path)
    out = job / "out.csv"
    for known in ("recipe.yaml", outcome.folder.path):
        done = label("test.csv", "--recipe", known, "--out", out, capsys=capsys)
        assert done["rows"] == 50
        rows = rows_of(out)
        said = store.lookup([example_id(row["text"]) for row in rows])
        found = [[float(row[f"p_{one}"]) for one in LABELS] for row in rows]
        np.testing.assert_allclose(found, said, atol=1e-5)
    assert len(asked) == 1
    assert not list((job / "cache" / "labelled").glob("*/teacher"))  # none was made again


def test_without_a_run_the_teacher_is_fitted_and_kept(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(job)
    done = label("test.csv", "--recipe", "recipe.yaml", capsys=capsys)
    assert "fit: head" in done["teacher"]
    assert len(list((job / "cache" / "labelled").glob("*/teacher/teacher.json"))) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["texts.csv"], "give --labels A,B,C and --model MODEL, or --recipe RECIPE"),
        (["texts.csv", "--labels", "a", "--model", "x"], "at least two"),
        (["texts.csv", "--labels", "a,b", "--model", "./nowhere"], "--model: ./nowhere"),
        (["texts.csv", "--labels", "a,b", "--recipe", "r.yaml"], "--labels and --recipe given"),
        (["texts.csv", "--labels", "a,b", "--model", "x", "--set", "a=1"], "--set is about"),
        (["recipe.yaml", "--labels", "a,b"], "--labels is about a table of texts"),
    ],
)
def test_what_does_not_go_together_is_refused(
    table: Path,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(table.parent)
    assert main(["label", *words]) == 2
    assert message in capsys.readouterr().err


def test_places_and_columns_are_looked_at_before_the_teacher_is_asked(
    table: Path, model_folder: Path, asked: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["label", str(table), "--labels", ",".join(LABELS), "--model", str(model_folder)]
    for more, message in (
        (["--out", str(table)], "is the input file itself"),
        (["--out", str(table.parent / "none" / "a.csv")], "there is no folder"),
        (["--out", str(table.with_suffix(".xls"))], "ending '.xls' is not known"),
        (["--text-field", "txet"], "did you mean `text`? "),
    ):
        assert main([*words, *more]) == 2
        assert message.strip() in capsys.readouterr().err
    assert not asked
