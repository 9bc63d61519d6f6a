"""The quality half of evaluation.json for language models: every model reads the same held-out
documents.

In: a teacher, students, documents. Out: nats per token, bits per byte, distance from the teacher,
agreement, acceptance and calibration, each with an interval over *documents*: tokens of one
document are not independent of each other, so resampling tokens would claim more than was measured.
Pieces of a split row are one document here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import numpy as np

from tutelage import metrics
from tutelage.evaluate.tokens.scores import TokenScores, Values
from tutelage.types import Document

FORMAT = 1
CALIBRATION_BINS = 15
COMPARED = ("nats_per_token", "bits_per_byte", "kl", "top1_agreement", "acceptance")
"""Metrics by which two models are told apart."""


def compare_language_models(
    documents: Sequence[Document],
    *,
    teacher: TokenScores | None,
    students: Mapping[str, TokenScores],
    controls: Mapping[str, TokenScores] | None = None,
    bootstrap_samples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge every model on the test documents, and every student against its teacher, its control
    and the others.

    Args:
        documents: As they were scored; those with the same `source` and `row` are pieces of one.
            Row 0 is no row.
        teacher: Its scores; None: it has none, for it only writes.
        students: Scores by student.
        controls: Scores of the same networks trained on the text alone, by student.
        bootstrap_samples: Resamples of the documents behind each interval.
        seed: Of the resampling; the same documents are drawn for every model.

    Returns:
        The dict of evaluation.json without the cost metrics. Each comparison is student minus the
        other side.
    """
    judge = _Judge(documents, samples=bootstrap_samples, seed=seed)
    groups = {"students": dict(students), "controls": dict(controls or {})}
    comparisons = []
    for name, scores in groups["students"].items():
        opponents: list[tuple[str, dict[str, str], TokenScores]] = []
        if teacher is not None:
            opponents.append(("teacher", {}, teacher))
        if name in groups["controls"]:
            opponents.append(("control", {}, groups["controls"][name]))
        opponents += [
            ("student", {"other": other}, groups["students"][other])
            for other in students
            if other != name
        ]
        for against, more, other_scores in opponents:
            for metric in COMPARED:
                difference = judge.difference(metric, scores, other_scores)
                if difference is not None:
                    row = {
                        "student": name,
                        "against": against,
                        **more,
                        "metric": metric,
                        "difference": difference,
                    }
                    comparisons.append(row)
    return {
        "format": FORMAT,
        "task": "causal_lm",
        "documents": judge.documents,
        "pieces": len(documents),
        "tokens": int(judge.positions.sum()),
        "bytes": int(judge.bytes.sum()),
        "teacher": {} if teacher is None else judge.all_of(teacher),
        **{
            group: {name: judge.all_of(scores) for name, scores in models.items()}
            for group, models in groups.items()
        },
        "comparisons": comparisons,
        "calibration": {
            "teacher": [] if teacher is None else judge.reliability(teacher),
            **{
                group: {name: judge.reliability(scores) for name, scores in models.items()}
                for group, models in groups.items()
            },
        },
        "bootstrap": {
            "samples": bootstrap_samples,
            "seed": seed,
            "level": metrics.LEVEL,
            "unit": judge.unit,
        },
    }


class _Judge:
    """The test documents, ready to turn token scores into numbers with intervals."""

    def __init__(self, documents: Sequence[Document], *, samples: int, seed: int) -> None:
        self.samples, self.seed = samples, seed
        unit_of = metrics.units_of([(document.source, document.row) for document in documents])
        positions = np.array([document.positions for document in documents], np.int64)
        self.documents = int(unit_of.max(initial=-1)) + 1
        self.unit = "document"
        if (
            self.documents < 2 <= len(documents)
        ):  # pieces of one document are the best that there is to resample
            self.unit, unit_of = "piece", np.arange(len(documents))
        self._document_of = np.repeat(unit_of, positions)
        num_bytes = [document.num_bytes for document in documents]
        self.positions: Values = np.bincount(unit_of, weights=positions).astype(np.float64)
        self.bytes: Values = np.bincount(unit_of, weights=num_bytes).astype(np.float64)

    def all_of(self, scores: TokenScores) -> dict[str, dict[str, float]]:
        """Every metric of a model that it has."""
        found: dict[str, dict[str, float]] = {}
        for metric in (*COMPARED, "accuracy", "kept_mass"):
            sums = self._sums(metric, scores)
            if sums is not None:
                found[metric] = metrics.ratio_interval(
                    *sums, samples=self.samples, seed=self.seed
                ).as_dict()
        found["ece"] = self._ece(scores)
        return found

    def difference(
        self, metric: str, ours: TokenScores, theirs: TokenScores
    ) -> dict[str, float] | None:
        """Ours minus theirs on the same documents; None where one side has no such metric, or
        another one.

        Of a single text nobody knows how far another would lie, so there is no difference either.
        """
        if len(self.positions) < 2:
            return None
        if metric == "kl" and (ours.kept_mass is None) != (theirs.kept_mass is None):
            # Distances from two distributions: the teacher's, and its part over tokens that stay.
            return None
        our_sums, their_sums = self._sums(metric, ours), self._sums(metric, theirs)
        if our_sums is None or their_sums is None:
            return None
        interval = metrics.ratio_interval(
            our_sums[0] - their_sums[0], our_sums[1], samples=self.samples, seed=self.seed
        )
        return interval.as_dict()

    def reliability(self, scores: TokenScores) -> list[dict[str, Any]]:
        """The points of the calibration curve of the next token."""
        return metrics.reliability_of(scores.confidence, scores.correct, bins=CALIBRATION_BINS)

    def _sums(self, metric: str, scores: TokenScores) -> tuple[Values, Values] | None:
        """Numerator and denominator of each document; the metric is the ratio of their totals."""
        match metric:
            case "nats_per_token":
                return self._by_document(scores.nats), self.positions
            case "bits_per_byte":
                return (
                    (self._by_document(scores.nats) / log(2), self.bytes)
                    if self.bytes.sum()
                    else None
                )
            case "kl":
                values = scores.kl
            case "top1_agreement":
                values = scores.agreement
            case "acceptance":
                values = scores.acceptance
            case "accuracy":
                values = scores.correct
            case "kept_mass":
                values = scores.kept_mass
            case _:
                raise AssertionError(metric)
        return None if values is None else (self._by_document(values), self.positions)

    def _by_document(self, values: Values) -> Values:
        return np.bincount(self._document_of, weights=values, minlength=len(self.positions)).astype(
            np.float64
        )

    def _ece(self, scores: TokenScores) -> dict[str, float]:
        """Expected calibration error of the next token; its interval is centred, for resampling
        inflates it.
        """
        bins = metrics.equal_mass_bins(scores.confidence, bins=CALIBRATION_BINS)
        cells = self._document_of * CALIBRATION_BINS + bins
        size = len(self.positions) * CALIBRATION_BINS
        gaps = np.bincount(cells, weights=scores.confidence - scores.correct, minlength=size)
        gaps_DB = gaps.reshape(-1, CALIBRATION_BINS)
        generator = np.random.default_rng(self.seed)
        num_documents = len(self.positions)
        drawn = np.empty(self.samples)
        for sample in range(self.samples):
            rows = generator.integers(0, num_documents, num_documents)
            drawn[sample] = np.abs(gaps_DB[rows].sum(axis=0)).sum() / max(
                1.0, self.positions[rows].sum()
            )
        value = float(np.abs(gaps_DB.sum(axis=0)).sum() / max(1.0, self.positions.sum()))
        low, high = np.quantile(drawn, [0.025, 0.975])
        shift = value - (low + high) / 2
        return {"value": value, "low": max(0.0, float(low + shift)), "high": float(high + shift)}
