"""The one door to `from_pretrained` of transformers: configurations, tokenizers and models, our
recurrent students among them.

In: where a model lies. Out: what transformers makes of it, or what to say about it where
transformers refuses. Code that comes with a model runs only where the caller says so by name, here
as everywhere; weights are read from safetensors (or GGUF) alone. The recurrent students are classes
of ours that `AutoConfig`, `AutoModelForSequenceClassification` and `AutoModelForCausalLM` know once
they have been told, which happens here and not on import: whoever loads such a folder by other
means than tutelage's own calls `tutelage.register()` first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError

from tutelage.errors import ModelError

Part = Literal["config", "tokenizer", "causal_lm", "backbone", "sequence"]
"""What of a model is loaded: its configuration, its tokenizer, or the model with a head that scores
tokens, none, or one that classifies."""
UNREADABLE = (OSError, ImportError, ValueError, KeyError, SafetensorError)
"""What transformers raises about a model that it cannot find or make sense of."""


def from_pretrained(
    part: Part,
    spec: str,
    location: Path | None = None,
    *,
    trust_remote_code: bool = False,
    **options: Any,
) -> Any:
    """A part of a model, as transformers reads it.

    Args:
        part: What of it.
        spec: The model as the recipe writes it; asked of the hub where there is no location.
        location: Its folder or .gguf file.
        trust_remote_code: Run code that comes with the model.
        **options: Of `from_pretrained`.

    Raises:
        OSError: As all of `UNREADABLE`, which transformers raises; see `unreadable`.
    """
    import transformers

    if part in ("config", "tokenizer"):
        register_configurations()
    else:
        register()
        options |= {} if _is_gguf(location) else {"use_safetensors": True}
    where = {"pretrained_model_name_or_path": spec if location is None else str(location)}
    if location is not None and _is_gguf(location):
        where = {
            "pretrained_model_name_or_path": str(location.parent),
            "gguf_file": location.name,
        }
    match part:
        case "config":
            auto: Any = transformers.AutoConfig
        case "tokenizer":
            auto = transformers.AutoTokenizer
        case "causal_lm":
            auto = transformers.AutoModelForCausalLM
        case "backbone":
            auto = transformers.AutoModel
        case "sequence":
            auto = transformers.AutoModelForSequenceClassification
    with without_bars():
        return auto.from_pretrained(**where, trust_remote_code=trust_remote_code, **options)


@contextmanager
def without_bars(*, only_errors: bool = False) -> Iterator[None]:
    """Hide transformers' own progress bars inside, and if asked its warnings; all is as it was
    afterwards.
    """
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    if only_errors:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def unreadable(spec: str, error: Exception, *, location: Path | None) -> ModelError:
    """What to say, and to do, about a model that transformers refused.

    Args:
        spec: The model as the recipe writes it.
        error: What transformers raised.
        location: Where the model lies; None for the hub.

    Returns:
        The error to raise.
    """
    text, reason = str(error), first_line(error)
    if "trust_remote_code" in text:
        return ModelError(
            f"{spec}: this model brings code of its own, which is not run unless asked for. Read "
            "that code, then set trust_remote_code: true beside the model, or take another model"
        )
    if (
        "recognize this architecture" in text
        or "Unrecognized model" in text
        or "is not supported yet" in text
    ):
        from transformers import __version__

        return ModelError(
            f"{spec}: transformers {__version__} does not know this kind of model ({reason}). "
            "Upgrade it (pip install --upgrade transformers), or take another model"
        )
    if location is None and isinstance(error, OSError):
        return ModelError(
            f"{spec}: not a folder here, and the model hub did not give it ({reason}). Check the "
            "name and the network, or download the model and give its folder"
        )
    where = f"{location} " if location is not None else "it "
    return ModelError(
        f"{spec}: {where}could not be loaded: {reason}. Save model and tokenizer again with "
        "save_pretrained, or take another model"
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message; of a missing key, whose message is the key alone, also
    the kind.
    """
    text = str(error).strip()
    if not text or isinstance(error, KeyError):
        return f"{type(error).__name__} {text}".strip()
    return text.splitlines()[0]


def _is_gguf(location: Path | None) -> bool:
    return location is not None and location.suffix.lower() == ".gguf"


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
