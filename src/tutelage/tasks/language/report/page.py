"""What a language-model run says: its part of the page, and its line beneath the table of the
terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tutelage.report import formats
from tutelage.report.curves import Learning, close_limits, loss_charts
from tutelage.report.measures import Evaluation, Measures
from tutelage.report.origins import teacher_description
from tutelage.report.plots import CostAxis, QualityAxis
from tutelage.report.reading import Records
from tutelage.report.scores import RowScores
from tutelage.report.svg import MUTED, PAPER, SERIES, frame, inline_svg
from tutelage.report.verdict import Verdict
from tutelage.report.words import Layout, Names, Phrases
from tutelage.tasks.language.report import examples, making
from tutelage.tasks.language.report.examples import (
    DocumentScores,
    read_document_scores,
    row_scores,
)
from tutelage.tasks.language.report.measures import COST_AXES, MEASURES, NAMES, NATS, TERMS
from tutelage.tasks.language.report.verdict import reach_verdict
from tutelage.tasks.language.report.written import written_of, written_sentence

DOCUMENT_CAP = 40
"""Documents far from the teacher that the page holds at most."""
LAYOUT = Layout(
    templates=Path(__file__).parent / "templates",
    sheets=("language.css",),
    parts=(
        "verdict.html",
        "asked.html",
        "written.html",
        "numbers.html",
        "curves.html",
        "training.html",
        "answers.html",
        "documents.html",
        "comparisons.html",
        "provenance.html",
    ),
)


@dataclass(frozen=True)
class LanguageWords:
    """What a language-model run says; see `tutelage.report.TaskWords`."""

    task: str = "causal_lm"
    needed: Sequence[str] = ("documents", "tokens")
    measures: Measures = MEASURES
    names: Names = NAMES
    terms: Sequence[tuple[str, str]] = TERMS
    cost_axes: Sequence[CostAxis] = COST_AXES
    layout: Layout = LAYOUT

    def read_tested(self, path: Path, evaluation: Evaluation) -> DocumentScores:
        """The test documents and what every model made of them."""
        return read_document_scores(path, evaluation)

    def row_scores(self, path: Path, evaluation: Evaluation) -> RowScores:
        """Nats of every document, over its tokens and over its bytes."""
        return row_scores(path, evaluation)

    def quality_axis(self, evaluation: Evaluation) -> QualityAxis:  # noqa: ARG002
        """Nats per token."""
        title = "nats per token, 95 % intervals (lower is better)"
        return QualityAxis(self.measures["nats_per_token"], title, style=NATS)

    def phrases(self, evaluation: Evaluation) -> Phrases:
        """Words for the templates of the report."""
        documents = formats.plural(evaluation["documents"], "test document")
        return Phrases(
            unit="document",
            tested=f"{documents} with {formats.plural(evaluation['tokens'], 'predicted token')}",
            judged_on=documents,
            best=f"of {len(evaluation['students'])} students, the one closest to the teacher",
            note=" Nats per token say how surprised a model is by real text; fewer is better.",
            alone="the text alone",
            price=f"Cost of reading and writing{_timed(evaluation)}",
            plot=(
                "Documents differ in difficulty for every model alike, so these intervals of "
                "single models overlap even where the paired difference further down is settled."
            ),
            predicted="predicted tokens",
            counted="tokens",
            answers="first choices",
            learning=_TEXT_LEARNING
            if (evaluation.get("targets") or {}).get("kind") == "text"
            else (
                "Loss is what training minimised: grey on train, colour on validation; the ring "
                "marks the step whose weights were kept. With the teacher it is the divergence "
                "from it, mixed with the surprise at the text, so it cannot be compared with the "
                "loss on the text alone. Nats per token of the text can be compared: thin lines "
                "are train (grey: the control), thick ones validation."
            ),
        )

    def verdict(self, records: Records[DocumentScores]) -> Verdict:
        """The top of the page."""
        return reach_verdict(records)

    def learning(self, records: Records[DocumentScores]) -> list[Learning]:
        """The charts of training."""
        return learning_charts(records)

    def context(self, records: Records[DocumentScores]) -> dict[str, Any]:
        """What the templates of this folder are filled with."""
        evaluation, scores = records.evaluation, records.predictions
        return {
            "teacher": _teacher(records),
            "vocabulary": (evaluation.get("targets") or {}).get("vocabulary_size"),
            "objective": making.objective(records),
            "written": written_of(evaluation),
            "compared": "nats_per_token" in evaluation["teacher"],
            "replies": making.replies(records.provenance),
            "training": making.training_lines(records),
            "target_facts": making.target_facts(records),
            "positions": examples.find_positions(evaluation),
            "samples": examples.find_samples(evaluation),
            "sampling": evaluation.get("sampling") or {},
            "documents": examples.farthest_documents(scores, cap=DOCUMENT_CAP),
            "document_count": len(scores.texts),
            "document_word": "test piece" if scores.in_pieces else "test document",
            "data_files": making.documents(records.provenance),
            "data_columns": ["Rows", "Documents", "Tokens", "Predicted tokens"],
        }

    def legend(self, evaluation: Evaluation) -> str:
        """What must be known to read the table of the terminal."""
        legend = (
            f"{evaluation['documents']:,} test documents, {evaluation['tokens']:,} tokens; "
            "tokens/s: writing, one text at a time; faster: times the teacher's."
        )
        if said := written_sentence(evaluation):
            legend += f" {said}"
        if "nats_per_token" not in evaluation["teacher"]:
            asked = (
                "only writes and tells no probabilities"
                if (evaluation.get("targets") or {}).get("kind") == "text"
                else "is behind an API and was not asked about test documents"
            )
            legend += (
                f" The teacher {asked}: agreement with it and distance from it are not measured."
            )
        for name, numbers in evaluation["students"].items():
            if "kept_mass" in numbers:
                share = 100 * numbers["kept_mass"]["value"]
                legend += (
                    f" KL of {name}: over the tokens it has, {share:.1f} % of the teacher's "
                    "probability."
                )
        return legend


_TEXT_LEARNING = (
    "Loss is what training minimised: grey on train, colour on validation; the ring marks the step "
    "whose weights were kept. A student learned what the teacher wrote, its control the responses "
    "of the data, so their losses are of different texts and cannot be compared."
)


def _timed(evaluation: Evaluation) -> str:
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
            [teacher_description(records).replace("causal_lm", "language model"), size],
        )
    )


WORDS = LanguageWords()


CURVE_POINTS = 300
"""Points of a training curve that are drawn at most; where there are more, neighbours are
averaged."""


def learning_charts(records: Records[Any]) -> list[Learning]:
    """The charts of each student that was trained in this run."""
    learning = []
    for slot, name in enumerate(records.students):
        soft, hard = (
            _thinned(curves.get(name, []))
            for curves in (records.student_curves, records.control_curves)
        )
        pictures = loss_charts(
            soft, hard, slot=slot, name=name, alone="the text alone", unit=", nats", from_zero=False
        )
        if any("train_nats" in row for row in [*soft, *hard]):
            chart = text_losses(soft, hard, slot=slot, key=f"learning-{slot}", name=name)
            pictures.append(("Nats per token", chart))
        if pictures:
            learning.append(Learning(name, slot, pictures))
    return learning


def text_losses(
    soft: Sequence[Mapping[str, Any]],
    hard: Sequence[Mapping[str, Any]],
    *,
    slot: int,
    key: str,
    name: str,
) -> Markup:
    """Nats per token of the text, with the teacher (solid) and on the text alone (dashed); thin
    lines are train.
    """
    colour = SERIES[slot % 6]
    figure, axes = frame(340, 210, left=44, right=12, top=12, bottom=42)
    shown: list[float] = []
    for records, style, face, thin in (
        (hard, (0, (4, 2)), PAPER, MUTED),
        (soft, "-", colour, colour),
    ):
        train, validation = (
            [(row["step"], row[measure]) for row in records if row.get(measure) is not None]
            for measure in ("train_nats", "validation_nats")
        )
        if train:
            axes.plot(*zip(*train, strict=True), color=thin, linewidth=0.8, alpha=0.55)
        if validation:
            axes.plot(
                *zip(*validation, strict=True),
                color=colour,
                linestyle=style,
                marker="o",
                markersize=4.5,
                markerfacecolor=face,
            )
        shown += [nats for _, nats in train + validation]
    close_limits(axes, shown)
    axes.set_xlabel("optimiser step", fontsize=10.5)
    return inline_svg(
        figure,
        key=key,
        description=(
            f"Nats per token of {name} by step, trained with the teacher and on the text alone."
        ),
    )


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
