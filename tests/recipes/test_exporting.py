"""The export stage of a run: each student, not its control, in each format, and nothing twice."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

from tutelage.errors import ExportFailed, RecipeError
from tutelage.export import FORMATS, Format, Origin, Subject, export
from tutelage.recipes.exporting import export_student, export_students, remove_exports
from tutelage.runs import RunFolder
from tutelage.runs.stages import Stages
from tutelage.tasks.task import Student
from tutelage.types import SILENT, Progress


@pytest.fixture
def upper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up formats: the configuration in capitals; and one that comes out wrong."""

    def write(subject: Subject, out: Path) -> dict[str, int]:
        text = (subject.folder / "config.json").read_text("utf-8").upper()
        (out / "CONFIG").write_text(text, "utf-8")
        return {"characters": len(text)}

    def write_wrong(subject: Subject, out: Path) -> dict[str, int]:
        write(subject, out)
        raise ExportFailed(f"{subject.name} came out wrong.")

    def write_bundle(subject: Subject, out: Path) -> dict[str, int]:
        weights = (subject.folder / "config.json").read_bytes()
        told = dict.fromkeys(("temperature", "max_length", "pad_id"), 1)
        told |= {"format": 1, "name": "gru", "format_name": "bundle", "inputs": "rows"}
        question = {"labels": ["a", "b"], "descriptions": {}, "instructions": None}
        told |= {"question": question, "files": {}, "facts": {}}
        told |= {"version": hashlib.sha256(weights).hexdigest()[:16]}
        (out / "student.json").write_text(json.dumps(told), "utf-8")
        return {}

    module = ModuleType("tutelage.export.upper")
    vars(module).update(write=write, write_wrong=write_wrong, write_bundle=write_bundle)
    monkeypatch.setitem(FORMATS, "bundle", Format("upper:write_bundle"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FORMATS, "upper", Format("upper:write"))
    monkeypatch.setitem(FORMATS, "wrong", Format("upper:write_wrong"))


def exported(
    root: Path,
    prints: dict[Student, str],
    *,
    formats: tuple[str, ...] = ("transformers", "upper"),
    failed: list[str] | None = None,
) -> list[tuple[str, str]]:
    """What became of each export stage in one call of a run."""
    for student in prints:
        place = root / "run" / student.stage
        place.mkdir(parents=True, exist_ok=True)
        (place / "config.json").write_text("{}a", "utf-8")
    folder = RunFolder(root / "run")
    stages = Stages(folder, root, SILENT)
    recipe = SimpleNamespace(export=formats)
    found = export_students(recipe, prints, folder, stages, origin=Origin)
    assert found == [] if failed is None else failed.extend(found) is None
    return [(stage.name, stage.how) for stage in stages.outcomes]


@pytest.mark.usefixtures("upper")
def test_each_student_is_written_once_for_the_same_weights(tmp_path: Path) -> None:
    student, control = Student("gru", is_control=False), Student("gru", is_control=True)
    prints = {student: "1", control: "2"}
    assert exported(tmp_path, prints) == [("exports/gru/upper", "done")]
    written = tmp_path / "run" / "students" / "gru" / "export" / "upper" / "CONFIG"
    assert written.read_text("utf-8") == "{}A"
    assert not (tmp_path / "run" / "controls" / "gru" / "export").exists()
    assert exported(tmp_path, prints) == [("exports/gru/upper", "kept")]
    assert exported(tmp_path, {**prints, student: "3"}) == [("exports/gru/upper", "done")]


@pytest.mark.usefixtures("upper")
def test_what_fails_is_kept_aside_and_the_others_are_written(tmp_path: Path) -> None:
    prints = {Student(name, is_control=False): "1" for name in ("gru", "lstm")}
    failed: list[str] = []
    assert exported(tmp_path, prints, formats=("wrong", "upper"), failed=failed) == [
        ("exports/gru/upper", "done"),
        ("exports/lstm/upper", "done"),
    ]
    place = tmp_path / "run" / "students" / "gru" / "export"
    assert sorted(found.name for found in place.iterdir()) == ["upper", "wrong.failed"]
    assert failed[0] == f"gru came out wrong. What was made is kept in {place / 'wrong.failed'}"
    assert len(failed) == 2


@pytest.mark.usefixtures("upper")
def test_an_older_export_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("a", "utf-8")
    subject, out = Subject(tmp_path, "gru"), tmp_path / "out"
    export("upper", subject, out)
    with pytest.raises(ExportFailed, match=r"gru came out wrong\. .* kept in .*out\.failed"):
        export("wrong", subject, out)
    assert (out / "CONFIG").read_text("utf-8") == "A"
    (tmp_path / "config.json").write_text("b", "utf-8")
    export("upper", subject, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "out"]
    assert (out / "CONFIG").read_text("utf-8") == "B"


def certified(export: Path) -> None:
    """As `certify --export X --out X` leaves it."""
    student = json.loads((export / "student.json").read_text("utf-8"))["version"]
    (export / "certificate.json").write_text(json.dumps({"student": student}), "utf-8")
    (export / "novelty.npz").write_bytes(b"gate")


def lying_in(place: Path) -> list[str]:
    return sorted(f"{found.parent.name}/{found.name}" for found in place.glob("*/*"))


WITH_CERTIFICATE = ["bundle/certificate.json", "bundle/novelty.npz", "bundle/student.json"]


@pytest.mark.usefixtures("upper")
def test_a_certificate_beside_an_export_is_there_when_it_is_made_again(tmp_path: Path) -> None:
    gru = Student("gru", is_control=False)
    assert exported(tmp_path, {gru: "1"}, formats=("bundle",)) == [("exports/gru/bundle", "done")]
    place = tmp_path / "run" / "students" / "gru" / "export"
    certified(place / "bundle")
    certificate = (place / "bundle" / "certificate.json").read_bytes()
    (place / "bundle" / "student.json").write_text("damaged", "utf-8")
    assert exported(tmp_path, {gru: "1"}, formats=("bundle",)) == [("exports/gru/bundle", "done")]
    assert lying_in(place) == WITH_CERTIFICATE
    # A student trained again, which comes out the same.
    remove_exports(RunFolder(tmp_path / "run"), gru, SILENT)
    assert [found.split("/")[1] for found in lying_in(place)] == ["certificate.json", "novelty.npz"]
    exported(tmp_path, {gru: "1"}, formats=("bundle",))
    assert lying_in(place) == WITH_CERTIFICATE
    assert (place / "bundle" / "certificate.json").read_bytes() == certificate
    stage = RunFolder(tmp_path / "run").stage("exports/gru/bundle")
    assert list(stage.sums) == ["students/gru/export/bundle/student.json"]


@pytest.mark.usefixtures("upper")
def test_a_certificate_of_other_weights_is_kept_aside_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    progress = SimpleNamespace(say=said.append)
    weights, out = tmp_path / "gru" / "config.json", tmp_path / "out"
    weights.parent.mkdir()

    def made(content: str) -> None:
        weights.write_text(content, "utf-8")
        export_student(weights.parent, "bundle", out=out, progress=cast(Progress, progress))

    made('{"model_type": "a"}')
    certified(out)
    certificate = (out / "certificate.json").read_bytes()
    made('{"model_type": "b"}')
    (aside,) = tmp_path.glob("out.certificate-*")
    assert [found.name for found in out.iterdir()] == ["student.json"]
    assert said[-1].startswith(f"warning: the certificate in {aside} is not of the student")
    made('{"model_type": "a"}')
    assert (out / "certificate.json").read_bytes() == certificate
    assert not aside.exists()
    with pytest.raises(ExportFailed):
        export_student(weights.parent, "wrong", out=out)
    assert (out / "certificate.json").read_bytes() == certificate
    assert list(tmp_path.glob("out.certificate-*")) == []


@pytest.mark.usefixtures("upper")
def test_an_export_on_record_is_made_again_whatever_it_has_lost(tmp_path: Path) -> None:
    """One of GGUF or a wheel that has lost its parity.json has no file by which it is known."""
    student = tmp_path / "run" / "students" / "gru"
    student.mkdir(parents=True)
    (student / "config.json").write_text('{"model_type": "a"}', "utf-8")
    out = student / "export" / "upper"
    for _ in range(2):
        assert export_student(tmp_path / "run", "upper", student="gru")["out"] == str(out)
    RunFolder(tmp_path / "run").stage("exports/gru/upper").withdraw()
    with pytest.raises(RecipeError, match="holds other things, such as CONFIG"):
        export_student(tmp_path / "run", "upper", student="gru")
