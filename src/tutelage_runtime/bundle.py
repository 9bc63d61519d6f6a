"""An exported student: a folder with a graph, what turns texts into its inputs, and `student.json`.

    student.json     what it answers, and the sum of every other file
    model.onnx       the graph
    tokenizer.json   or ngrams.json; pairs.npy beside it where pairs of tokens have vectors

The graph gives `logits` [B, C] before any temperature, and `features` [B, D], what its last layer
reads (the logits where there is only one layer). Its inputs, by `Bundle.inputs`:

- `tokens`: `input_ids` and `attention_mask`, int64 [B, T], padded on the right.
- `rows`: `rows` int64 [B, K] of a table, padded with 0, and `mask` float32 [B, K], 1 where a row
  counts. Rows of tokens first, then of known pairs of neighbours.
- `ngrams`: `rows` int64 [B, K] and `mask` float32 [B, K] likewise, of n-grams, and `scale`
  float32 [B, 1], one over the square root of the number of words.

A text in which there is nothing to read has no token or row: it comes with one place, which the
mask leaves out.

`pairs.npy` is int64 [N, 3]: two neighbouring tokens and the row of their pair. `ngrams.json` has
`words` and `characters`, whose rows follow one another from 1 on (row 0 is that of no n-gram),
`longest_words`, `longest_characters` and `lowercase`, see `ngrams.NGrams`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

FORMAT = 1
STUDENT = "student.json"
GRAPH = "model.onnx"
Inputs = Literal["tokens", "rows", "ngrams"]
_LARGEST = 1 << 24
_MOST_SAID = 300
_MOST_ID = 1 << 31
"""Tokens and places are counted in fewer bits than this by all that reads them."""


class BundleError(Exception):
    """A folder is not an exported student, or not any more what was exported."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a student answers about every text."""

    labels: tuple[str, ...]
    """C class names, in the order of the probabilities."""
    descriptions: Mapping[str, str] = field(default_factory=dict)
    """What labels mean, of those for which somebody said it."""
    instructions: str | None = None
    """What its teacher was asked to do; None: whatever leads to these labels."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What `student.json` says."""

    folder: Path
    name: str
    """Of the student in its run, such as `lstm`."""
    format_name: str
    """The export format, such as `onnx_int8`."""
    inputs: Inputs
    question: Question
    temperature: float
    """Logits are divided by it; fitted on validation rows, 1 where it was not."""
    max_length: int
    """Tokens, or words of `ngrams`, that are read; the rest of a text is not."""
    pad_id: int
    version: str
    """Of the content: 16 hex digits, another for any other file, label or temperature."""
    files: Mapping[str, str]
    """SHA-256 of every file but `student.json` that answering needs, by name."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """For people: teacher, terms, numbers, when and by which version it was made."""


def version_of(values: Mapping[str, Any]) -> str:
    """The version of an export with these values in `student.json`; `facts` and names do not
    count.
    """
    counting = ("format", "inputs", "question", "temperature", "max_length", "pad_id", "files")
    text = json.dumps({key: values[key] for key in counting}, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def read_bundle(folder: Path | str, *, verify: bool = True) -> Bundle:
    """What a folder holds.

    Args:
        folder: As `tutelage export` wrote it.
        verify: Whether to compare the sums of all files.

    Raises:
        BundleError: It is no exported student, of a later version, or a file was changed or lost.
    """
    folder = Path(folder)
    path = folder / STUDENT
    try:
        if not path.is_file():
            raise BundleError(
                f"{folder} has no {STUDENT}: give a folder that tutelage export wrote, such as "
                "runs/NAME/students/NAME/export/onnx"
            )
        if (size := path.stat().st_size) > _LARGEST:
            raise BundleError(f"{path} is {size:,} bytes long: export the student again")
        values = json.loads(path.read_text("utf-8"))
        if (found := values.get("format")) != FORMAT:
            raise BundleError(
                f"{path} is of format {_named(found)}; this version reads format {FORMAT}: "
                "install the version of tutelage that wrote it, or export the student again"
            )
        bundle, version = _bundle(folder, values), version_of(values)
        if verify:
            _verify(bundle)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        said = f"{type(error).__name__}: {error}"[:_MOST_SAID]
        raise BundleError(f"{path} cannot be read ({said}): export the student again") from None
    if verify and bundle.version != version:
        raise BundleError(f"{path} was changed since it was written: export the student again")
    return bundle


def _bundle(folder: Path, values: Mapping[str, Any]) -> Bundle:
    asked = values["question"]
    if values["inputs"] not in get_args(Inputs):
        raise ValueError(f"inputs is {_named(values['inputs'])}")
    bundle = Bundle(
        folder=folder,
        name=str(values["name"]),
        format_name=str(values["format_name"]),
        inputs=cast(Inputs, values["inputs"]),
        question=Question(
            tuple(map(str, asked["labels"])),
            {str(label): str(said) for label, said in asked["descriptions"].items()},
            asked["instructions"],
        ),
        temperature=float(values["temperature"]),
        max_length=int(values["max_length"]),
        pad_id=int(values["pad_id"]),
        version=str(values["version"]),
        files={str(name): str(digest) for name, digest in values["files"].items()},
        facts=dict(values["facts"]),
    )
    labels, said = bundle.question.labels, bundle.question.instructions
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise ValueError(f"{len(labels)} labels; expected two or more, all different")
    if said is not None and not isinstance(said, str):
        raise TypeError(f"instructions are {type(said).__name__}, no text")
    if not (math.isfinite(bundle.temperature) and bundle.temperature > 0):
        raise ValueError(f"temperature is {bundle.temperature}; expected more than 0")
    if not (1 <= bundle.max_length < _MOST_ID and 0 <= bundle.pad_id < _MOST_ID):
        raise ValueError(f"max_length is {bundle.max_length} and pad_id {bundle.pad_id}")
    return bundle


def _verify(bundle: Bundle) -> None:
    for name, digest in bundle.files.items():
        path = bundle.folder / name
        if Path(name).name != name or not path.is_file():
            raise BundleError(f"{path} is not there: export the student again")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise BundleError(
                    f"{path} is not what was exported (its SHA-256 differs): export the student "
                    "again"
                )


def _named(value: Any) -> str:
    """A value in a message, cut."""
    said = repr(value)
    return said if len(said) <= 60 else said[:60] + "..."
