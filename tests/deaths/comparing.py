"""Whether two folders hold the same: byte for byte, but for what tells times.

What may differ is found, not listed: the leaves of JSON files in which two unbroken runs differ
(times, memory, when something was made, and the checksums of files that hold such), and
besides them only numbers of seconds. TensorBoard's events have times in every record and are not
compared; nor is report.html, a page of evaluation.json.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from tutelage.targets import jsonl_lines

Contents = Mapping[str, Any]
"""By path: the digest of a file, or the leaves of a JSON file."""
_TIMES = re.compile(
    r"seconds|per_second|\bsum$|/created|tensorboard/|^/files/(provenance|evaluation)\.json/|^/files/report|\.whl/|"
    r"^/files/.*(MODEL_CARD\.md|student\.json)/"
)
_MOMENT = re.compile(rb"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d")
_UNCOMPARED = re.compile(
    r"tensorboard/|/targets/(manifest|part-)|\.stages/targets\.json|report\.html$|/\.lock$|RECORD$"
)


def contents(folder: Path) -> Contents:
    """What a folder holds."""
    rows = {
        place.parent.relative_to(folder).as_posix(): _rows(place.parent)
        for place in sorted(folder.glob("*/targets/manifest.json"))
    }
    return rows | {
        path.relative_to(folder).as_posix(): found
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _UNCOMPARED.search(path.as_posix())
        for found in [_content(path.name, path.read_bytes())]
    }


def _rows(store: Path) -> str:
    """Of soft targets their rows: which of them lie in one part is up to when labelling was
    interrupted.
    """
    return sha256("\n".join(sorted(jsonl_lines(store))).encode()).hexdigest()


def varying(one: Contents, other: Contents) -> set[tuple[str, str]]:
    """Files and places in them in which two folders differ."""
    found = set()
    for name in {*one, *other}:
        here, there = one.get(name), other.get(name)
        if here == there:
            continue
        if isinstance(here, dict) and isinstance(there, dict):
            keys = {*here, *there}
            found |= {(name, key) for key in keys if here.get(key) != there.get(key)}
        else:
            found.add((name, "" if here and there else "is only in one"))
    return found


def differences(whole: Contents, other: Contents, may_vary: set[tuple[str, str]]) -> list[str]:
    """In what a folder differs from an unbroken run, in words."""
    found = varying(whole, other) - may_vary
    return sorted(f"{name} {key}" for name, key in found if not _TIMES.search(key))


def _content(name: str, content: bytes) -> Any:
    if name.endswith(".json"):
        try:
            return dict(_leaves(json.loads(content), ""))
        except ValueError:
            return "no JSON"
    if name.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {
                f"{member}{key}": value
                for member in archive.namelist()
                if not member.endswith("RECORD")
                for found in [_content(member, archive.read(member))]
                for key, value in (found.items() if isinstance(found, dict) else [("", found)])
            }
    if name.endswith((".md", "METADATA")):  # a card says when the export was made
        content = _MOMENT.sub(b"", content)
    return sha256(content).hexdigest()


def _leaves(value: Any, place: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [one for key, item in value.items() for one in _leaves(item, f"{place}/{key}")]
    if isinstance(value, list):
        return [one for i, item in enumerate(value) for one in _leaves(item, f"{place}/{i}")]
    return [(place, value)]
