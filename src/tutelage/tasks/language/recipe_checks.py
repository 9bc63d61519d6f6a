"""What the sections of a causal_lm recipe say about each other: whether the targets can serve the
objectives.

In: the recipe as it was read, before its meaning is settled, so that no other mistake hides these.
Out: problems with their places.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tutelage.config.objectives import (
    DIVERGENCES,
    OF_ONE_DIVERGENCE,
    PARAMETERS,
    SERVED_BY,
    kinds_that_serve,
    serves,
)
from tutelage.config.source import Keys, Source
from tutelage.errors import Problem


def language_problems(source: Source) -> list[Problem]:
    """Hold the objective of every student against the targets.

    Args:
        source: A causal_lm recipe as it was read.

    Returns:
        An error for each objective that the targets cannot serve exactly or without bias, each key
        that has no meaning for its divergence, and each student that needs hidden states or whole
        distributions where there are none.
    """
    targets = _mapping(source.values.get("targets"))
    kind = targets.get("kind", "sampled")
    found: dict[Problem, None] = {}
    for name, student in _mapping(source.values.get("students")).items():
        own = _mapping(_mapping(student).get("objective"))
        objective = _Objective(_mapping(source.values.get("objective")), own, name)
        found |= dict.fromkeys(_without_meaning(objective, source))
        if kind in SERVED_BY:
            found |= dict.fromkeys(_not_served(objective, str(kind), source))
            found |= dict.fromkeys(_no_hidden_states(_mapping(student), name, str(kind), source))
            found |= dict.fromkeys(
                _no_whole_distributions(_mapping(student), name, str(kind), source)
            )
    return list(found)


class _Objective:
    """The objective of one student as it was written, and where each key stands."""

    def __init__(self, common: dict[str, Any], own: dict[str, Any], student: str) -> None:
        if "divergence" in own:
            common = {key: value for key, value in common.items() if key not in OF_ONE_DIVERGENCE}
        self._own = own
        self._student = student
        self.values = {**common, **own}

    def keys(self, key: str) -> Keys:
        return (
            ("students", self._student, "objective", key)
            if key in self._own
            else ("objective", key)
        )

    @property
    def divergence(self) -> Any:
        return self.values.get("divergence", "forward_kl")


def _without_meaning(objective: _Objective, source: Source) -> Iterator[Problem]:
    if objective.divergence not in DIVERGENCES:
        return
    for key in OF_ONE_DIVERGENCE:
        if objective.values.get(key) is None or key in PARAMETERS.get(objective.divergence, ()):
            continue
        keys = objective.keys(key)
        owners = " and ".join(name for name, known in PARAMETERS.items() if key in known)
        message = f"`{_dotted(keys)}` has no meaning for {objective.divergence}, only for {owners}; remove it"
        yield Problem(source.where(keys), message)


def _not_served(objective: _Objective, kind: str, source: Source) -> Iterator[Problem]:
    if objective.divergence in DIVERGENCES and not serves(kind, objective.divergence):
        keys = objective.keys("divergence")
        yield Problem(
            source.where(keys),
            f"`{_dotted(keys)}`: {kind} targets cannot serve {objective.divergence} exactly or "
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
            f"`{_dotted(keys)}` is {heat:g}, but {kind} targets hold what the teacher said at "
            "temperature 1; choose "
            f"targets of kind {kinds}, or loss_temperature: 1",
        )


def _no_hidden_states(
    student: dict[str, Any], name: str, kind: str, source: Source
) -> Iterator[Problem]:
    weight = student.get("hidden_weight", 0)
    if isinstance(weight, (int, float)) and weight > 0 and kind in _WITHOUT_STATES:
        keys = ("students", name, "hidden_weight")
        message = f"`{_dotted(keys)}`: {kind} targets hold no hidden states; choose targets of kind hidden or live"
        yield Problem(source.where(keys), message)


def _no_whole_distributions(
    student: dict[str, Any], name: str, kind: str, source: Source
) -> Iterator[Problem]:
    if student.get("vocabulary") == "corpus" and kind in _WITHOUT_STATES:
        keys = ("students", name, "vocabulary")
        yield Problem(
            source.where(keys),
            f"`{_dotted(keys)}`: {kind} targets cannot give the teacher's distribution over its "
            "tokens exactly or "
            "without bias, since they do not say how much of it that is; choose targets of kind "
            "hidden or live, or "
            "vocabulary: full",
        )


_WITHOUT_STATES = ("sampled", "top_k")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dotted(keys: Keys) -> str:
    return ".".join(str(key) for key in keys)
