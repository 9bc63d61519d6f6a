"""Tokenizers named by content, and compared by what they do to text.

Two vocabularies of one size may still number words differently, and then a student would learn
nonsense without a sign. So tokenizers are compared by what they make of real text, never by their
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.errors import ModelError
from tutelage.runs import fingerprint

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
