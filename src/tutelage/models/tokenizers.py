"""Tokenizers without their models: loaded by name, named by content, and compared by what they do
to text.

Two vocabularies of one size may still number words differently, and then a student would learn
nonsense without a sign. So tokenizers are compared by what they make of real text, never by their
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.errors import ModelError
from tutelage.models.finding import locate
from tutelage.models.weights import convert_gguf, without_bars
from tutelage.runs import fingerprint

_SHOWN = 60


def load_tokenizer(spec: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model, without loading its weights.

    Args:
        spec: As for `load_language_model`. A GGUF file is converted first if it was not yet.
        trust_remote_code: Run tokenizer code that comes with the model. Off unless asked for by
            name.

    Returns:
        The tokenizer, with a padding token and padding on the right.

    Raises:
        ModelError: The model is not there or has no tokenizer.
    """
    from transformers import AutoTokenizer

    source = locate(spec)
    location = convert_gguf(source) if source is not None and source.is_file() else source
    try:
        with without_bars(only_errors=False):
            tokenizer = AutoTokenizer.from_pretrained(
                str(location) if location is not None else spec, trust_remote_code=trust_remote_code
            )
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{spec}: its tokenizer could not be loaded ({reason}). Give a folder that holds "
            "tokenizer.json, or check "
            "the name and the network"
        ) from error
    if tokenizer.pad_token_id is None:
        token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
        if token is None:
            raise ModelError(
                f"{spec}: its tokenizer has neither a padding nor an end-of-text token; add one"
            )
        tokenizer.pad_token = token
    tokenizer.padding_side = "right"
    return tokenizer


def model_config(spec: str, *, trust_remote_code: bool = False) -> Any:
    """The text configuration of a model, without loading its weights.

    Args:
        spec: As for `load_language_model`. A GGUF file is converted first if it was not yet.
        trust_remote_code: Run configuration code that comes with the model.

    Raises:
        ModelError: The model is not there, or its configuration cannot be read.
    """
    from transformers import AutoConfig

    source = locate(spec)
    location = convert_gguf(source) if source is not None and source.is_file() else source
    try:
        name = str(location) if location is not None else spec
        return AutoConfig.from_pretrained(
            name, trust_remote_code=trust_remote_code
        ).get_text_config()
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{spec}: its configuration could not be read ({reason}). Check the name or the folder"
        ) from error


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Name a tokenizer by what it does: its vocabulary and the rules that cut text, not the place
    it came from.
    """
    return fingerprint("tokenizer", sorted(tokenizer.get_vocab().items()), _rules(tokenizer))


def _rules(tokenizer: Any) -> str:
    """How text is cut; how batches are padded and truncated is no part of it, and changes with
    every call.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return str(type(tokenizer))
    if backend.truncation is not None or backend.padding is not None:
        backend = type(backend).from_str(backend.to_str())
        backend.no_truncation()
        backend.no_padding()
    return backend.to_str()


def require_same_tokenizer(teacher: Any, student: Any, texts: Sequence[str], *, name: str) -> None:
    """Make sure that a student's tokenizer numbers the words as the teacher's does.

    Args:
        teacher: Whose ids the soft targets are about.
        student: Whose ids the student reads and predicts.
        texts: Real text of the task, which both encode.
        name: The student, for the message.

    Raises:
        ModelError: They differ; the message shows where.
    """
    advice = (
        "Soft targets are about the teacher's tokens. Choose a student with the teacher's "
        "tokenizer, or train a "
        "pruned, transformer or rnn student, which take it over"
    )
    if len(teacher) != len(student):
        raise ModelError(
            f"students.{name}: its tokenizer has {len(student):,} ids but the teacher's has "
            f"{len(teacher):,}. {advice}"
        )
    for text in texts:
        ours, theirs = (
            list(side(text, add_special_tokens=False)["input_ids"]) for side in (teacher, student)
        )
        if ours != theirs:
            place = next(
                (
                    at
                    for at, pair in enumerate(zip(ours, theirs, strict=False))
                    if pair[0] != pair[1]
                ),
                0,
            )
            shown = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
            raise ModelError(
                f"students.{name}: its tokenizer has as many ids as the teacher's "
                f"({len(student):,}) but numbers text "
                f"otherwise: {shown!r} is {ours[place : place + 4]} from token {place + 1} on for "
                "the teacher, "
                f"{theirs[place : place + 4]} for the student. {advice}"
            )
    ours, theirs = teacher.get_vocab(), student.get_vocab()
    if ours != theirs:  # ids that these texts do not use
        token = min(
            (token for token in {*ours, *theirs} if ours.get(token) != theirs.get(token)), key=str
        )
        raise ModelError(
            f"students.{name}: its tokenizer has as many ids as the teacher's ({len(student):,}) "
            f"but {token!r} is "
            f"{theirs.get(token, 'not among them')} there and {ours.get(token, 'not among them')} "
            "for the teacher. "
            f"{advice}"
        )
    for role in ("eos_token_id", "bos_token_id"):
        if getattr(teacher, role) is not None and getattr(teacher, role) != getattr(student, role):
            raise ModelError(
                f"students.{name}: its {role} is {getattr(student, role)}, the teacher's "
                f"{getattr(teacher, role)}. "
                f"{advice}"
            )
