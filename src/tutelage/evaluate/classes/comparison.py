"""The quality half of evaluation.json: probabilities for the test rows come in, metrics with 95 %
intervals go out.

Every model is judged on the same rows, and every difference is taken row by row on the same
resamples, because two overlapping intervals say little about a difference. Rows without a gold
label still count for agreement with the teacher and for KL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage import metrics
from tutelage.errors import ShapeMismatch

Probs = NDArray[np.float64]
Statistic = Callable[[NDArray[np.integer]], float]

ROW_METRICS: dict[str, Callable[[ArrayLike, ArrayLike], NDArray[np.float64]]] = {
    "accuracy": metrics.correct,
    "nll": metrics.nlls,
    "brier": metrics.briers,
}
"""Metrics against gold that are means over rows; `macro_f1` and `ece` are of the rows together."""

TEACHER_METRICS: dict[str, Callable[[ArrayLike, ArrayLike], NDArray[np.float64]]] = {
    "agreement": metrics.agreements,
    "kl": metrics.kls,
}
"""What a model is judged by against the teacher's probabilities; means over rows."""

GOLD_METRICS = ("accuracy", "macro_f1", "nll", "brier", "ece")
"""What a model is judged by against the gold labels."""

SHARE_METRICS = ("accuracy", "agreement")
"""Metrics of 0 or 1 a row."""

RATIO_METRICS = ("accuracy", "macro_f1")
"""Metrics of which the share kept of the teacher's value is reported too."""


def compare(
    gold: ArrayLike,
    labels: Sequence[str],
    *,
    teacher: NDArray[np.floating],
    students: Mapping[str, NDArray[np.floating]],
    controls: Mapping[str, NDArray[np.floating]] | None = None,
    baselines: Mapping[str, NDArray[np.floating]] | None = None,
    bootstrap_samples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge every model on the test rows and every student against its teacher, its control and the
    baselines.

    Args:
        gold: Label indexes [N]; negative, or None, where nobody labelled the row.
        labels: Names of the C labels.
        teacher: The teacher's probabilities [N, C].
        students: Probabilities [N, C] by student.
        controls: Probabilities [N, C] of the same networks trained without the teacher, by student.
        baselines: Probabilities [N, C] of simple methods.
        bootstrap_samples: Resamples behind each interval.
        seed: Seed of the resampling; the same rows are drawn for every model.

    Returns:
        The dict of evaluation.json without the cost metrics. `rows` counts the test rows and
        `labelled_rows` those with a gold label;
        without any of these the metrics that need one are absent. Each comparison is student minus
        the other side; accuracy
        carries McNemar's exact p, and `ratio` is the share of the teacher's value that the student
        keeps.

    Raises:
        ShapeMismatch: Some model did not answer every row with one probability per label.
        ValueError: There is no row, a gold label is out of range, or a row of probabilities does
            not sum to 1.
    """
    gold_rows = np.array(
        [-1 if label is None else int(label) for label in np.asarray(gold, dtype=object)],
        dtype=np.int64,
    )
    shape = (len(gold_rows), len(labels))
    if not len(gold_rows):
        raise ValueError(
            "there are no test rows to judge by: give data.test a file or a share that holds at "
            "least one row"
        )
    if gold_rows.max() >= len(labels):
        raise ValueError(
            f"gold label {gold_rows.max()} was given but there are {len(labels)} labels: check the "
            "label list"
        )
    teacher_probs = _checked("teacher", teacher, shape)
    groups = {
        "students": {
            name: _checked(f"students.{name}", probs, shape) for name, probs in students.items()
        },
        "controls": {
            name: _checked(f"controls.{name}", probs, shape)
            for name, probs in (controls or {}).items()
        },
        "baselines": {
            name: _checked(f"baselines.{name}", probs, shape)
            for name, probs in (baselines or {}).items()
        },
    }
    judge = _Judge(gold_rows, teacher_probs, samples=bootstrap_samples, seed=seed)
    return {
        "format": 1,
        "labels": list(labels),
        "rows": len(gold_rows),
        "labelled_rows": int(judge.labelled.size),
        "teacher": judge.against_gold(teacher_probs),
        **{
            group: {
                name: judge.against_gold(probs) | judge.against_teacher(probs)
                for name, probs in models.items()
            }
            for group, models in groups.items()
        },
        "comparisons": _comparisons(judge, groups),
        "teacher_against_baselines": [
            {"baseline": name, **judge.difference("accuracy", teacher_probs, probs)}
            for name, probs in groups["baselines"].items()
            if judge.labelled.size
        ],
        "calibration": {
            "teacher": judge.reliability(teacher_probs),
            "students": {
                name: judge.reliability(probs) for name, probs in groups["students"].items()
            },
            "controls": {
                name: judge.reliability(probs) for name, probs in groups["controls"].items()
            },
        },
        "bootstrap": {"samples": bootstrap_samples, "seed": seed, "level": 0.95},
    }


class _Judge:
    """The test rows, ready to judge any model's probabilities on them."""

    def __init__(self, gold: NDArray[np.int64], teacher: Probs, *, samples: int, seed: int) -> None:
        """Keep the rows, and which of them carry a gold label."""
        self.gold, self.teacher, self.samples, self.seed = gold, teacher, samples, seed
        self.labelled = np.flatnonzero(gold >= 0)

    def against_gold(self, probs: Probs) -> dict[str, Any]:
        """Every gold metric with its interval; empty without gold labels."""
        return (
            {name: self._value(name, probs) for name in GOLD_METRICS} if self.labelled.size else {}
        )

    def against_teacher(self, probs: Probs) -> dict[str, Any]:
        """Every metric of fidelity to the teacher with its interval."""
        return {name: self._value(name, probs) for name in TEACHER_METRICS}

    def reliability(self, probs: Probs) -> list[dict[str, Any]]:
        """The points of the calibration curve; empty without gold labels."""
        return (
            list(metrics.reliability(probs[self.labelled], self.gold[self.labelled]))
            if self.labelled.size
            else []
        )

    def difference(
        self, metric: str, ours: Probs, theirs: Probs, *, ratio: bool = False
    ) -> dict[str, Any]:
        """Ours minus theirs on the same resamples, with McNemar's p for accuracy and the share kept
        if asked for.
        """
        our_values, their_values = self._row_values(metric, ours), self._row_values(metric, theirs)
        ours_at, rows = self._statistic(metric, ours)
        theirs_at, _ = self._statistic(metric, theirs)
        if our_values is not None and their_values is not None:
            interval = metrics.paired_bootstrap(
                our_values, their_values, samples=self.samples, seed=self.seed
            )
        else:
            interval = self._bootstrap(lambda indices: ours_at(indices) - theirs_at(indices), rows)
        result: dict[str, Any] = {"metric": metric, "difference": _as_dict(interval, metric)}
        if metric == "accuracy" and our_values is not None and their_values is not None:
            result["mcnemar_p"] = float(metrics.mcnemar(our_values > 0, their_values > 0))
            result["only_student_correct"] = int((our_values > their_values).sum())
            result["only_other_correct"] = int((their_values > our_values).sum())
        if ratio and theirs_at(np.arange(rows)) > 0:
            # A resample in which the teacher gets nothing right has no share; it counts as
            # everything kept.
            share = self._bootstrap(
                lambda indices: (
                    ours_at(indices) / there if (there := theirs_at(indices)) > 0 else 1.0
                ),
                rows,
            )
            result["ratio"] = _as_dict(share, metric)
        return result

    def _value(self, metric: str, probs: Probs) -> dict[str, float]:
        """A metric of one model with its interval."""
        values = self._row_values(metric, probs)
        if values is not None:
            interval_of = (
                metrics.share_interval if metric in SHARE_METRICS else metrics.mean_interval
            )
            interval = interval_of(values, samples=self.samples, seed=self.seed)
        else:
            interval = self._bootstrap(*self._statistic(metric, probs))
        found = _as_dict(interval, metric)
        return found | {
            "low": max(found["low"], 0.0)
        }  # no metric is below zero, but a centred interval may be

    def _row_values(self, metric: str, probs: Probs) -> NDArray[np.float64] | None:
        """The metric of each row, if it is a mean over rows."""
        if metric in TEACHER_METRICS:
            return TEACHER_METRICS[metric](self.teacher, probs)
        if metric in ROW_METRICS:
            return ROW_METRICS[metric](probs[self.labelled], self.gold[self.labelled])
        return None

    def _statistic(self, metric: str, probs: Probs) -> tuple[Statistic, int]:
        """The metric as a function of row indexes, and how many rows there are to draw from."""
        values = self._row_values(metric, probs)
        if values is not None:
            return lambda indices: float(values[indices].mean()), len(values)
        ours, gold = probs[self.labelled], self.gold[self.labelled]
        if metric == "macro_f1":
            answers, num_classes = ours.argmax(axis=1), ours.shape[1]
            return lambda indices: metrics.macro_f1_of(
                answers[indices], gold[indices], num_classes=num_classes
            ), len(gold)
        assert metric == "ece", metric
        confidence, is_correct = ours.max(axis=1), metrics.correct(ours, gold)
        return metrics.resampled_ece(confidence, is_correct), len(gold)

    def _bootstrap(self, statistic: Statistic, rows: int) -> metrics.Interval:
        return metrics.bootstrap(statistic, rows, samples=self.samples, seed=self.seed)


def _as_dict(interval: metrics.Interval, metric: str) -> dict[str, float]:
    """The interval for JSON; that of ECE is centred on its value, for resampling inflates ECE."""
    found = metrics.centred(interval) if metric == "ece" else interval
    return {"value": float(found.value), "low": float(found.low), "high": float(found.high)}


def _comparisons(judge: _Judge, groups: Mapping[str, Mapping[str, Probs]]) -> list[dict[str, Any]]:
    """Each student against the teacher, its control and every baseline."""
    rows: list[dict[str, Any]] = []
    gold_metrics = GOLD_METRICS if judge.labelled.size else ()
    for name, probs in groups["students"].items():
        rows += [
            {
                "student": name,
                "against": "teacher",
                **judge.difference(metric, probs, judge.teacher, ratio=metric in RATIO_METRICS),
            }
            for metric in gold_metrics
        ]
        control = groups["controls"].get(name)
        if control is not None:
            rows += [
                {"student": name, "against": "control", **judge.difference(metric, probs, control)}
                for metric in (*gold_metrics, *TEACHER_METRICS)
            ]
        rows += [
            {
                "student": name,
                "against": "baseline",
                "baseline": baseline,
                **judge.difference("accuracy", probs, baseline_probs),
            }
            for baseline, baseline_probs in groups["baselines"].items()
            if judge.labelled.size
        ]
    return rows


def _checked(name: str, probs: NDArray[np.floating], shape: tuple[int, int]) -> Probs:
    """The probabilities in float64, refused unless every row is a distribution over the labels."""
    checked = np.asarray(probs, dtype=np.float64)
    if checked.shape != shape:
        raise ShapeMismatch(
            f"{name} gave probabilities of shape {checked.shape} but {shape[0]} test rows and "
            f"{shape[1]} labels "
            f"need {shape}: "
            "predict all test rows with the label list of the task"
        )
    sums = checked.sum(axis=1)
    wrong = np.flatnonzero(~(np.abs(sums - 1.0) < 1e-3) | (checked < 0).any(axis=1))
    if wrong.size:
        raise ValueError(
            f"{name}: row {wrong[0] + 1} sums to {sums[wrong[0]]:.4g} where probabilities of at "
            "least 0 that sum "
            "to 1 are expected "
            f"({wrong.size} such rows): give probabilities, not logits"
        )
    return checked
