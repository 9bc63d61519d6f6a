"""A whole recipe, as frozen objects in the order of the flow, and its JSON schema."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tutelage.config.sections import Data, Evaluate, Objective, Schedule, Targets, Task, Train
from tutelage.config.students import Student
from tutelage.config.teachers import Teacher
from tutelage.config.values import FrozenList, PlainName, Section, not_yet


class Recipe(Section):
    """Everything a run needs to know; read from a file by `load_recipe`."""

    name: PlainName
    """Names the run folder; left out: the name of the recipe file."""

    task: Task
    """What the student must be able to do."""

    data: Data
    """The examples."""

    teacher: Teacher
    """The large model, and how it is asked."""

    targets: Targets = Field(default_factory=Targets)
    """What the teacher writes down."""

    students: Annotated[Mapping[PlainName, Student], Field(min_length=1)]
    """The small models by name; all learn from the same targets."""

    objective: Objective = Field(default_factory=Objective)
    """What training minimises."""

    train: Train = Field(default_factory=Train)
    """How students are trained."""

    evaluate: Evaluate = Field(default_factory=Evaluate)
    """What the report compares."""

    export: Annotated[
        tuple[
            Annotated[
                Literal["transformers"], not_yet(("onnx", "onnx_int8", "gguf"), "is not available in this version")
            ],
            ...,
        ],
        FrozenList,
    ] = ("transformers",)
    """The formats each student is saved in."""

    def train_for(self, student: str) -> Train:
        """The `train` section as it holds for one student: the student's own keys over the common ones.

        Args:
            student: A name in `students`.

        Returns:
            All keys, with the seed of the run.
        """
        own = self.students[student].train
        return self.train if own is None else self.train.model_copy(update=_given(own))

    def objective_for(self, student: str) -> Objective:
        """The `objective` section as it holds for one student: the student's own keys over the common ones.

        Args:
            student: A name in `students`.

        Returns:
            All keys.
        """
        own = self.students[student].objective
        return self.objective if own is None else self.objective.model_copy(update=_given(own))


def _given(section: Schedule | Objective) -> dict[str, Any]:
    return {key: getattr(section, key) for key in section.model_fields_set}


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe file, for editors that complete and check YAML.

    Returns:
        A JSON schema (draft 2020-12) with a description for every section and key.
    """
    described = Recipe.model_json_schema()
    described["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    # A recipe file may leave its name out; only the object always has one.
    described["required"].remove("name")
    for model in [Recipe, *_sections(Section)]:
        properties = (described if model is Recipe else described["$defs"].get(model.__name__, {})).get(
            "properties", {}
        )
        for base in reversed(model.__mro__):
            for key, text in _field_notes(base).items():
                if key in properties:
                    properties[key]["description"] = text
    return described


def _sections(model: type[Section]) -> list[type[Section]]:
    return [found for child in model.__subclasses__() for found in (child, *_sections(child))]


def _field_notes(model: type) -> dict[str, str]:
    """The strings under the fields of a class. Read on demand: pydantic would do it at every import (see tests)."""
    if not issubclass(model, Section) or model is Section:
        return {}
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)
    notes = {}
    for field, note in zip(body.body, body.body[1:], strict=False):
        match field, note:
            case (ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text)))):
                notes[key] = text
    return notes
