"""What a language-model run was made of: documents, objective, soft targets, training. Facts in,
words out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.report import formats
from tutelage.report.reading import Records

_KINDS = {
    "sampled": (
        "sampled: likely tokens keep their exact probability, the others are represented by a fair "
        "sample, so that on average every probability is right"
    ),
    "top_k": "top-k: the most likely tokens keep their exact probability, all others are one lump",
    "hidden": (
        "hidden: the teacher’s last layer in 8 bits and its output matrix once, which give every "
        "probability"
    ),
    "live": "live: nothing was stored, the teacher ran beside the student at every step",
}
_BYTES_OF_A_PROBABILITY = 2


@dataclass(frozen=True)
class Documents:
    """One part of the data."""

    part: str
    """train, validation or test."""
    file: str
    """Its file name."""
    numbers: list[int]
    """Rows, documents, tokens, predicted tokens."""


@dataclass(frozen=True)
class Training:
    """What one network cost to make."""

    name: str
    """Its name for people."""
    role: str
    """student or control."""
    slot: int
    """Position of the student."""
    cells: list[tuple[str, str, str]]
    """Title, value and what stands beside it."""


def documents(provenance: Mapping[str, Any]) -> list[Documents]:
    """The parts of the data in the order of their use."""
    return [
        Documents(
            str(part),
            Path(str(facts.get("file") or "")).name,
            [int(facts.get(key) or 0) for key in ("rows", "documents", "tokens", "trained_tokens")],
        )
        for part, facts in (provenance.get("data") or {}).items()
        if isinstance(facts, Mapping)
    ]


def objective(records: Records[Any]) -> str:
    """What training minimised, in a sentence; empty where the recipe does not say."""
    if ((records.evaluation.get("targets") or {}).get("kind")) == "text":
        return "surprise at what the teacher wrote, token by token (cross-entropy)"
    asked = records.recipe.get("objective") or {}
    if not asked.get("divergence"):
        return ""
    weight = float(asked.get("soft_weight", 1.0))
    named = str(asked["divergence"]).replace("_", " ").replace("kl", "KL")
    words = f"{weight:g} × {named} divergence from the teacher"
    if asked.get("loss_temperature", 1.0) != 1.0:
        words += f" at temperature {asked['loss_temperature']:g}"
    if weight < 1:
        words += f" + {1 - weight:g} × surprise at the text itself"
    if (final := asked.get("soft_weight_final")) is not None:
        words += f"; the teacher’s weight ends at {final:g}"
    return words


def target_facts(records: Records[Any]) -> list[tuple[str, str]]:
    """What the soft targets are, as name and value; empty where the evaluation does not say."""
    facts = records.evaluation.get("targets") or {}
    if not facts:
        return []
    kind = str(facts.get("kind"))
    if kind == "text":  # which has a section of its own
        return []
    shown = [("Kind", _KINDS.get(kind, kind))]
    if encoding := facts.get("encoding"):
        shown.append(
            (
                "Setting",
                ", ".join(
                    f"{name} {value}" for name, value in encoding.items() if value is not None
                ),
            )
        )
    if facts.get("positions"):
        scored = (
            f"{formats.count(facts['positions'])} in {formats.plural(facts['rows'], 'document')}"
        )
        shown.append(("Tokens scored", scored))
    if facts.get("bytes_per_position"):
        shown.append(("Size", _store_size(facts)))
    if facts.get("mean_head") is not None:
        kept = f"{facts['mean_head']:.1f} exact probabilities"
        kept += f" and {facts.get('mean_tail', 0.0):.1f} drawn ones" if kind == "sampled" else ""
        shown.append(("Kept per token", f"{kept}, on average"))
    if facts.get("kept_mass") is not None and kind != "live":
        shown.append(
            (
                "Probability kept exactly",
                f"{formats.percent(facts['kept_mass'])} of the whole, on average",
            )
        )
    if facts.get("mean_entropy_nats") is not None:
        entropy = f"{formats.decimal(facts['mean_entropy_nats'])} nats per token"
        shown.append(("Mean entropy", f"{entropy}: how undecided the teacher is, on average"))
    seconds = facts.get("seconds")
    if seconds:
        pace = (
            f", {formats.rate(facts['positions'] / seconds)} tokens/s"
            if facts.get("positions")
            else ""
        )
        shown.append(
            (
                "Time",
                f"{formats.duration(seconds)}{pace}; paid once, shared by all students and epochs",
            )
        )
    return shown


def replies(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What asking took, as name and value, of a teacher behind a server, and who judged its
    answers; of one that wrote here only that.
    """
    told = provenance.get("answers") or {}
    judge = told.get("judge") or {}
    shown = _asking(told, provenance.get("teacher") or {}) if told.get("requests") else []
    if judge:
        said = f"{judge['description']}; kept are answers that it accepts with a probability of "
        shown.append(("Judge", f"{said}at least {judge['threshold']:g}"))
        shown.append(("Judged", formats.plural(judge["judged"], "answer")))
    if judge.get("requests"):
        cost = judge.get("cost")
        money = "" if cost is None else f", {cost:,.2f} $"
        shown.append(
            ("Asked of the judge", f"{formats.plural(judge['requests'], 'request')}{money}")
        )
    return [(name, value) for name, value in shown if value]


def _asking(told: Mapping[str, Any], teacher: Mapping[str, Any]) -> list[tuple[str, str]]:
    tokens = ", ".join(
        f"{formats.count(told[f'{key}_tokens'])} {word}"
        for key, word in (("input", "read"), ("cached", "of them cached"), ("output", "written"))
        if told.get(f"{key}_tokens")
    )
    cost = told.get("cost")
    return [
        ("Asked", ", ".join(filter(None, [teacher.get("base_url"), teacher.get("protocol")]))),
        ("Answered as", ", ".join(told.get("models") or {})),
        ("Terms", str(teacher.get("terms") or "")),
        ("Requests", formats.count(told["requests"])),
        ("Tokens", tokens),
        ("Cost", "" if cost is None else f"{cost:,.2f} $"),
    ]


def training_lines(records: Records[Any]) -> list[Training]:
    """What every network of the run cost to make, each student above its control."""
    training = records.evaluation.get("training") or {}
    lines = []
    for slot, name in enumerate(records.students):
        for group, role, title in (
            ("students", "student", name),
            ("controls", "control", "on the text alone"),
        ):
            facts = (training.get(group) or {}).get(name)
            if facts:
                lines.append(Training(title, role, slot, _training_cells(facts)))
    return lines


def _training_cells(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    seconds, tokens = float(facts.get("seconds") or 0.0), int(facts.get("tokens") or 0)
    loss = facts.get("best_validation_loss")
    return [
        ("Time", formats.duration(seconds) if seconds else "–", ""),
        ("Tokens read", formats.count(tokens) if tokens else "–", ""),
        ("Tokens per second", formats.rate(tokens / seconds) if tokens and seconds else "–", ""),
        ("Steps", formats.count(facts["steps"]) if facts.get("steps") else "–", ""),
        (
            "Kept from step",
            formats.count(facts["best_step"]) if facts.get("best_step") else "–",
            "",
        ),
        ("Validation loss, nats", formats.decimal(loss) if loss is not None else "–", ""),
    ]


def _store_size(facts: Mapping[str, Any]) -> str:
    """Bytes in all and per token, and beside what all probabilities would take."""
    words = (
        f"{formats.size_bytes(facts['bytes'])}, {facts['bytes_per_position']:.1f} bytes per token"
    )
    if facts.get("vocabulary_size"):
        times = facts["vocabulary_size"] * _BYTES_OF_A_PROBABILITY / facts["bytes_per_position"]
        words += (
            f"; all {formats.count(facts['vocabulary_size'])} probabilities in 16 bits would take "
            f"{formats.times(times)} times as much"
        )
    if facts.get("output_bytes"):
        words += f"; and {formats.size_bytes(facts['output_bytes'])} once for the output matrix"
    return words
