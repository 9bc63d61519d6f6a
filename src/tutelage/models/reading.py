"""The configuration and the tokenizer of a model by name, without its weights; tokenizers named by
content, and compared by what they do to text.

In: a model's name as a recipe writes it. Out: what transformers makes of `config.json` and
`tokenizer.json`, or of the header of a GGUF file. What transformers raises becomes a `ModelError`
that says what to do. Two vocabularies of one size may still number words differently, and then a
student would learn nonsense without a sign: so tokenizers are compared by what they make of real
text, never by their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.errors import ModelError
from tutelage.models.finding import locate
from tutelage.models.pretrained import from_pretrained
from tutelage.models.weights import convert_gguf, converted_folder
from tutelage.runs import fingerprint
from tutelage.runs.digests import is_whole


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
    location = unconverted(spec, tokenizer=False)
    return from_pretrained("config", spec, location, trust_remote_code=trust_remote_code)


def read_tokenizer(spec: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model as its files give it, to look at: a padding token is not added.

    Args:
        spec: As for `load_language_model`. A GGUF file is not converted for it.
        trust_remote_code: Run tokenizer code that comes with the model. Off unless asked for by
            name.

    Raises:
        ModelError: The model is not there, or its tokenizer cannot be read.
    """
    return from_pretrained(
        "tokenizer", spec, unconverted(spec), trust_remote_code=trust_remote_code
    )


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
    tokenizer = from_pretrained("tokenizer", spec, location, trust_remote_code=trust_remote_code)
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
    config = from_pretrained("config", spec, location, trust_remote_code=trust_remote_code)
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


def unconverted(spec: str, *, tokenizer: bool = True) -> Path | None:
    """Where a model lies: a GGUF file itself, unless its plain copy is there already."""
    source = locate(spec, tokenizer=tokenizer)
    if source is None or source.is_dir():
        return source
    converted = converted_folder(source)
    return converted if is_whole(converted) else source


def require_embedded(
    texts: Sequence[str], vocabulary: int | None, tokenizer: Any, *, name: str
) -> None:
    """Refuse texts with a token that a model has no embedding for, before anything is computed.

    Where the tokenizer knows no more tokens than the model, which is nearly always, nothing is
    tokenized.

    Args:
        texts: All of them.
        vocabulary: How many tokens the model has embeddings for; None: nobody knows.
        tokenizer: The model's.
        name: The model, for the message.

    Raises:
        ModelError: A text holds such a token; both are named.
    """
    if vocabulary is None or len(tokenizer) <= vocabulary:
        return
    for text in texts:
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        highest = max(ids, default=0)
        if highest >= vocabulary:
            shown = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
            raise ModelError(
                f"{name}: its tokenizer has {len(tokenizer):,} tokens, its matrix {vocabulary:,} "
                f"rows, and the text {shown!r} holds {tokenizer.decode([highest])!r}, which has "
                "none: resize the model's embeddings and save it again"
            )


_SHOWN = 60


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


def padding_id(tokenizer: Any, vocabulary: int) -> int:
    """What fills short rows, which nobody looks at: the padding token, or another where the model
    has no row for it.

    Args:
        tokenizer: From `load_tokenizer`.
        vocabulary: How many tokens the model speaks of.
    """
    token = int(tokenizer.pad_token_id)
    return token if token < vocabulary else 0
