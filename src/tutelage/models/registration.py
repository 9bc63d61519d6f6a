"""The recurrent students, made known to the Auto classes of transformers.

Nothing here happens on import: loaders of tutelage call it, and whoever loads such a folder by
other means calls `tutelage.register()` first.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def register() -> None:
    """Have transformers' Auto classes load the recurrent students.

    Calling it again changes nothing. tutelage's own loaders call it themselves.

    Example:
        >>> import tutelage
        >>> tutelage.register()
        >>> from transformers import pipeline
        >>> pipeline("text-classification", "runs/reviews/students/gru")  # doctest: +SKIP
    """
    register_configurations()
    if find_spec("torch") is None:  # then there are no models to load
        return
    import transformers

    for auto, kinds in (
        (transformers.AutoModelForSequenceClassification, "CLASSIFIERS"),
        (transformers.AutoModelForCausalLM, "WRITERS"),
    ):
        for config, model in _networks(kinds):
            auto.register(_named(config), _named(model), exist_ok=True)


def register_configurations() -> None:
    """Have `AutoConfig`, and with it `AutoTokenizer`, read their folders; needs no torch."""
    from transformers import AutoConfig

    for config, _ in (*_networks("CLASSIFIERS"), *_networks("WRITERS")):
        AutoConfig.register(_named(config).model_type, _named(config), exist_ok=True)


def _networks(kinds: str) -> list[tuple[str, str]]:
    """Of the students that stand on the floor above: named here for what loads them, which is any
    model by any loader.
    """
    students = import_module("tutelage.students.kinds")
    return [kind.network for kind in getattr(students, kinds) if kind.network is not None]


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"tutelage.students.{module}"), name)
