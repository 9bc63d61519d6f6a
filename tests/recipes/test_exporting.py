"""The export stage of a run: each student, not its control, in each format, and nothing twice."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tutelage.errors import ExportFailed
from tutelage.export import FORMATS, Format, Origin, Subject, export
from tutelage.recipes.exporting import export_students
from tutelage.runs import RunFolder
from tutelage.runs.stages import Stages
from tutelage.tasks.task import Student
from tutelage.types import SILENT


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

    module = ModuleType("tutelage.export.upper")
    vars(module).update(write=write, write_wrong=write_wrong)
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
