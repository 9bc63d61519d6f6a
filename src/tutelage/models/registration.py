"""Telling transformers about the recurrent students, which are classes of ours.

In: nothing. Out: `AutoConfig`, `AutoModelForSequenceClassification` and `AutoModelForCausalLM` know
them, so that pipelines and other tools load their folders without `trust_remote_code`. Nothing of
this happens on import: whoever loads such a folder by other means than tutelage's own calls
`tutelage.register()` first.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

# They stand on a floor above, and are named here for what loads them: any model, by any loader.
_CLASSIFIER = (
    "tutelage.students.classifier",
    "RecurrentConfig",
    "RecurrentForSequenceClassification",
)
_LANGUAGE_MODEL = ("tutelage.students.language", "RecurrentLanguageConfig", "RecurrentForCausalLM")


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
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    for auto, (room, config, model) in (
        (AutoModelForSequenceClassification, _CLASSIFIER),
        (AutoModelForCausalLM, _LANGUAGE_MODEL),
    ):
        auto.register(
            getattr(import_module(f"{room}.configuration"), config),
            getattr(import_module(f"{room}.rnn"), model),
            exist_ok=True,
        )


def register_configurations() -> None:
    """Have `AutoConfig`, and with it `AutoTokenizer`, read their folders; needs no torch."""
    from transformers import AutoConfig

    for room, name, _ in (_CLASSIFIER, _LANGUAGE_MODEL):
        config = getattr(import_module(f"{room}.configuration"), name)
        AutoConfig.register(config.model_type, config, exist_ok=True)
