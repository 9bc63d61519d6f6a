"""What to say, and to do, about a model that transformers refuses."""

from __future__ import annotations

import re
from pathlib import Path

from tutelage.errors import ModelError
from tutelage.models.headers import is_gguf, quoted


def unreadable(spec: str, error: BaseException, *, location: Path | None) -> ModelError:
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
    if "Unrecognized configuration class" in text:
        kind = re.search(r"\.(\w+)Config'>", text)
        called = f" ({kind[1]})" if kind else ""
        return ModelError(
            f"{spec}: transformers has no model of this kind{called} with the head that is needed "
            "here. Take another model, or for a classifier fit a head on its states "
            "(fit: {method: head})"
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
    where = f"{location} " if location is not None and str(location) != spec else "it "
    if is_gguf(location):
        return ModelError(
            f"{spec}: {where}could not be read as a language model: {reason}. Take another file of "
            "the same model, or give the model's safetensors folder"
        )
    return ModelError(
        f"{spec}: {where}could not be loaded: {reason}. Save model and tokenizer again with "
        "save_pretrained, or take another model"
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, cut; of a missing key, whose message is the key alone,
    and of what is no error of a model by itself, also the kind.
    """
    text = str(error).strip()
    if not text or not isinstance(error, (OSError, ValueError, ImportError, RuntimeError)):
        text = f"{type(error).__name__} {text}".strip()
    return quoted(text.splitlines()[0])
