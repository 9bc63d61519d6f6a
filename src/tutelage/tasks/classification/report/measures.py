"""What is measured of a classifier: what each number is called, written and how it is read."""

from __future__ import annotations

from tutelage.report import formats
from tutelage.report.measures import Column, Measure, Measures, distance, share
from tutelage.report.plots import CostAxis
from tutelage.report.words import Name, Names

MEASURES = Measures(
    quality=(
        share(
            "accuracy",
            "Accuracy",
            "The share of test rows whose most probable label is the gold label.",
            column=Column("accuracy % [95 %]", formats.plain(1, scale=100), interval=True),
        ),
        share(
            "macro_f1",
            "Macro F1",
            "F1 of each label, averaged so that rare labels count as much as common ones. Far "
            "below accuracy means that rare labels suffer.",
            column=Column("macro F1", formats.plain(1, scale=100)),
        ),
        share(
            "agreement",
            "Agreement",
            "The share of test rows to which the student gives the same label as the teacher, "
            "right or wrong.",
            column=Column("agrees", formats.plain(1, scale=100)),
        ),
        distance(
            "kl",
            "KL to teacher",
            "How far the student's probabilities are from the teacher's, in nats: KL(teacher || "
            "student). Zero means identical probabilities. Two models can agree on every label "
            "and still differ here.",
            unit="nats",
            column=Column("KL", formats.plain(3)),
        ),
        distance(
            "nll",
            "Neg. log-likelihood",
            "Minus the log of the probability given to the gold label, on average. It punishes "
            "confident mistakes most.",
            unit="nats",
            column=Column("NLL", formats.plain(3)),
        ),
        distance(
            "brier",
            "Brier score",
            "The squared distance between the probabilities and the gold label, summed over "
            "labels, from 0 (perfect) to 2.",
        ),
        distance(
            "ece",
            "Calibration error",
            "Expected calibration error over 15 bins that hold equally many rows: by how much "
            "stated confidence misses actual accuracy. At 0.05, answers given with 80 % "
            "confidence are right roughly 75 to 85 % of the time. Few rows make it look worse "
            "than it is.",
            column=Column("ECE", formats.plain(1, scale=100)),
        ),
    ),
    cost=(
        Measure(
            key="parameters",
            title="Parameters",
            reading="Numbers in the network.",
            show=formats.magnitude,
            better_worse=("fewer", "more"),
            column=Column("params", formats.plain_count),
        ),
        Measure(
            key="disk_bytes",
            title="On disk",
            reading="Bytes of the files needed to answer: weights, configuration, tokenizer.",
            show=formats.size_bytes,
            better_worse=("smaller", "larger"),
            column=Column("bytes", formats.plain_bytes),
        ),
        Measure(
            key="latency_ms_p50",
            title="Latency p50",
            reading="Time to answer one text, tokenisation included; half the texts take less. "
            "All models answered the same texts in turn, on one machine, in one sitting.",
            show=formats.milliseconds,
            column=Column("ms", formats.plain(2), faster=formats.plain_times),
        ),
        Measure(
            key="latency_ms_p95",
            title="Latency p95",
            reading="As above; nineteen texts in twenty take less.",
            show=formats.milliseconds,
        ),
        Measure(
            key="examples_per_second",
            title="Answers per second",
            reading="Throughput in batches. The brackets hold the slowest and the fastest round.",
            show=formats.rate,
            higher_is_better=True,
        ),
    ),
)

NAMES = Names(
    control=Name("on labels alone", "on labels only"),
    baselines={
        "majority": Name("the commonest label", "commonest class"),
        "tfidf_logistic_regression": Name("TF-IDF with logistic regression", "TF-IDF + logistic"),
    },
)

COST_AXES = (
    CostAxis(
        "latency_ms_p50",
        "Latency",
        "milliseconds per answer, median, one text at a time (log scale)",
        "ms per answer, median (log scale)",
    ),
    CostAxis("parameters", "Parameters", "parameters (log scale)", "parameters (log scale)"),
    CostAxis(
        "disk_bytes",
        "Size on disk",
        "megabytes on disk (log scale)",
        "MB on disk (log scale)",
        scale=1e-6,
    ),
)

TERMS = (
    (
        "95 % interval [low, high]",
        "What the number could be had other test rows of the same kind been drawn (bootstrap over "
        "rows). It does not cover other training seeds.",
    ),
    (
        "Difference and paired interval",
        "Both models are judged on the same resampled rows, so luck with the rows cancels out. An "
        "interval that includes zero means: these rows do not settle it. It does not mean that "
        "the two are equal.",
    ),
    (
        "McNemar p",
        "How often a split at least as uneven as the one seen, between rows that only one of the "
        "two got right, would arise by chance if both were equally good. Small is evidence of a "
        "real difference.",
    ),
    (
        "Many comparisons",
        "Each interval and each p stands alone. Among twenty comparisons in which nothing "
        "differs, one is expected to look settled.",
    ),
    (
        "Control",
        "The same network, the same settings, the same seed, trained on the hard labels alone. "
        "What the student has over it, the teacher bought.",
    ),
    (
        "Soft targets",
        "The teacher's whole probability distribution for a text rather than only its best label. "
        "Students learn to reproduce it.",
    ),
)
"""Words of the page that are not measures."""
