"""What `repair` finds, touches and asks for, on folders with records and small files; whole runs
are repaired in `tests/journeys/test_repair.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import RunDamaged
from tutelage.export.subject import Package
from tutelage.recipes import repairing
from tutelage.recipes.certifying import certify_run
from tutelage.recipes.repairing import lost_records, repair_run
from tutelage.runs import Stage
from tutelage.runs.fingerprints import fingerprint
from tutelage.types import SILENT

RECIPE = """\
name: reviews
task: {kind: classification, labels: [bad, good]}
data: {train: train.csv, test: test.csv}
teacher: {kind: classifier, model: /models/large}
students: {gru: {kind: rnn}}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, of which no word of its end is left."""
    path = tmp_path / "run"
    path.mkdir()
    for name, file in (("recipe", "recipe.yaml"), ("evaluation", "e.json"), ("report", "r.html")):
        (path / file).write_text(RECIPE, "utf-8")
        Stage(path, name).mark_done("1", seconds=1.0, left=[path / file], copied=[path / file])
    return path


def test_without_word_of_its_end_a_run_is_whole(run: Path) -> None:
    """It has none where an export failed, or where data changed while it ran."""
    assert lost_records(run) == []
    assert repair_run(run).problems == ()


def test_a_strangers_record_changes_nothing_outside_of_the_run(run: Path, tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim.txt", tmp_path / "tensorboard"
    victim.write_text("mine", "utf-8")
    folder.mkdir()
    wrong = {"bytes": 1, "sha256": "0" * 64}
    files = {"../victim.txt": wrong, "../tensorboard": wrong}
    record: dict[str, Any] = {"fingerprint": "1", "seconds": 1.0, "facts": {}}
    record |= {"files": files, "copies": {"../victim.txt": "theirs"}}
    record["sum"] = fingerprint(record)
    (run / ".stages" / "teacher.json").write_text(json.dumps(record), "utf-8")
    found = repair_run(run)
    assert found.left == (".stages/teacher.json cannot be read as a record",)
    assert (victim.read_text("utf-8"), folder.is_dir()) == ("mine", True)


def test_certifying_leaves_alone_what_a_later_version_wrote(run: Path) -> None:
    record = json.loads((run / ".stages" / "report.json").read_text("utf-8")) | {"format": 2}
    (run / ".stages" / "report.json").write_text(json.dumps(record), "utf-8")
    with pytest.raises(RunDamaged, match="is a record of format 2"):
        certify_run(run, disagreement=0.1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What exports and certificates were asked for, in the place of making them."""
    calls: list[dict[str, Any]] = []

    def export(path: Path, name: str, **given: Any) -> None:
        calls.append({"format": name, **given})

    monkeypatch.setattr(repairing, "export_student", export)
    monkeypatch.setattr(repairing, "certify_run", lambda path, **given: calls.append(given))
    return calls


CERTIFIED = {
    "disagreement": 0.1, "confidence": 0.9, "over": "all", "against": "teacher", "student": "gru",
    "per_class": False, "export": "/export", "rows": None, "price_per_million": None,
}  # fmt: skip


def extras(run: Path, made: Mapping[str, Mapping[str, Any] | None], *formats: str) -> list[str]:
    return repairing._make_extras(run, made, formats, SILENT)


def test_exports_and_certificates_are_asked_for_as_they_were(
    run: Path, asked: list[dict[str, Any]]
) -> None:
    package = asdict(Package("reviews", "2.0"))
    exported = {"rows": "/rows.csv", "instructions": "Is it good?", "package": package}
    made = {"exports/gru/wheel": exported, "certificates/gru": CERTIFIED}
    assert extras(run, made) == list(made)
    assert asked[0] == {
        "format": "wheel", "student": "gru", "rows": Path("/rows.csv"),
        "instructions": "Is it good?", "package": Package("reviews", "2.0"), "progress": SILENT,
    }  # fmt: skip
    assert asked[1] == CERTIFIED | {"export": Path("/export"), "progress": SILENT}


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("exports/gru/wheel", None),
        ("exports/gru/wheel", {"package": {"folder": "/"}}),
        ("exports/gru/wheel", {"rows": 7}),
        ("exports/gru/other", {}),
        ("exports/gru", {}),
        ("certificates/gru", None),
        ("certificates/gru", CERTIFIED | {"out": "/home"}),
        ("certificates/gru", CERTIFIED | {"disagreement": "0.1"}),
    ],
)
def test_where_nobody_knows_how_one_was_asked_for_only_it_is_left(
    run: Path, asked: list[dict[str, Any]], name: str, facts: Mapping[str, Any] | None
) -> None:
    with pytest.raises(RunDamaged, match=f"{name}.json cannot be read, so nobody knows"):
        extras(run, {name: facts, "exports/a/onnx": {}})
    assert [call["student"] for call in asked] == ["a"]


def test_what_the_recipe_names_is_made_as_it_says(run: Path, asked: list[dict[str, Any]]) -> None:
    facts = {"package": "reviews", "wheel": "reviews.whl"}  # as a stage of the recipe tells
    assert extras(run, {"exports/gru/onnx": None, "exports/gru/wheel": facts}, "onnx", "wheel")
    assert asked == [
        {"format": name, "student": "gru", "progress": SILENT} for name in ("wheel", "onnx")
    ]
