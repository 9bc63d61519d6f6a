"""What each number is called, which way is better, how it is written, and how to read it in plain
words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tutelage.report import formats


@dataclass(frozen=True)
class Measure:
    """One column of the table."""

    key: str
    """Its name in evaluation.json."""
    title: str
    """Its name for people."""
    higher_is_better: bool
    """Which way is better."""
    show: Callable[[float], str]
    """How a value is written."""
    scale: float
    """What the ends of its interval are multiplied by."""
    digits: int
    """Digits after the point in its interval and in differences."""
    unit: str
    """Unit of a difference; empty where the number has none."""
    reading: str
    """How to read it, in a sentence or two."""
    aside: Callable[[float], str] | None = None
    """The same number said in another way, to stand beside it."""

    @property
    def arrow(self) -> str:
        """An arrow in the better direction."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def direction(self) -> str:
        """The better direction in words."""
        return "higher is better" if self.higher_is_better else "lower is better"

    def interval(self, interval: Mapping[str, float]) -> str:
        """The ends of an interval in the unit of its value, or nothing where the number is
        exact.
        """
        if interval["low"] == interval["high"]:
            return ""
        if self.scale == 0.0:
            low, high = self.show(interval["low"]), self.show(interval["high"])
            unit = self.show(interval["value"]).partition(formats.THIN)[2]
            if unit and all(end.endswith(formats.THIN + unit) for end in (low, high)):
                low, high = (end.removesuffix(formats.THIN + unit) for end in (low, high))
            return f"[{low},{formats.NO_BREAK}{high}]"
        return formats.bracket(interval, scale=self.scale, digits=self.digits)


QUALITY = (
    Measure(
        "accuracy",
        "Accuracy",
        True,
        formats.percent,
        100.0,
        1,
        "points",
        "The share of test rows whose most probable label is the gold label.",
    ),
    Measure(
        "macro_f1",
        "Macro F1",
        True,
        formats.percent,
        100.0,
        1,
        "points",
        "F1 of each label, averaged so that rare labels count as much as common ones. Far below "
        "accuracy means "
        "that rare labels suffer.",
    ),
    Measure(
        "agreement",
        "Agreement",
        True,
        formats.percent,
        100.0,
        1,
        "points",
        "The share of test rows to which the student gives the same label as the teacher, right or "
        "wrong.",
    ),
    Measure(
        "kl",
        "KL to teacher",
        False,
        formats.decimal,
        1.0,
        3,
        "nats",
        "How far the student's probabilities are from the teacher's, in nats: KL(teacher || "
        "student). Zero means "
        "identical probabilities. "
        "Two models can agree on every label and still differ here.",
    ),
    Measure(
        "nll",
        "Neg. log-likelihood",
        False,
        formats.decimal,
        1.0,
        3,
        "nats",
        "Minus the log of the probability given to the gold label, on average. It punishes "
        "confident mistakes most.",
    ),
    Measure(
        "brier",
        "Brier score",
        False,
        formats.decimal,
        1.0,
        3,
        "",
        "The squared distance between the probabilities and the gold label, summed over labels, "
        "from 0 (perfect) to 2.",
    ),
    Measure(
        "ece",
        "Calibration error",
        False,
        formats.decimal,
        1.0,
        3,
        "",
        "Expected calibration error over 15 bins that hold equally many rows: by how much stated "
        "confidence "
        "misses actual accuracy. At 0.05, answers given "
        "with 80 % confidence are right roughly 75 to 85 % of the time. Few rows make it look "
        "worse than it is.",
    ),
)
"""Metrics of quality and fidelity, in the order of the table."""

COST = (
    Measure(
        "parameters", "Parameters", False, formats.magnitude, 0.0, 0, "", "Numbers in the network."
    ),
    Measure(
        "disk_bytes",
        "On disk",
        False,
        formats.size_bytes,
        0.0,
        0,
        "",
        "Bytes of the files needed to answer: weights, configuration, tokenizer.",
    ),
    Measure(
        "latency_ms_p50",
        "Latency p50",
        False,
        formats.milliseconds,
        0.0,
        0,
        "",
        "Time to answer one text, tokenisation included; half the texts take less. All models "
        "answered the same "
        "texts in turn, "
        "on one machine, in one sitting.",
    ),
    Measure(
        "latency_ms_p95",
        "Latency p95",
        False,
        formats.milliseconds,
        0.0,
        0,
        "",
        "As above; nineteen texts in twenty take less.",
    ),
    Measure(
        "examples_per_second",
        "Answers per second",
        True,
        formats.rate,
        0.0,
        0,
        "",
        "Throughput in batches. The brackets hold the slowest and the fastest round.",
    ),
)
"""What an answer costs, in the order of the table."""

BY_KEY = {measure.key: measure for measure in (*QUALITY, *COST)}
"""Every measure by its name in evaluation.json."""

TERMS = (
    (
        "95 % interval [low, high]",
        "What the number could be had other test rows of the same kind been drawn (bootstrap over "
        "rows). It does "
        "not cover other training seeds.",
    ),
    (
        "Difference and paired interval",
        "Both models are judged on the same resampled rows, so luck with the rows cancels out. An "
        "interval that "
        "includes zero means: these rows do not "
        "settle it. It does not mean that the two are equal.",
    ),
    (
        "McNemar p",
        "How often a split at least as uneven as the one seen, between rows that only one of the "
        "two got right, "
        "would arise by chance if both were "
        "equally good. Small is evidence of a real difference.",
    ),
    (
        "Many comparisons",
        "Each interval and each p stands alone. Among twenty comparisons in which nothing differs, "
        "one is "
        "expected to look settled.",
    ),
    (
        "Control",
        "The same network, the same settings, the same seed, trained on the hard labels alone. "
        "What the student "
        "has over it, the teacher bought.",
    ),
    (
        "Soft targets",
        "The teacher's whole probability distribution for a text rather than only its best label. "
        "Students learn "
        "to reproduce it.",
    ),
)
"""Words of the report that are not metrics."""
