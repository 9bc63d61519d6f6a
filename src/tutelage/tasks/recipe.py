"""What recipes have in common, whichever their task: the sections in the order of the flow, how a
student's own keys lie over the common ones, whether an objective has a meaning and the targets
serve it; and the fingerprint of a recipe with the bytes of its files. Equal inputs make equal
stages, so with it a finished run is known to be finished before data is read, and without torch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from tutelage.config.source import Keys, Source, dotted
from tutelage.config.specs import section
from tutelage.config.values import FrozenList, Overrides, PlainName, Section
from tutelage.data.limits import USUAL, ReadingLimits, not_a_file
from tutelage.errors import Problem
from tutelage.export import FORMATS
from tutelage.losses.table import (
    DIVERGENCES,
    PARAMETERS,
    TABLE,
    TARGET_KINDS,
    kinds_that_serve,
    serves,
)
from tutelage.runs import fingerprint, fingerprint_file
from tutelage.runs.remote import local_file
from tutelage.runs.stages import STAGE_VERSION
from tutelage.students.language.lora import Lora
from tutelage.teachers.engine import RayPool

if TYPE_CHECKING:
    Format = str
else:  # the words of the table, as pydantic and the JSON schema want them
    Format = Literal[tuple(FORMATS)]
"""A format that students are saved in."""


class Engine(section(RayPool, name="Engine", kind="ray")):
    """A pool of actors of Ray that write the soft targets, each with the teacher in its memory."""

    kind: Literal["ray"]
    """Ray; the extra `ray` brings it."""


def _spelled_out(engine: Any) -> Any:
    return Engine(kind="ray") if engine == "ray" else engine


if TYPE_CHECKING:
    AnyEngine = Engine
else:  # a word, or its options
    AnyEngine = Annotated[Literal["ray"] | Engine, AfterValidator(_spelled_out)]

ENGINE_UNUSED = (
    "warning: engine is passed over: one process does this: the teacher has no weights here, or "
    "its targets are text"
)
LATER_SECTIONS = ("label", "engine")
"""Sections that recipes of before did not have."""


class AnyRecipe(Section):
    """Everything a run needs to know; each task says what its sections are."""

    name: PlainName
    """Names the run folder; left out: the name of the recipe file."""

    task: Any
    """What the student must be able to do."""

    data: Any
    """What is learned from."""

    teacher: Any
    """The large model."""

    targets: Any
    """What the teacher writes down."""

    students: Mapping[str, Any]
    """The small models by name; all learn from the same targets."""

    objective: Any
    """What training minimises."""

    train: Any
    """How students are trained."""

    evaluate: Any
    """What the report compares."""

    export: Annotated[tuple[Format, ...], FrozenList] = ("transformers",)
    """The formats each student is saved in."""

    engine: AnyEngine | None = None
    """Who writes the soft targets of a teacher whose weights are loaded: ray, or its options; None:
    this process, or all that a launcher started. Targets are the same."""

    @model_serializer(mode="wrap")
    def _without_absent_sections(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_absent(handler(self), LATER_SECTIONS)

    def train_for(self, student: str) -> Any:
        """The `train` section as it holds for one student: its own keys over the common ones.

        Args:
            student: A name in `students`.

        Returns:
            All keys, with the seed of the run.
        """
        return self._laid_over("train", student)

    def objective_for(self, student: str) -> Any:
        """The `objective` section as it holds for one student: its own keys over the common ones.

        Args:
            student: A name in `students`.

        Returns:
            All keys.
        """
        return self._laid_over("objective", student)

    def _laid_over(self, name: str, student: str) -> Any:
        common, own = getattr(self, name), getattr(self.students[student], name)
        return common if own is None else common.model_copy(update=own.given())


def read_back(recipe: Any, text: str) -> Any:
    """A recipe as its `model_dump_json` wrote it, for a worker on another machine.

    Args:
        recipe: Its class.
        text: JSON, every path in it absolute.
    """
    return recipe.model_validate(json.loads(text), context={"folder": Path.cwd()})


LATER_DATA_KEYS = ("control_tokens", "max_row_bytes", "max_file_bytes")
"""Keys of `data` that recipes of before did not have."""


def without_absent(values: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """The values of a section, but for those of some keys that were not given: what recipes of
    before did not have stays out of their fingerprints.
    """
    return {key: value for key, value in values.items() if value is not None or key not in keys}


class DataFiles(Section):
    """How much of the files of any task is read."""

    max_row_bytes: int | None = Field(default=None, ge=1)
    """The most bytes of one row of a file; None: 16 MiB. A larger row is refused, for a file
    without an end of line would fill the memory."""

    max_file_bytes: int | None = Field(default=None, ge=1)
    """The most bytes of a file, and what a parquet file may unfold to; None: 8 GiB, and for parquet
    128 MiB or 50 times its size, whichever is more."""

    @model_serializer(mode="wrap")
    def _without_absent_limits(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_absent(handler(self), LATER_DATA_KEYS)

    @property
    def limits(self) -> ReadingLimits:
        """How large rows and files may be."""
        return ReadingLimits(self.max_row_bytes, self.max_file_bytes)


class LoraSpec(section(Lora)):
    """Train low-rank additions to the weights only, and add them to the weights at the end."""


LATER_EVALUATE_KEYS = ("prefer",)
"""Keys of `evaluate` that recipes of before did not have."""


class Preference(Section):
    """Which student `predict` uses: the cheapest one that keeps enough."""

    keep: float = Field(gt=0, le=1)
    """The share of the teacher that a student must keep by the lower end of its 95 % interval: of
    the accuracy; without gold labels, and of language models, the share of answers or next tokens
    in which the student agrees with the teacher. Cheap is who answers fast."""


class OwnObjective(Overrides):
    """Keys of `objective` that one student sets for itself."""

    def given(self) -> dict[str, Any]:
        """The keys that were given; a `divergence` sets the common parameters aside: they belong to
        another.
        """
        given = super().given()
        return {**dict.fromkeys(PARAMETERS), **given} if "divergence" in given else given


def objective_problems(source: Source, targets: Any) -> list[Problem]:
    """Hold the objective of every student against its divergence and against the targets.

    Args:
        source: A recipe as it was read, before its meaning is settled, so that no other mistake
            hides these.
        targets: The kind of its targets; nothing is held against one that there is not.

    Returns:
        An error for each key that has no meaning for its divergence, and for each objective that
        the targets cannot serve exactly or without bias.
    """
    found: dict[Problem, None] = {}
    for name, student in mapping(source.values.get("students")).items():
        own = mapping(mapping(student).get("objective"))
        objective = _Written(mapping(source.values.get("objective")), own, name)
        found |= dict.fromkeys(_without_meaning(objective, source))
        found |= dict.fromkeys(_not_served(objective, targets, source))
    return list(found)


def export_problems(source: Source, kind: str) -> list[Problem]:
    """Hold the formats that students are to be saved in against the task.

    Args:
        source: A recipe as it was read.
        kind: Of its task.

    Returns:
        An error for each format that is for students of other tasks.
    """
    asked = source.values.get("export")
    return [
        Problem(
            source.where(("export", place)),
            f"`export.{place}`: {name} is for students of the task "
            f"{' or '.join(FORMATS[name].tasks)}; this one is {kind}: leave it out",
        )
        for place, name in enumerate(asked if isinstance(asked, list) else ())
        if isinstance(name, str) and name in FORMATS and kind not in FORMATS[name].tasks
    ]


def mapping(value: Any) -> dict[str, Any]:
    """A value of a recipe if it is a mapping of keys, else an empty one."""
    return value if isinstance(value, dict) else {}


class _Written:
    """The objective of one student as it was written, and where each key stands."""

    def __init__(self, common: dict[str, Any], own: dict[str, Any], student: str) -> None:
        if "divergence" in own:
            common = {key: value for key, value in common.items() if key not in PARAMETERS}
        self._own = own
        self._student = student
        self.values = {**common, **own}
        self.divergence: Any = self.values.get("divergence", "forward_kl")

    def keys(self, key: str) -> Keys:
        return (
            ("students", self._student, "objective", key)
            if key in self._own
            else ("objective", key)
        )


def _without_meaning(objective: _Written, source: Source) -> Iterator[Problem]:
    if objective.divergence not in DIVERGENCES:
        return
    for key in PARAMETERS:
        known = TABLE[objective.divergence].parameters
        if objective.values.get(key) is None or key in known:
            continue
        keys = objective.keys(key)
        owners = " and ".join(name for name in DIVERGENCES if key in TABLE[name].parameters)
        yield Problem(
            source.where(keys),
            f"`{dotted(keys)}` has no meaning for {objective.divergence}, only for {owners}; "
            "remove it",
        )


def _not_served(objective: _Written, kind: Any, source: Source) -> Iterator[Problem]:
    if kind not in TARGET_KINDS:
        return
    if objective.divergence in DIVERGENCES and not serves(kind, objective.divergence):
        keys = objective.keys("divergence")
        yield Problem(
            source.where(keys),
            f"`{dotted(keys)}`: {kind} targets cannot serve {objective.divergence} exactly or "
            "without bias; choose "
            f"targets of kind {' or '.join(kinds_that_serve(objective.divergence))}, or "
            f"{' or '.join(name for name in DIVERGENCES if serves(kind, name))}",
        )
    heat = objective.values.get("loss_temperature", 1.0)
    if isinstance(heat, (int, float)) and not serves(kind, "forward_kl", loss_temperature=heat):
        keys = objective.keys("loss_temperature")
        kinds = " or ".join(kinds_that_serve("forward_kl", loss_temperature=heat))
        yield Problem(
            source.where(keys),
            f"`{dotted(keys)}` is {heat:g}, but {kind} targets hold what the teacher said at "
            "temperature 1; choose "
            f"targets of kind {kinds}, or loss_temperature: 1",
        )


_PACKAGES = ("tutelage", "transformers", "tokenizers", "jinja2")
"""What makes documents and fingerprints of the files: another version may make others."""


def inputs_fingerprint(
    recipe: object,
    *,
    files: Iterable[Path],
    weights: Iterable[str],
    besides: object = None,
    limits: ReadingLimits = USUAL,
) -> str:
    """The fingerprint of everything that a run of a recipe depends on.

    Args:
        recipe: All of it.
        files: The data files that it names.
        weights: Names of those that its students start from.
        besides: What else the stages depend on, such as what the teacher knows.
        limits: How large a file may be.

    Raises:
        OSError: A file cannot be read, is larger, or is none, such as a pipe that never ends.
        ModelError: A model is not there.
    """
    files = [local_file(path) for path in files]
    for path in files:
        if not_a_file(path) is not None or path.stat().st_size > limits.of_text:
            raise OSError(f"{path} is no file that could be read whole")
    return fingerprint(
        "inputs",
        STAGE_VERSION,
        {name: _version(name) for name in _PACKAGES},
        recipe,
        [fingerprint_file(path) for path in files],
        list(weights),
        besides,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
