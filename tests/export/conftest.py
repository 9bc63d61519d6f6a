"""Exports of tiny students, each made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.export.tiny_students import reviews, student_folder

from tutelage.export import Origin, Rows, Subject, export


@pytest.fixture(scope="session")
def rows() -> Rows:
    return Rows(reviews(120, seed=5))


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes a student of a kind, once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = student_folder(kind, tmp_path_factory.mktemp("student"))
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def exported(
    student: Callable[[str], Path], rows: Rows, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Exports a student of a kind as `onnx`, once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            out = tmp_path_factory.mktemp("exported") / "onnx"
            export("onnx", Subject(student(kind), kind, Origin(tested=rows)), out)
            made[kind] = out
        return made[kind]

    return folder
