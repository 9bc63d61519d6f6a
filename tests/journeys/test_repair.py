"""`tutelage repair`: whatever is broken in a finished run is put back or done again, and what is whole
stays as it is."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from tests.hostile.asking import answer
from tests.journeys.test_damage import DAMAGES, files_of
from tests.journeys.tiny_job import write_job
from tests.journeys.tiny_language_job import write_language_job, write_teacher

from tutelage.runs.fingerprints import fingerprint

RUN = Path("runs/tiny")
EVERYTHING = "TUTELAGE_ALL_DAMAGES" in os.environ
"""Every kind of damage to every file, which takes half an hour; else a few of them."""
SAMPLE = (
    ("classification", "students/gru/model.safetensors", "flip"),
    ("classification", "certificates/gru/certificate.json", "delete"),
    ("classification", "recipe.yaml", "flip"),
    ("language", "targets/part-00000.parquet", "truncate"),
)
BESIDE = ("certificate.json", "novelty.npz")
"""What a person puts beside an export, which no record knows: nobody makes it again."""
TIMES = re.compile(
    r"^\.stages/|provenance\.json|evaluation\.json|report\.html|tensorboard|student\.json|MODEL_CARD"
)
"""Names of what tells times, or sums of what does."""


@pytest.fixture(scope="module")
def classification(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    folder = write_job(tmp_path_factory.mktemp("classification"), model_folder)
    made(folder, epochs=2)
    run = folder / RUN
    export = run / "students/gru/export/onnx"
    for words in (
        ["export", run, "--format", "onnx"],
        ["certify", run, "--disagreement", "0.7", "--export", export],
        ["report", run],
    ):
        assert answer(*words)[0] == 0
    for name in BESIDE:  # as `certify --out` of an export
        shutil.copy(run / "certificates/gru" / name, export / name)
    return folder


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    write_language_job(folder, write_teacher(folder / "weights"), count=24)
    made(folder, epochs=1)
    return folder


def made(folder: Path, *, epochs: int) -> None:
    """Few steps, and a finished run of them, without the start of a process."""
    recipe = folder / "recipe.yaml"
    text = re.sub(r"epochs: \d", f"epochs: {epochs}", recipe.read_text("utf-8"))
    recipe.write_text(text, encoding="utf-8")
    code, said = answer("run", recipe, "--out", folder / RUN)
    assert code == 0, said


def damages(task: str) -> list[tuple[str, str]]:
    if not EVERYTHING:
        return [(name, kind) for of, name, kind in SAMPLE if of == task]
    names = [name for name in files_of(RUN) if "embeddings" not in name]
    found = [(name, kind) for name in names for kind in DAMAGES]
    # Without word of how a call ended, the next one takes longer: no damage.
    return [
        (name, kind)
        for name, kind in found
        if not (kind == "delete" and "/finished/" in name)
        and not ("/export/" in name and name.endswith(BESIDE))
    ]


@pytest.mark.parametrize("task", ["classification", "language"])
def test_only_what_is_broken_is_made_again(
    task: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(request.getfixturevalue(task))
    code, said = answer("repair", RUN)
    assert (code, "nothing to do" in said) == (0, True), said
    shutil.copytree(RUN, tmp_path / "whole")
    failures: list[str] = []
    for name, kind in damages(task):
        DAMAGES[kind](RUN / name)
        try:
            is_repaired(name, kind, tmp_path / "whole")
        except AssertionError as error:
            failures.append(f"{kind} of {name}: {str(error)[-900:]}")
        shutil.rmtree(RUN)
        shutil.copytree(tmp_path / "whole", RUN)
    assert not failures, "\n".join(failures)


def is_repaired(name: str, kind: str, whole: Path) -> None:
    code, said = answer("repair", RUN, "--dry-run", "--json")
    assert code == 1, said
    assert name in said, said
    code, said = answer("repair", RUN)
    assert code == 0, said
    code, said = answer("verify", RUN)
    assert code == 0, said
    gone = {name} if "tensorboard" in name else set()  # for people, and nobody draws it again
    before, after = set(files_of(whole)) - gone, set(files_of(RUN)) - {"recipe.yaml.broken"}
    assert {one for one in before if "tensorboard" not in one} == {
        one for one in after if "tensorboard" not in one
    }
    for one in before & after:
        if not TIMES.search(one):
            assert (whole / one).read_bytes() == (RUN / one).read_bytes(), one
    code, said = answer("repair", RUN)
    assert (code, "nothing to do" in said) == (0, True), said


def test_without_its_data_what_is_whole_stays(
    language: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(language)
    shutil.copytree(RUN, tmp_path / "run")
    data = language / "train.jsonl"
    rows = data.read_bytes()
    DAMAGES["flip"](tmp_path / "run/students/half/model.safetensors")
    DAMAGES["flip"](tmp_path / "run/targets/manifest.json")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in files_of(tmp_path / "run")}
    try:
        for content, words in (
            (None, "cannot be read"),
            (rows.replace(b"phone", b"radio"), "are not what they were"),
        ):
            data.unlink(missing_ok=True)
            if content is not None:
                data.write_bytes(content)
            code, said = answer("repair", tmp_path / "run")
            assert code == 1, said
            assert words in said, said
    finally:
        data.write_bytes(rows)
    after = {name: (tmp_path / "run" / name).read_bytes() for name in files_of(tmp_path / "run")}
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed == {"targets/manifest.json"}  # put back from the record


def test_what_a_later_version_wrote_is_left_alone(
    language: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(language)
    run = tmp_path / "run"
    stages = ("students/half", "recipe", "evaluation")
    for name in (*(f".stages/{stage}.json" for stage in stages), "targets/manifest.json"):
        shutil.copytree(RUN, run)
        record = json.loads((run / name).read_text("utf-8"))
        if name.startswith(".stages"):
            record = {key: value for key, value in record.items() if key != "sum"} | {"format": 2}
            record["sum"] = fingerprint(record)
        else:
            record["format"] += 1
        (run / name).write_text(json.dumps(record), "utf-8")
        before = {one: (run / one).read_bytes() for one in files_of(run)}
        for command in ("verify", "repair", "run"):
            code, said = answer(command, run)
            if name.startswith(".stages"):
                assert code in (1, 2), said
                assert "format 2" in said, said
                assert {one: (run / one).read_bytes() for one in files_of(run)} == before
        code, said = answer("targets", "verify", run)
        assert code == 0 or "format 2" in said
        shutil.rmtree(run)


def test_a_store_loses_its_broken_part_and_only_its_rows_are_labelled_again(
    language: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(language)
    code, said = answer("targets", "repair", RUN)
    assert code == 2
    assert "tutelage repair runs/tiny" in said
    store = shutil.copytree(RUN / "targets", tmp_path / "store")
    code, said = answer("targets", "repair", store)
    assert (code, "nothing to do" in said) == (0, True)
    part = min(store.glob("part-*.parquet"))
    DAMAGES["truncate"](part)
    code, said = answer("targets", "repair", store, "--dry-run", "--json")
    assert code == 1
    assert json.loads(said)["parts"][0]["file"] == part.name
    code, said = answer("targets", "repair", store)
    assert code == 0, said
    assert part.with_name(part.name + ".broken").is_file()
    assert answer("targets", "verify", store)[0] == 0
    assert not json.loads((store / "manifest.json").read_text("utf-8"))["complete"]
