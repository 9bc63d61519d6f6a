"""Everything that the page of a language-model run places, in the order of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from tutelage.report import (
    charts,
    formats,
    language_examples,
    language_origins,
    origins,
    pictures,
    tables,
)
from tutelage.report.document_scores import DocumentScores
from tutelage.report.language_measures import BY_KEY, COST, NATS_AXIS, QUALITY, TERMS
from tutelage.report.language_verdict import reach_language_verdict
from tutelage.report.reading import Records
from tutelage.report.wording import Wording

DOCUMENT_CAP = 40
"""Documents far from the teacher that the page holds at most."""
CURVE_POINTS = 300
"""Points of a training curve that are drawn at most; where there are more, neighbours are
averaged."""
_COST_AXES = (
    pictures.CostAxis(
        "latency_ms_p50",
        "Time per token",
        "milliseconds to write one token, median (log scale)",
        "ms per written token, median (log scale)",
    ),
    pictures.CostAxis(
        "parameters", "Parameters", "parameters (log scale)", "parameters (log scale)"
    ),
    pictures.CostAxis(
        "memory_bytes",
        "Memory",
        "megabytes of memory (log scale)",
        "MB of memory (log scale)",
        scale=1e-6,
    ),
    pictures.CostAxis(
        "disk_bytes",
        "Size on disk",
        "megabytes on disk (log scale)",
        "MB on disk (log scale)",
        scale=1e-6,
    ),
)
_PARTS = ("verdict", "language_asked", "numbers", "curves", "language_training", "language_answers")


def language_context(records: Records[DocumentScores]) -> dict[str, Any]:
    """What the templates of a language-model page are filled with.

    Args:
        records: What the run left behind.
    """
    evaluation = records.evaluation
    quality, cost = tables.shown_measures(evaluation, quality=QUALITY, cost=COST)
    return {
        "sheets": ["page.css", "language.css"],
        "nav": "language_nav.html",
        "parts": [
            f"{part}.html" for part in (*_PARTS, "language_documents", "comparisons", "provenance")
        ],
        "wording": _wording(evaluation),
        "name": records.name,
        "students": records.students,
        "controls": list(evaluation.get("controls", {})),
        "verdict": reach_language_verdict(records),
        "teacher": _teacher(records),
        "vocabulary": (evaluation.get("targets") or {}).get("vocabulary_size"),
        "objective": language_origins.objective(records),
        "student_descriptions": origins.student_descriptions(records),
        "quality": quality,
        "cost": cost,
        "lines": tables.score_lines(
            evaluation, quality=QUALITY, cost=COST, control_title="on the text alone"
        ),
        "plots": pictures.plots(
            evaluation,
            BY_KEY["nats_per_token"],
            _COST_AXES,
            title="nats per token, 95 % intervals (lower is better)",
            levels={},
            axis=NATS_AXIS,
        ),
        "calibrations": pictures.calibrations(evaluation, BY_KEY["ece"], unit="tokens"),
        "learning": _learning(records),
        "training": language_origins.training_lines(records),
        "target_facts": language_origins.target_facts(records),
        "places": language_examples.places(evaluation),
        "samples": language_examples.samples(evaluation),
        "sampling": evaluation.get("sampling") or {},
        "documents": language_examples.farthest_documents(records.predictions, cap=DOCUMENT_CAP),
        "document_count": len(records.predictions.texts),
        "document_word": "test piece" if records.predictions.in_pieces else "test document",
        "comparisons": [
            (slot, name, tables.opponents(evaluation, name, quality=QUALITY))
            for slot, name in enumerate(records.students)
        ],
        "metrics_of": partial(tables.metrics_of, quality=QUALITY),
        "measures": [*quality, *cost],
        "terms": TERMS,
        "data_files": language_origins.documents(records.provenance),
        "data_columns": ["Rows", "Documents", "Tokens", "Predicted tokens"],
        **origins.provenance_section(records),
    }


def _wording(evaluation: Mapping[str, Any]) -> Wording:
    """The words of a language model."""
    documents = formats.plural(evaluation["documents"], "test document")
    return Wording(
        unit="document",
        tested=f"{documents} with {formats.plural(evaluation['tokens'], 'predicted token')}",
        judged_on=documents,
        best=f"of {len(evaluation['students'])} students, the one closest to the teacher",
        note=" Nats per token say how surprised a model is by real text; fewer is better.",
        alone="the text alone",
        price=f"Cost of reading and writing{_timed(evaluation)}",
        better="Down",
        plot=(
            "Documents differ in difficulty for every model alike, so these intervals of single "
            "models overlap even "
            "where the paired difference further down is settled."
        ),
        predicted="predicted tokens",
        answers="first choices",
        learning=(
            "Loss is what training minimised: grey on train, colour on validation; the ring marks "
            "the step whose "
            "weights were kept. With the teacher it is the divergence from it, mixed with the "
            "surprise at the text, so "
            "it cannot be compared with the loss on the text alone. Nats per token of the text can "
            "be compared: thin "
            "lines are train (grey: the control), thick ones validation."
        ),
    )


def _timed(evaluation: Mapping[str, Any]) -> str:
    """How speed was measured, for the title of the table."""
    speed = evaluation.get("speed") or {}
    if not speed:
        return ""
    lengths = " and ".join(str(length) for length in dict.fromkeys(speed["prompt_tokens"]))
    kinds = " and ".join(sorted(set((speed.get("number_formats") or {}).values())))
    words = [f"prompts of {lengths} tokens", f"{speed['new_tokens']} written after each", kinds]
    return f" ({', '.join(filter(None, words))})"


def _teacher(records: Records[DocumentScores]) -> str:
    """The teacher in a few words."""
    parameters = records.evaluation["teacher"].get("parameters")
    size = f"{formats.magnitude(parameters['value'])} parameters" if parameters else ""
    return ", ".join(
        filter(
            None,
            [origins.teacher_description(records).replace("causal_lm", "language model"), size],
        )
    )


def _learning(records: Records[DocumentScores]) -> list[dict[str, Any]]:
    """Loss charts of each student that was trained in this run."""
    learning = []
    for slot, name in enumerate(records.students):
        soft, hard = (
            _thinned(curves.get(name, []))
            for curves in (records.student_curves, records.control_curves)
        )
        drawings: list[tuple[str, Markup]] = []
        for rows, title, key, control in (
            (soft, "Loss with the teacher, nats", f"loss-soft-{slot}", False),
            (hard, "Loss on the text alone, nats", f"loss-hard-{slot}", True),
        ):
            if rows:
                whose = f"{name} on the text alone" if control else name
                drawing = charts.losses(
                    rows, slot=slot, control=control, key=key, name=whose, from_zero=False
                )
                drawings.append((title, drawing))
        if any("train_nats" in row for row in [*soft, *hard]):
            drawing = charts.text_losses(soft, hard, slot=slot, key=f"learning-{slot}", name=name)
            drawings.append(("Nats per token", drawing))
        if drawings:
            learning.append({"name": name, "slot": slot, "pictures": drawings})
    return learning


def _thinned(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The training log with neighbouring steps averaged where there are many; validations stay as
    they are.
    """
    train = [row for row in rows if "train_loss" in row]
    width = -(-len(train) // CURVE_POINTS) or 1
    found: list[dict[str, Any]] = [dict(row) for row in rows if "train_loss" not in row]
    for start in range(0, len(train), width):
        group = train[start : start + width]
        mean = {
            key: sum(row[key] for row in group) / len(group)
            for key in ("train_loss", "train_nats")
            if key in group[0]
        }
        found.append({"step": group[-1]["step"], **mean})
    return sorted(found, key=lambda row: row["step"])
