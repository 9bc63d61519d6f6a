"""The configuration and the tokenizer of a model by name, without its weights.

In: a model's name as a recipe writes it. Out: what transformers makes of `config.json` and
`tokenizer.json`, or of the header of a GGUF file, which is not converted for it. What transformers
raises becomes a `ModelError` that says what to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tutelage.errors import ModelError
from tutelage.models.finding import locate
from tutelage.models.weights import converted_folder, first_line, without_bars

UNREADABLE = (OSError, ImportError, ValueError, KeyError, SafetensorError)
"""What transformers raises about a model that it cannot find or make sense of."""


def read_config(spec: str, *, trust_remote_code: bool = False) -> Any:
    """The transformers configuration of a model.

    Args:
        spec: As for `load_language_model`.
        trust_remote_code: Run configuration code that comes with the model. Off unless asked for by
            name.

    Returns:
        A configuration; of a hub model with the commit it came from.

    Raises:
        ModelError: The model is not there, or of a kind that transformers does not know.
    """
    from transformers import AutoConfig

    location, options = _source(spec)
    try:
        return AutoConfig.from_pretrained(**options, trust_remote_code=trust_remote_code)
    except UNREADABLE as error:
        raise unreadable(spec, error, location=location) from error


def read_tokenizer(spec: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model as its files give it, to look at: a padding token is not added.

    Args:
        spec: As for `load_language_model`.
        trust_remote_code: Run tokenizer code that comes with the model. Off unless asked for by
            name.

    Raises:
        ModelError: The model is not there, or its tokenizer cannot be read.
    """
    from transformers import AutoTokenizer

    location, options = _source(spec)
    try:
        with without_bars():
            return AutoTokenizer.from_pretrained(**options, trust_remote_code=trust_remote_code)
    except UNREADABLE as error:
        raise unreadable(spec, error, location=location) from error


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
            "that code, then set "
            "trust_remote_code: true beside the model, or take another model"
        )
    if (
        "recognize this architecture" in text
        or "Unrecognized model" in text
        or "is not supported yet" in text
    ):
        from transformers import __version__

        return ModelError(
            f"{spec}: transformers {__version__} does not know this kind of model ({reason}). "
            "Upgrade it "
            "(pip install --upgrade transformers), or take another model"
        )
    if location is None and isinstance(error, OSError):
        return ModelError(
            f"{spec}: not a folder here, and the model hub did not give it ({reason}). Check the "
            "name and the network, "
            "or download the model and give its folder"
        )
    where = f"{location} " if location is not None else "it "
    return ModelError(
        f"{spec}: {where}could not be loaded: {reason}. Save model and tokenizer again with "
        "save_pretrained, or take "
        "another model"
    )


def _source(spec: str) -> tuple[Path | None, dict[str, str]]:
    """Where a model lies, and the words by which `from_pretrained` finds it."""
    location = locate(spec)
    if location is None:
        return None, {"pretrained_model_name_or_path": spec}
    if location.is_dir():
        return location, {"pretrained_model_name_or_path": str(location)}
    converted = converted_folder(location)
    if converted.is_dir():
        return converted, {"pretrained_model_name_or_path": str(converted)}
    return location, {
        "pretrained_model_name_or_path": str(location.parent),
        "gguf_file": location.name,
    }
