"""The objective of a recipe, whichever its task: its keys, how a student's own lie over the common
ones, and whether they have a meaning and the targets serve them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from tutelage.config.source import Keys, Source
from tutelage.errors import Problem
from tutelage.losses.table import (
    DIVERGENCES,
    PARAMETERS,
    TABLE,
    TARGET_KINDS,
    kinds_that_serve,
    serves,
)

_Section = TypeVar("_Section", bound=Any)


def laid_over(common: _Section, own: Any | None) -> _Section:
    """The `objective` section as it holds for one student: its own keys over the common ones.

    A student's own `divergence` also sets the common parameters aside: they belong to another.

    Args:
        common: The section of the recipe.
        own: That of the student; None: it has none.

    Returns:
        All keys.
    """
    if own is None:
        return common
    given = {key: getattr(own, key) for key in own.model_fields_set}
    if "divergence" in given:
        given = {**dict.fromkeys(PARAMETERS), **given}
    return common.model_copy(update=given)


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


def mapping(value: Any) -> dict[str, Any]:
    """A value of a recipe if it is a mapping of keys, else an empty one."""
    return value if isinstance(value, dict) else {}


def dotted(keys: Keys) -> str:
    """The way to a value as people write it."""
    return ".".join(str(key) for key in keys)


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
