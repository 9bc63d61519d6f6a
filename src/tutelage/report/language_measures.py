"""What each number of a language model is called, which way is better, how it is written, and how
to read it.
"""

from __future__ import annotations

from math import exp

from tutelage.report import formats
from tutelage.report.measures import Measure
from tutelage.report.tradeoff import QualityAxis


def perplexity(nats: float) -> str:
    """Nats per token said as a number of equally likely tokens."""
    return f"perplexity {formats.times(exp(nats))}" if nats < 30 else ""


QUALITY = (
    Measure(
        "nats_per_token",
        "Nats per token",
        False,
        formats.decimal,
        1.0,
        3,
        "nats",
        "How surprised the model is by each next token of the test texts, on average: minus the "
        "logarithm of the "
        "probability that it gave to the token that really comes next. Perplexity says the same as "
        "a number of "
        "choices: at perplexity 20 the model is as unsure as if it chose among 20 equally likely "
        "tokens.",
        aside=perplexity,
    ),
    Measure(
        "bits_per_byte",
        "Bits per byte",
        False,
        formats.decimal,
        1.0,
        3,
        "bits",
        "The same surprise per byte of text, so that models with other tokens can be compared. It "
        "is also the size to "
        "which the model would compress the text: plain text has 8 bits a byte.",
    ),
    Measure(
        "kl",
        "KL to teacher, nats",
        False,
        formats.decimal,
        1.0,
        3,
        "nats",
        "How far the student’s probabilities for the next token are from the teacher’s, averaged "
        "over all places: "
        "KL(teacher || student). Zero means identical. This is what training with the teacher "
        "brings down.",
    ),
    Measure(
        "kept_mass",
        "Tokens it has",
        True,
        formats.percent,
        100.0,
        1,
        "points",
        "Of a student with a part of the teacher’s tokens: how much of the teacher’s probability "
        "is on this part, on "
        "average. Its KL is the distance over this part alone, and not to be compared with that of "
        "a student that has "
        "all tokens; all other numbers are about all of them.",
    ),
    Measure(
        "top1_agreement",
        "Top-1 agreement",
        True,
        formats.percent,
        100.0,
        1,
        "points",
        "The share of places at which the student’s most probable next token is the teacher’s.",
    ),
    Measure(
        "acceptance",
        "Acceptance",
        True,
        formats.percent,
        100.0,
        1,
        "points",
        "Speculative acceptance: the overlap of both probability distributions, the sum over all "
        "tokens of the smaller "
        "one. If the student drafted text for the teacher to check (speculative decoding), so "
        "large a share of its "
        "tokens would stand.",
    ),
    Measure(
        "accuracy",
        "Right next token",
        True,
        formats.percent,
        100.0,
        1,
        "points",
        "The share of places at which the model’s most probable next token is the one that stands "
        "in the text. Text "
        "is not that predictable: no model comes near 100 %.",
    ),
    Measure(
        "ece",
        "Calibration error",
        False,
        formats.decimal,
        1.0,
        3,
        "",
        "Expected calibration error of the next token over 15 bins of equally many places: by how "
        "much the probability "
        "of the first choice misses the share of times that it is right.",
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
        "The teacher’s weights in the number format that it ran in here (a quantised file is "
        "smaller); a student’s "
        "folder: weights, configuration, tokenizer.",
    ),
    Measure(
        "memory_bytes",
        "Memory",
        False,
        formats.size_bytes,
        0.0,
        0,
        "",
        "Memory that a process of its own needs at most to load the model, in the number format "
        "that it ran in here, "
        "and read one test document, beyond what the program takes without a model.",
    ),
    Measure(
        "prefill_tokens_per_second",
        "Reading, tokens/s",
        True,
        formats.rate,
        0.0,
        0,
        "",
        "Prefill: tokens of a prompt read per second, one prompt at a time. All models took turns "
        "on the same prompts "
        "and machine. The brackets hold the slowest and the fastest round.",
    ),
    Measure(
        "tokens_per_second",
        "Writing, tokens/s",
        True,
        formats.rate,
        0.0,
        0,
        "",
        "Decode: tokens written per second after the prompt was read, one text at a time. The "
        "brackets hold the "
        "slowest and the fastest round.",
    ),
    Measure(
        "latency_ms_p50",
        "Per token, p50",
        False,
        formats.milliseconds,
        0.0,
        0,
        "",
        "Time to write one token; half the tokens take less.",
    ),
    Measure(
        "latency_ms_p95",
        "Per token, p95",
        False,
        formats.milliseconds,
        0.0,
        0,
        "",
        "As above; nineteen tokens in twenty take less.",
    ),
)
"""What reading and writing cost, in the order of the table."""

BY_KEY = {measure.key: measure for measure in (*QUALITY, *COST)}
"""Every measure by its name in evaluation.json."""

NATS_AXIS = QualityAxis(
    1.0,
    0.1,
    lambda value: f"{value:.2f}".rstrip("0").rstrip("."),
    lambda value: f"{formats.decimal(value)} nats",
)
"""The vertical axis of quality against cost."""

TERMS = (
    (
        "Token",
        "A word or a piece of one; what a language model reads and writes. Its vocabulary lists "
        "all that it knows.",
    ),
    (
        "Nat",
        "The unit of surprise with the natural logarithm: 1 nat is 1.44 bits. A difference of 0.1 "
        "nats per token is a "
        "perplexity that is 10 % higher.",
    ),
    (
        "95 % interval [low, high]",
        "What the number could be had other test documents of the same kind been drawn (bootstrap "
        "over whole "
        "documents, for the tokens of one document belong together). It does not cover other "
        "training seeds.",
    ),
    (
        "Difference and paired interval",
        "Both models are judged on the same resampled documents, so luck with the documents "
        "cancels out. An interval "
        "that includes zero means: these documents do not settle it. It does not mean that the two "
        "are equal.",
    ),
    (
        "Many comparisons",
        "Each interval stands alone. Among twenty comparisons in which nothing differs, one is "
        "expected to look "
        "settled.",
    ),
    (
        "Control",
        "The same network from the same start, with the same texts in the same order and as many "
        "steps, trained on the "
        "text alone. What the student has over it, the teacher bought.",
    ),
    (
        "Soft targets",
        "The teacher’s probabilities for every possible next token, at every place of the training "
        "texts, rather than "
        "only the token that stands there. Students learn to reproduce them.",
    ),
    (
        "Entropy",
        "How undecided a distribution is, in nats: zero if one token has all the probability.",
    ),
)
"""Words of the report that are not metrics."""
