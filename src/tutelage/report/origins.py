"""Where the numbers come from: software, machine, seeds, time; and who teacher and students are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.report import formats
from tutelage.report.reading import Records


@dataclass(frozen=True)
class Stage:
    """One step of the run."""

    name: str
    """Its name."""
    seconds: str
    """How long it took."""
    share: float
    """Of the time of all steps."""


def stages(provenance: Mapping[str, Any]) -> tuple[list[Stage], str]:
    """The steps of the run with their time, and the time of all."""
    seconds = {str(name): float(value) for name, value in (provenance.get("seconds") or {}).items()}
    total = sum(seconds.values())
    return [
        Stage(name, formats.duration(value), value / total if total else 0.0)
        for name, value in seconds.items()
    ], formats.duration(total)


def provenance_section(records: Records[Any]) -> dict[str, Any]:
    """What the last section of a page is filled with, but for its table of data files."""
    provenance = records.provenance
    stage_times, total_time = stages(provenance)
    return {
        "warnings": [str(warning) for warning in provenance.get("warnings") or []],
        "stages": stage_times,
        "total_time": total_time,
        "facts": facts(records),
        "packages": packages(provenance),
        "fingerprints": fingerprints(provenance),
        "recipe_text": records.recipe_text,
    }


def facts(records: Records[Any]) -> list[tuple[str, str]]:
    """Name and value of what a reader needs to repeat the run."""
    provenance = records.provenance
    machine = provenance.get("machine") or {}
    git = provenance.get("git") or {}
    bootstrap = records.evaluation.get("bootstrap") or {}
    memory = formats.size_bytes(machine["memory_bytes"]) if machine.get("memory_bytes") else ""
    known = [
        ("tutelage", provenance.get("tutelage")),
        ("Created", provenance.get("created")),
        ("Python", provenance.get("python")),
        (
            "Machine",
            ", ".join(
                filter(
                    None,
                    [
                        machine.get("cpu"),
                        formats.plural(machine["cores"], "core") if machine.get("cores") else "",
                        memory,
                    ],
                )
            ),
        ),
        (
            "Git",
            f"{git.get('commit', '')}{' with uncommitted changes' if git.get('dirty') else ''}"
            if git
            else "",
        ),
        ("Seed", provenance.get("seed")),
        (
            "Bootstrap",
            f"{bootstrap['samples']:,} resamples, seed {bootstrap['seed']}" if bootstrap else "",
        ),
    ]
    return [(name, str(value)) for name, value in known if value not in (None, "")]


def packages(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Installed packages that took part, with their versions."""
    return [
        (str(name), str(version)) for name, version in (provenance.get("packages") or {}).items()
    ]


def fingerprints(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Fingerprints of what the stages were made of; nested ones carry both names."""
    flat: list[tuple[str, str]] = []
    for name, value in (provenance.get("fingerprints") or {}).items():
        if isinstance(value, Mapping):
            flat += [(f"{name}/{inner}", str(mark)) for inner, mark in value.items()]
        else:
            flat.append((str(name), str(value)))
    return flat


_KINDS = {
    "rnn": "recurrent network",
    "pruned": "pruned from the teacher",
    "pretrained": "pretrained model",
}
_EMBEDDINGS = {
    "teacher": "embeddings from the teacher",
    "teacher_contextual": "embeddings from what the teacher makes of each word",
}


def teacher_description(records: Records[Any]) -> str:
    """The teacher in a few words: from provenance, or from the recipe where that says nothing."""
    teacher = records.provenance.get("teacher") or {}
    asked = records.recipe.get("teacher") or {}
    words = [str(teacher.get(key) or asked.get(key) or "") for key in ("kind", "model")]
    description = str(teacher.get("description") or "")
    return ", ".join(
        filter(
            None,
            [
                description or words[0],
                Path(words[1]).name if words[1] and words[1] not in description else "",
            ],
        )
    )


def student_descriptions(records: Records[Any]) -> list[tuple[str, str]]:
    """Each student and its settings, as the recipe gives them."""
    asked = records.recipe.get("students") or {}
    described = []
    for name in records.students:
        settings = asked.get(name) if isinstance(asked, Mapping) else None
        described.append((name, _settings(settings) if isinstance(settings, Mapping) else ""))
    return described


def _settings(settings: Mapping[str, Any]) -> str:
    """Settings on one line, kind first; sections of their own are left to the recipe below."""
    kind = str(settings.get("kind", ""))
    parts = [
        _setting(key, value)
        for key, value in settings.items()
        if key != "kind" and not isinstance(value, Mapping) and value is not None
    ]
    return ", ".join(filter(None, [_KINDS.get(kind, kind), *parts]))


def _setting(key: str, value: Any) -> str:
    """A key of a student and its value, in words.

    Example:
        >>> [_setting(*pair) for pair in (("cell", "gru"), ("bidirectional", False),
        ("embeddings_layer", 16))] ['GRU', 'not bidirectional', 'embeddings layer 16']
    """
    name = key.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if key == "cell":
        return str(value).upper()
    if key == "embeddings":
        return _EMBEDDINGS.get(str(value), f"{name} {value}")
    if key == "model":
        return f"{name} {Path(str(value)).name}"
    return f"{name} {str(value).replace('_', ' ')}"
