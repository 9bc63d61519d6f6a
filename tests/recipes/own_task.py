"""A task of the tests' own, neither of classes nor of tokens: how many letters a text has.

Its teacher counts, its targets are a JSON file, its student knows the mean alone. No file of it is
one that the tasks of the house would know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tutelage.config.values import DataPath, FrozenList, PlainName, Section
from tutelage.runs import RunFolder, atomic_write_json, atomic_write_text, fingerprint
from tutelage.tasks.recipe import inputs_fingerprint
from tutelage.tasks.task import Fingerprints, Student
from tutelage.types import Progress


class LengthTask(Section):
    kind: Literal["lengths"]


class LengthData(Section):
    train: DataPath


class LengthStudent(Section):
    factor: float = 1.0


class LengthRecipe(Section):
    name: PlainName
    task: LengthTask
    data: LengthData
    students: Mapping[PlainName, LengthStudent]
    export: Annotated[tuple[str, ...], FrozenList] = ()


class LengthJob:
    warnings = ()
    seed = None
    fits_teacher = False
    stores_targets = True
    together = frozenset()

    def __init__(self, recipe: LengthRecipe) -> None:
        self.recipe = recipe
        self.texts = recipe.data.train.read_text("utf-8").splitlines()
        self.data_facts = {"train": {"rows": len(self.texts)}}
        students = {
            Student(name, is_control=False): fingerprint(self.texts, one)
            for name, one in recipe.students.items()
        }
        named = {one.name: made for one, made in students.items()}
        self.fingerprints = Fingerprints("", fingerprint(self.texts), students, fingerprint(named))

    def require_room(self, folder: RunFolder, unfinished: Any, *, root: Path) -> None: ...

    def write_targets(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        folder.targets_path.mkdir()
        atomic_write_json(folder.targets_path / "lengths.json", [len(text) for text in self.texts])
        return {}

    def targets_are_whole(self, folder: RunFolder) -> bool:
        return (folder.targets_path / "lengths.json").is_file()

    def open_targets(self, folder: RunFolder) -> dict[str, Any]:
        self.targets = json.loads((folder.targets_path / "lengths.json").read_text("utf-8"))
        return {}

    def train(self, student: Student, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        mean = sum(self.targets) / len(self.targets)
        (file,) = self.student_files(student, folder)
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(file, mean * self.recipe.students[student.name].factor)
        return {}

    def student_files(self, student: Student, folder: RunFolder) -> Sequence[Path]:
        return [folder.path / student.stage / "mean.json"]

    def evaluate(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        errors = {
            name: {"error": {"value": abs(one.factor - 1)}}
            for name, one in self.recipe.students.items()
        }
        atomic_write_json(folder.evaluation_path, {"teacher": {}, "students": errors})
        atomic_write_text(folder.predictions_path, "")
        return {}


@dataclass(frozen=True)
class Lengths:
    kind: str = "lengths"
    recipe: type[LengthRecipe] = LengthRecipe
    best_metric: tuple[str, bool] = ("error", False)

    def recipe_problems(self, source: Any) -> list[Any]:
        return []

    def inputs(self, recipe: LengthRecipe) -> str:
        return inputs_fingerprint(recipe, files=[recipe.data.train], weights=[])

    def prepare(self, recipe: LengthRecipe, progress: Progress) -> LengthJob:
        return LengthJob(recipe)

    def made(self, folder: Path) -> bool:
        return (folder / "mean.json").is_file()

    def load(self, folder: Path, recipe: Any) -> Mean:
        return Mean(json.loads((folder / "mean.json").read_text("utf-8")))


@dataclass(frozen=True)
class Mean:
    value: float

    def answer(self, texts: Sequence[str], *, batch_size: int) -> list[dict[str, Any]]:
        return [{"length": self.value} for _ in texts]


TASK = Lengths()
