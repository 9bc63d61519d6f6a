"""The export stage of a run: each student, not its control, in each format, and nothing twice."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tutelage.export import FORMATS
from tutelage.recipes.run import export_students
from tutelage.runs import RunFolder
from tutelage.runs.stages import Stages
from tutelage.tasks.task import Student
from tutelage.types import SILENT


@pytest.fixture
def upper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up format: the configuration in capitals."""

    def export(student: Path, out: Path) -> dict[str, int]:
        text = (student / "config.json").read_text("utf-8").upper()
        (out / "CONFIG").write_text(text, "utf-8")
        return {"characters": len(text)}

    module = ModuleType("upper_format")
    vars(module)["export"] = export
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FORMATS, "upper", module.__name__)


def exported(root: Path, prints: dict[Student, str]) -> list[tuple[str, str]]:
    """What became of each export stage in one call of a run."""
    for student in prints:
        place = root / "run" / student.stage
        place.mkdir(parents=True, exist_ok=True)
        (place / "config.json").write_text("{}a", "utf-8")
    folder = RunFolder(root / "run")
    stages = Stages(folder, root, SILENT)
    recipe = SimpleNamespace(export=("transformers", "upper"))
    export_students(recipe, prints, folder, stages, SILENT)
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
