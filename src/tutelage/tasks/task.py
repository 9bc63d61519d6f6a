"""What a task is to the flow: the Protocols between `recipes/run.py` and the folders of this room.

A `Task` is a kind of job (classification, language modelling): what its recipes look like, how one
is checked, how its students answer. A `Job` is one recipe of it with its data read: the flow asks
for its stages one after another. Nothing here knows any task; `tasks/__init__.py` chooses one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tutelage.errors import Problem
from tutelage.runs import RunFolder
from tutelage.types import Progress

if TYPE_CHECKING:
    from tutelage.config.source import Source
    from tutelage.export import Origin
    from tutelage.report import TaskWords
    from tutelage.tasks.estimates import Check


CONFIG_FILE = "config.json"
"""What every folder in the `save_pretrained` layout holds."""


def architectures(folder: Path) -> list[str]:
    """The classes that a folder in the `save_pretrained` layout names; none where it is not one."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        return []
    return list(json.loads(path.read_text("utf-8")).get("architectures") or ())


@dataclass(frozen=True)
class Student:
    """One thing that a run trains."""

    name: str
    """As the recipe calls it."""
    is_control: bool
    """Trained without the teacher, for comparison."""

    @property
    def stage(self) -> str:
        """The stage that trains it, which is also where it lies in the run folder."""
        return f"{'controls' if self.is_control else 'students'}/{self.name}"


@dataclass(frozen=True)
class Fingerprints:
    """Names of what each stage's result depends on."""

    teacher: str
    """Weights, prompt, rows it is fitted to."""
    targets: str
    """The teacher, and what it is asked about."""
    students: Mapping[Student, str]
    """Each student and control, in the order of training."""
    evaluation: str
    """Everybody, the test data, and how they are compared."""
    formerly: Mapping[Student, str] = field(default_factory=dict)
    """What versions before called the result of the same work; such a record counts as well."""


class Job(Protocol):
    """One recipe at work: its data has been read and found fit; nothing is computed unasked."""

    together: frozenset[str]
    """Which of `fit_teacher`, `write_targets`, `train` and `evaluate` all processes of a launch do
    together, each its share; the others the leader does alone."""

    @property
    def warnings(self) -> Sequence[Problem]:
        """What a person should know about the data."""
        ...

    @property
    def data_facts(self) -> Mapping[str, Any]:
        """Rows of every split, for provenance."""
        ...

    @property
    def seed(self) -> int | None:
        """What its randomness starts from, for provenance; None where nothing is random."""
        ...

    @property
    def fingerprints(self) -> Fingerprints:
        """Of every stage."""
        ...

    @property
    def fits_teacher(self) -> bool:
        """Whether there is a stage that makes the teacher: fitted, prompted, calibrated."""
        ...

    @property
    def stores_targets(self) -> bool:
        """Whether the teacher writes its targets down; else it answers while students train."""
        ...

    def require_room(self, folder: RunFolder, unfinished: Mapping[str, str], *, root: Path) -> None:
        """Refuse a run whose results would not fit on disk, or its models in memory.

        Args:
            folder: The run; what it has written already needs no more room.
            unfinished: Fingerprint of each stage that is asked for, by name.
            root: The disk the run is on.

        Raises:
            NotEnoughDisk, NotEnoughMemory: It would not fit.
        """
        ...

    def fit_teacher(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Make the teacher and save it; facts for the stage."""
        ...

    def teacher_files(self, folder: RunFolder) -> Sequence[Path]:
        """What `fit_teacher` leaves."""
        ...

    def write_targets(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Let the teacher say what it knows; goes on where a kill left it. Facts for the stage."""
        ...

    def targets_are_whole(self, folder: RunFolder) -> bool:
        """False if finished targets cannot be read any more."""
        ...

    def open_targets(self, folder: RunFolder) -> dict[str, Any]:
        """Open what the teacher wrote, for the stages that follow.

        Returns:
            What is known of the teacher before any student is trained; `sentence` says it in words.
            Empty where nothing is.
        """
        ...

    def train(self, student: Student, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Train one student and save it in its place; goes on where a kill left it. Facts."""
        ...

    def student_files(self, student: Student, folder: RunFolder) -> Sequence[Path]:
        """What `train` leaves; where one of them is gone, the student is trained again."""
        ...

    def evaluate(self, folder: RunFolder, progress: Progress) -> Mapping[str, Any]:
        """Measure everybody on the test data; writes evaluation.json and predictions. Facts."""
        ...


class Answering(Protocol):
    """A trained student at work."""

    def answer(self, texts: Sequence[str], *, batch_size: int) -> list[dict[str, Any]]:
        """What it says to each text, as JSON values."""
        ...

    def columns(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The same answer as the cells of a table."""
        ...

    def line(self, text: str, answer: Mapping[str, Any]) -> str:
        """The same answer as a line on a terminal."""
        ...


class Task(Protocol):
    """A kind of job."""

    kind: str
    """Its name in a recipe's `task.kind`."""
    recipe: type[Any]
    """The sections of its recipes, a frozen pydantic model; the flow itself asks it for `name`,
    `task.kind` and `export`."""
    template: str
    """The commented recipe that `tutelage init` writes."""
    to_edit: str
    """What a person changes in it first."""
    best_metric: tuple[str, bool]
    """The metric of evaluation.json that `predict` chooses a student by, and whether higher is
    better."""
    at_work: str
    """What its students do, as the title of a bar."""
    texts_at_once: int
    """How many texts of a file are answered before the bar moves."""

    def recipe_problems(self, source: Source) -> list[Problem]:
        """What the sections of a recipe say against each other."""
        ...

    def check(self, recipe: Any, *, root: Path, progress: Progress) -> Check:
        """Every problem of data and models at once, and an estimate; nothing is computed."""
        ...

    def inputs(self, recipe: Any) -> str:
        """The fingerprint of a recipe and of the bytes of every file that it names: equal ones make
        equal stages. No data is read for it, no torch loaded.

        Raises:
            OSError: A file cannot be read.
            ModelError: A model is not there.
        """
        ...

    def prepare(self, recipe: Any, progress: Progress) -> Job:
        """Read and check the data, and find the models.

        Raises:
            RecipeError: They cannot be used; every problem at once.
            ModelError: A model is not there.
        """
        ...

    def made(self, folder: Path) -> bool:
        """Whether a folder holds a student of this task, told from its files; False where it holds
        no model, or is not there.
        """
        ...

    def load(self, folder: Path, recipe: Any) -> Answering:
        """A student from its folder; `recipe` is that of its run, or None."""
        ...

    def origin(self, recipe: Any, folder: RunFolder) -> Origin:
        """What is known of the students of a run beside their folders, for exports of them."""
        ...

    def text_column(self, recipe: Any) -> str | None:
        """The column of texts in files like those of a recipe."""
        ...

    def words(self) -> TaskWords[Any]:
        """What the report and the table of the terminal say of its runs."""
        ...
