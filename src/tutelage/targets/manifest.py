"""manifest.json of a target store: who wrote it, for which labels or tokenizer, and the checksum of
every part; and what else may lie in the folder of a store.

The manifest is replaced atomically after each part, so it never names a part that is not whole on
disk.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.errors import TargetsCorrupt, TargetsError, TargetsIncomplete, TargetsMismatch
from tutelage.runs import LOCK_FILE, MOST_JSON_BYTES, atomic_write_bytes, read_json

FORMAT = 1
ANSWERS_FORMAT = "answers to prompts"
"""What stands there in the manifest of text targets, which are no store; see `targets.text`."""
FILE = "manifest.json"
OUTPUT_FILE = "output.safetensors"
WORKERS_FOLDER = ".workers"
"""What workers have written apart and nobody has taken over yet: see `teachers.sharing`."""
PART_NAME = re.compile(r"part-[0-9]{5,9}\.parquet")
IDENTITY = ("kind", "teacher", "tokenizer", "vocabulary_size", "labels", "encoding", "seed")
"""The fields that rows must agree in to lie in one store."""

MOST_NAME_CHARACTERS = 1_000
"""Of the fingerprint of a teacher or tokenizer."""
MOST_ENCODING_CHARACTERS = 4_000
"""Of the parameters of an encoder as JSON."""
MOST_DEPTH = 20
"""Of these parameters."""
MOST_COUNT = 2**63 - 1
"""Of rows, positions, bytes, ids."""
SEED_BITS = 127
"""A seed and its sign take 16 bytes."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHOWN_CHARACTERS = 80
_SHOWN_LABELS = 20


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file of a store."""

    file: str
    """Its name inside the folder."""
    rows: int
    """Examples in it."""
    positions: int
    """Distributions in it: one an example for classes, one a token for language models."""
    bytes: int
    """Size on disk."""
    sha256: str
    """Of its bytes, 64 hexadecimal characters."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a store says of itself; format 1."""

    kind: str
    """What a target is: `class_probabilities`."""
    teacher: str
    """Fingerprint of the teacher: weights, prompt, precision."""
    labels: tuple[str, ...] = ()
    """Class names in the order of the probabilities."""
    tokenizer: str = ""
    """Fingerprint of the tokenizer whose ids the targets name; empty where they name classes."""
    vocabulary_size: int = 0
    """Number of ids of that tokenizer; 0 where targets name classes."""
    encoding: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the encoder."""
    seed: int = 0
    """Of random draws in the encoding."""
    complete: bool = False
    """True once every row that was asked for is there."""
    expected_rows: int | None = None
    """How many rows there will be once it is complete; None while nobody has said."""
    parts: tuple[Part, ...] = ()
    """In the order they were written."""
    format: int = FORMAT
    """Version of this layout."""

    @property
    def rows(self) -> int:
        """Examples in all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def positions(self) -> int:
        """Distributions in all parts."""
        return sum(part.positions for part in self.parts)

    @property
    def bytes(self) -> int:
        """Size of all parts on disk."""
        return sum(part.bytes for part in self.parts)

    @property
    def identity(self) -> dict[str, Any]:
        """What every row of the store depends on, as JSON values; each part repeats it in its
        Parquet metadata.
        """
        values = {name: getattr(self, name) for name in IDENTITY}
        return json.loads(json.dumps(values | {"encoding": dict(self.encoding)}))

    def differences(self, identity: Mapping[str, Any]) -> list[str]:
        """What keeps rows of another identity out of this store, in words; empty if nothing
        does.
        """
        mine = self.identity
        return [
            f"{name} is {_short(mine[name])}, not {_short(identity.get(name))}"
            for name in IDENTITY
            if mine[name] != identity.get(name)
        ]


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a store.

    Raises:
        TargetsIncomplete: There is no manifest.
        TargetsError: It was written in another format version.
        TargetsCorrupt: It cannot be understood, or contradicts itself.
    """
    try:
        record = read_json(folder / FILE)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TargetsIncomplete(
            f"{folder} holds no {FILE}, so no soft targets were written there; expected a folder "
            "made by labelling. "
            "Make it: tutelage label recipe.yaml"
        ) from error
    except OSError as error:
        raise _unusable(folder, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _unusable(folder, f"is not readable as JSON ({error})") from error
    if isinstance(record, dict) and record.get("format") == ANSWERS_FORMAT:
        raise TargetsMismatch(
            f"{folder} holds answers to prompts as text, not soft targets: one a line in "
            "answers.jsonl, which any program for JSON reads"
        )
    if not isinstance(record, dict) or not _is(record.get("format"), int):
        raise _unusable(folder, "does not say which format the store has")
    if record["format"] != FORMAT:
        raise TargetsError(
            f"{folder} has store format {record['format']}; this version of tutelage reads format "
            f"{FORMAT}. Use the "
            "version that wrote it, or label again into another folder"
        )
    manifest = _from_record(folder, record)
    if manifest.complete and manifest.expected_rows not in (None, manifest.rows):
        raise _unusable(
            folder,
            f"says complete, yet its parts hold {manifest.rows:,} rows of "
            f"{manifest.expected_rows:,} expected",
        )
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest atomically."""
    record = asdict(replace(manifest, encoding=dict(manifest.encoding)))
    record = {"format": record.pop("format"), **record}
    content = json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    encoded = content.encode("utf-8")
    if len(encoded) > MOST_JSON_BYTES:  # which no reader would take
        raise TargetsError(
            f"the manifest of {folder} would take {len(encoded):,} bytes, for "
            f"{len(manifest.labels):,} labels and {len(manifest.parts):,} parts; "
            f"expected at most {MOST_JSON_BYTES:,}. Give shorter labels, or larger parts"
        )
    atomic_write_bytes(folder / FILE, encoded)


def problem_of(manifest: Manifest) -> str:
    """What no store can say of itself, in words; empty if it can be. Kinds look at their own
    encoding and labels.
    """
    for name in ("kind", "teacher", "tokenizer"):
        if len(getattr(manifest, name)) > MOST_NAME_CHARACTERS:
            return f"has a {name} of {len(getattr(manifest, name)):,} characters"
    if not all(isinstance(label, str) for label in manifest.labels):
        return "has labels that are no text"
    if _is_deep(manifest.encoding):
        return f"has an encoding that is nested deeper than {MOST_DEPTH}"
    if len(json.dumps(dict(manifest.encoding))) > MOST_ENCODING_CHARACTERS:
        return f"has an encoding of more than {MOST_ENCODING_CHARACTERS:,} characters"
    if abs(manifest.seed) >= 2**SEED_BITS:
        return f"has the seed {manifest.seed}, which takes more than {SEED_BITS} bits"
    counts = [
        (f"{name} of {part.file}", getattr(part, name))
        for part in manifest.parts
        for name in ("rows", "positions", "bytes")
    ]
    counts += [
        ("vocabulary_size", manifest.vocabulary_size),
        ("expected_rows", manifest.expected_rows or 0),
        ("rows of all parts", manifest.rows),
        ("positions of all parts", manifest.positions),
        ("bytes of all parts", manifest.bytes),
    ]
    for name, count in counts:
        if not 0 <= count <= MOST_COUNT:
            return f"has {count:,} as {name}; expected a whole number from 0 to 2^63 - 1"
    files = Counter(part.file for part in manifest.parts)
    ((file, times),) = files.most_common(1) or [("", 0)]
    return f"names the part {file} {times:,} times" if times > 1 else ""


def _from_record(folder: Path, record: dict[str, Any]) -> Manifest:
    """The manifest of a JSON object; every field must be there and of its type, unknown ones are
    passed over.
    """
    kinds: dict[str, Any] = {
        "kind": str, "teacher": str, "labels": list, "tokenizer": str, "vocabulary_size": int,
        "encoding": dict,
        "seed": int, "complete": bool, "expected_rows": int | None, "parts": list, "format": int,
    }  # fmt: skip
    values = {name: _typed(folder, record, name, kind) for name, kind in kinds.items()}
    values["labels"] = tuple(values["labels"])
    values["parts"] = tuple(_part(folder, part) for part in values["parts"])
    manifest = Manifest(**values)
    if problem := problem_of(manifest):
        raise _unusable(folder, problem)
    return manifest


def _part(folder: Path, record: Any) -> Part:
    if not isinstance(record, dict):
        raise _unusable(folder, "lists a part that is no object")
    kinds = {"file": str, "rows": int, "positions": int, "bytes": int, "sha256": str}
    part = Part(**{name: _typed(folder, record, name, kind) for name, kind in kinds.items()})
    if PART_NAME.fullmatch(part.file) is None:  # also keeps a path from leading out of the folder
        raise _unusable(
            folder,
            f"names the part {part.file[:_SHOWN_CHARACTERS]!r}; expected a name such as "
            "part-00000.parquet",
        )
    if _SHA256.fullmatch(part.sha256) is None:
        raise _unusable(
            folder,
            f"has {_short(part.sha256)} as sha256 of {part.file}; expected 64 hexadecimal digits",
        )
    return part


def _typed(folder: Path, record: dict[str, Any], name: str, kind: Any) -> Any:
    if name not in record:
        raise _unusable(folder, f"lacks the field {name}")
    if not _is(record[name], kind):
        raise _unusable(
            folder,
            f"has {name}: {_short(record[name])}; expected {getattr(kind, '__name__', kind)}",
        )
    return record[name]


def _is_deep(value: Any) -> bool:
    """Whether lists and objects lie in each other deeper than `MOST_DEPTH`."""
    layer = [value]
    for _ in range(MOST_DEPTH):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, Mapping | list | tuple)
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
    return any(isinstance(left, Mapping | list | tuple) for left in layer)


def _is(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of this kind; true and false are no numbers."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _unusable(folder: Path, reason: str) -> TargetsCorrupt:
    return TargetsCorrupt(
        f"{folder / FILE} {reason}. Restore it from a copy, or remove {folder} and label again"
    )


def named(labels: Sequence[str]) -> str:
    """Labels for a message: all of a few, the first of many."""
    more = len(labels) - _SHOWN_LABELS
    return ", ".join(labels[:_SHOWN_LABELS]) + (f" and {more:,} more" if more > 0 else "")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


TEMPORARY = re.compile(r"\.(manifest\.json|output\.safetensors|part-[0-9]{5,9}\.parquet)\..*\.tmp")
"""Names of files that a kill left half written."""


def refuse_other_things(folder: Path) -> None:
    """A folder that is no store is left alone: not a file of it is touched."""
    if not folder.exists() or (folder / FILE).exists():
        return
    if not folder.is_dir():
        raise TargetsError(
            f"{folder} is a file; expected a folder for soft targets. Give another path"
        )
    other = sorted(
        found.name
        for found in folder.iterdir()
        if found.name not in (LOCK_FILE, OUTPUT_FILE, WORKERS_FOLDER)
        and not TEMPORARY.fullmatch(found.name)
    )
    if other and all(PART_NAME.fullmatch(name) for name in other):
        raise TargetsCorrupt(
            f"{folder} holds {len(other):,} parts but no {FILE}, without which they cannot be "
            "trusted. Restore it "
            "from a copy, or move the folder away and label again"
        )
    if other:
        raise TargetsError(
            f"{folder} holds other files "
            f"({', '.join(other[:3])}{', ...' if len(other) > 3 else ''}) and no {FILE}, "
            "so it is no store of soft targets and is left as it is. Give a new or empty folder"
        )
