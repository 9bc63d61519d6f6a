"""The configuration and the tokenizer of a model by name, without its weights.

In: a model's name as a recipe writes it. Out: what transformers makes of `config.json` and
`tokenizer.json`, or of the header of a GGUF file. What transformers raises becomes a `ModelError`
that says what to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.errors import ModelError
from tutelage.models.finding import locate
from tutelage.models.gguf import convert_gguf, converted_folder
from tutelage.models.pretrained import UNREADABLE, Part, from_pretrained, unreadable


def read_config(spec: str, *, trust_remote_code: bool = False) -> Any:
    """The transformers configuration of a model; a GGUF file is not converted for it.

    Args:
        spec: As for `load_language_model`.
        trust_remote_code: Run configuration code that comes with the model. Off unless asked for by
            name.

    Returns:
        A configuration; of a hub model with the commit it came from.

    Raises:
        ModelError: The model is not there, or of a kind that transformers does not know.
    """
    location = _unconverted(spec, tokenizer=False)
    return _read("config", spec, location, trust_remote_code=trust_remote_code)


def read_tokenizer(spec: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model as its files give it, to look at: a padding token is not added.

    Args:
        spec: As for `load_language_model`. A GGUF file is not converted for it.
        trust_remote_code: Run tokenizer code that comes with the model. Off unless asked for by
            name.

    Raises:
        ModelError: The model is not there, or its tokenizer cannot be read.
    """
    return _read("tokenizer", spec, _unconverted(spec), trust_remote_code=trust_remote_code)


def load_tokenizer(spec: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model as it is worked with, without loading the model's weights.

    Args:
        spec: As for `load_language_model`. A GGUF file is converted first if it was not yet.
        trust_remote_code: As for `read_tokenizer`.

    Returns:
        The tokenizer, with a padding token and padding on the right.

    Raises:
        ModelError: The model is not there or has no tokenizer.
    """
    location = model_folder(spec)
    tokenizer = _read("tokenizer", spec, location, trust_remote_code=trust_remote_code)
    give_padding_token(tokenizer, spec)
    return tokenizer


def model_config(spec: str, *, trust_remote_code: bool = False) -> Any:
    """The text configuration of a model as it is worked with, without loading its weights.

    Args:
        spec: As for `load_language_model`. A GGUF file is converted first if it was not yet.
        trust_remote_code: As for `read_config`.

    Raises:
        ModelError: The model is not there, or its configuration cannot be read.
    """
    location = model_folder(spec, tokenizer=False)
    config = _read("config", spec, location, trust_remote_code=trust_remote_code)
    return config.get_text_config()


def model_folder(spec: str, *, tokenizer: bool = True) -> Path | None:
    """The folder that a model is loaded from, None for a hub id; a GGUF file is converted first.

    Args:
        spec: As for `load_language_model`.
        tokenizer: Whether it must hold one.

    Raises:
        ModelError: It is not there, or cannot be converted.
    """
    source = locate(spec, tokenizer=tokenizer)
    return convert_gguf(source) if source is not None and source.is_file() else source


def give_padding_token(tokenizer: Any, spec: str) -> None:
    """Use the end-of-text token for padding where the tokenizer has no padding token, and pad on
    the right.

    Raises:
        ModelError: It has neither.
    """
    if tokenizer.pad_token_id is None:
        token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
        if token is None:
            raise ModelError(
                f"{spec}: its tokenizer has neither a padding nor an end-of-text token; add one"
            )
        tokenizer.pad_token = token
    tokenizer.padding_side = "right"


def _read(part: Part, spec: str, location: Path | None, *, trust_remote_code: bool) -> Any:
    try:
        return from_pretrained(part, spec, location, trust_remote_code=trust_remote_code)
    except UNREADABLE as error:
        raise unreadable(spec, error, location=location) from error


def _unconverted(spec: str, *, tokenizer: bool = True) -> Path | None:
    """Where a model lies: a GGUF file itself, unless its plain copy is there already."""
    source = locate(spec, tokenizer=tokenizer)
    if source is None or source.is_dir():
        return source
    converted = converted_folder(source)
    return converted if converted.is_dir() else source
