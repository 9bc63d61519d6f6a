"""What is measured of a language model: what each number is called, written and how it is read."""

from __future__ import annotations

from math import exp

from tutelage.report import formats
from tutelage.report.measures import Column, Measure, Measures, distance, share
from tutelage.report.plots import CostAxis
from tutelage.report.tradeoff import AxisStyle
from tutelage.report.words import Name, Names


def perplexity(nats: float) -> str:
    """Nats per token said as a number of equally likely tokens."""
    return f"perplexity {formats.times(exp(nats))}" if nats < 30 else ""


MEASURES = Measures(
    quality=(
        distance(
            "nats_per_token",
            "Nats per token",
            "How surprised the model is by each next token of the test texts, on average: minus "
            "the logarithm of the probability that it gave to the token that really comes next. "
            "Perplexity says the same as a number of choices: at perplexity 20 the model is as "
            "unsure as if it chose among 20 equally likely tokens.",
            unit="nats",
            aside=perplexity,
            column=Column("nats/token [95 %]", formats.plain(3), interval=True),
        ),
        distance(
            "answer_nats",
            "Nats on the teacher’s answers",
            "The same surprise by what the teacher wrote to the test prompts, which students never "
            "saw. This is what learning from its answers brings down.",
            unit="nats",
            column=Column("answers", formats.plain(3), only_where_known=True),
        ),
        distance(
            "bits_per_byte",
            "Bits per byte",
            "The same surprise per byte of text, so that models with other tokens can be "
            "compared. It is also the size to which the model would compress the text: plain text "
            "has 8 bits a byte.",
            unit="bits",
            column=Column("bits/byte", formats.plain(3)),
        ),
        distance(
            "kl",
            "KL to teacher, nats",
            "How far the student’s probabilities for the next token are from the teacher’s, "
            "averaged over all places: KL(teacher || student). Zero means identical. This is what "
            "training with the teacher brings down.",
            unit="nats",
            column=Column("KL", formats.plain(3)),
        ),
        share(
            "kept_mass",
            "Tokens it has",
            "Of a student with a part of the teacher’s tokens: how much of the teacher’s "
            "probability is on this part, on average. Its KL is the distance over this part "
            "alone, and not to be compared with that of a student that has all tokens; all other "
            "numbers are about all of them.",
        ),
        share(
            "top1_agreement",
            "Top-1 agreement",
            "The share of places at which the student’s most probable next token is the teacher’s.",
            column=Column("agrees %", formats.plain(1, scale=100)),
        ),
        share(
            "acceptance",
            "Acceptance",
            "Speculative acceptance: the overlap of both probability distributions, the sum over "
            "all tokens of the smaller one. If the student drafted text for the teacher to check "
            "(speculative decoding), so large a share of its tokens would stand.",
            column=Column("accepted %", formats.plain(1, scale=100)),
        ),
        share(
            "accuracy",
            "Right next token",
            "The share of places at which the model’s most probable next token is the one that "
            "stands in the text. Text is not that predictable: no model comes near 100 %.",
        ),
        distance(
            "ece",
            "Calibration error",
            "Expected calibration error of the next token over 15 bins of equally many places: by "
            "how much the probability of the first choice misses the share of times that it is "
            "right.",
            column=Column("ECE %", formats.plain(1, scale=100)),
        ),
    ),
    cost=(
        Measure(
            key="parameters",
            title="Parameters",
            reading="Numbers in the network.",
            show=formats.magnitude,
            better_worse=("fewer", "more"),
            column=Column("params", lambda number: f"{number / 1e6:.1f}M"),
        ),
        Measure(
            key="disk_bytes",
            title="On disk",
            reading="The teacher’s weights in the number format that it ran in here (a quantised "
            "file is smaller); a student’s folder: weights, configuration, tokenizer.",
            show=formats.size_bytes,
            better_worse=("smaller", "larger"),
            column=Column("bytes", formats.plain_bytes),
        ),
        Measure(
            key="memory_bytes",
            title="Memory",
            reading="Memory that a process of its own needs at most to load the model, in the "
            "number format that it ran in here, and read one test document, beyond what the "
            "program takes without a model.",
            show=formats.size_bytes,
            better_worse=("less", "more"),
        ),
        Measure(
            key="prefill_tokens_per_second",
            title="Reading, tokens/s",
            reading="Prefill: tokens of a prompt read per second, one prompt at a time. All "
            "models took turns on the same prompts and machine. The brackets hold the slowest and "
            "the fastest round.",
            show=formats.rate,
            higher_is_better=True,
        ),
        Measure(
            key="tokens_per_second",
            title="Writing, tokens/s",
            reading="Decode: tokens written per second after the prompt was read, one text at a "
            "time. The brackets hold the slowest and the fastest round.",
            show=formats.rate,
            higher_is_better=True,
            column=Column("tokens/s", formats.plain(0), faster=lambda times: f"{times:.1f}x"),
        ),
        Measure(
            key="latency_ms_p50",
            title="Per token, p50",
            reading="Time to write one token; half the tokens take less. The brackets hold the "
            "fastest and the slowest round.",
            show=formats.milliseconds,
        ),
        Measure(
            key="latency_ms_p95",
            title="Per token, p95",
            reading="As above; nineteen tokens in twenty take less.",
            show=formats.milliseconds,
        ),
    ),
)

NAMES = Names(control=Name("on the text alone", "on the text alone"))

COST_AXES = (
    CostAxis(
        "latency_ms_p50",
        "Time per token",
        "milliseconds to write one token, median (log scale)",
        "ms per written token, median (log scale)",
    ),
    CostAxis("parameters", "Parameters", "parameters (log scale)", "parameters (log scale)"),
    CostAxis(
        "memory_bytes",
        "Memory",
        "megabytes of memory (log scale)",
        "MB of memory (log scale)",
        scale=1e-6,
    ),
    CostAxis(
        "disk_bytes",
        "Size on disk",
        "megabytes on disk (log scale)",
        "MB on disk (log scale)",
        scale=1e-6,
    ),
)

NATS = AxisStyle(
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
        "nats per token is a perplexity that is 10 % higher.",
    ),
    (
        "95 % interval [low, high]",
        "What the number could be had other test documents of the same kind been drawn (bootstrap "
        "over whole documents, for the tokens of one document belong together). It does not cover "
        "other training seeds.",
    ),
    (
        "Difference and paired interval",
        "Both models are judged on the same resampled documents, so luck with the documents "
        "cancels out. An interval that includes zero means: these documents do not settle it. It "
        "does not mean that the two are equal.",
    ),
    (
        "Many comparisons",
        "Each interval stands alone. Among twenty comparisons in which nothing differs, one is "
        "expected to look settled.",
    ),
    (
        "Control",
        "The same network from the same start, with the same texts in the same order and as many "
        "steps, trained on the text alone. What the student has over it, the teacher bought.",
    ),
    (
        "Soft targets",
        "The teacher’s probabilities for every possible next token, at every place of the "
        "training texts, rather than only the token that stands there. Students learn to "
        "reproduce them.",
    ),
    (
        "Entropy",
        "How undecided a distribution is, in nats: zero if one token has all the probability.",
    ),
)
"""Words of the page that are not measures."""
