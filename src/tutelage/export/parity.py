"""The gate of an export: it counts only if it answers as its student does.

In: a student as PyTorch or numpy runs it, the exported one as it will run, and texts. Out: every
number of the comparison, and what is wrong. Short, middling and truncated texts, batches of several
sizes, odd characters and the empty text are always among what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.export.subject import Rows

if TYPE_CHECKING:
    from tutelage_runtime.session import Student

Probs = NDArray[np.float32]

BATCH_SIZES = (1, 2, 33)
MOST_ROWS = 2000
"""Rows that are compared, evenly spaced."""
FLOAT_DIFFERENCE = 1e-4
"""The largest difference of a probability in float32."""
INT8_AGREEMENT = 0.99
"""The least share of rows with the same answer in int8."""
INT8_LOSS = 0.005
"""The most accuracy that int8 may lose; where rows have no labels, agreement with the teacher."""

ODD_TEXTS = (
    "",
    " \t\n ",
    "\x00\x07 control \x1b[0m characters \x7f",
    "[CLS] [MASK] [SEP] [PAD] [UNK] <s> </s> <|endoftext|> <|im_start|>",
    "e\u0301 \u00e9 \u1e9e \u0130stanbul \ufb01ne \u2126 \uff21\uff22\uff23",
    "\u200b zero \u200d width \ufeff marks \u202e turned",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1f3\U0001f1f1",
    "\u2764\ufe0f \U0001f44d\U0001f3fd",
    "\u4e2d\u6587\u6ca1\u6709\u7a7a\u683c \u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d\u0924\u0947",
    "x" * 3000,
    "?!?!... --- ,,,, ((( )))",
    "0 1e9 -3.14 1,000,000 \u00bd \u2167",
)
"""Asked of every export."""

PLAIN_TEXTS = (
    "Good.",
    "It works as it should, and it came a day early.",
    "I would not buy this again.",
    "The box is grey.",
    "Where is my order? It was to arrive last Tuesday.",
    "Please cancel my account and send the money back to my card.",
    "The screen is bright, but the battery hardly lasts a morning, and the charger gets hot.",
    "What a wonderful film: funny, sad, and over far too soon.",
    "How many people live in the largest city of the country?",
    "Play the second song of her new album in the kitchen.",
    "We stood in line for two hours only to hear that everything was sold out, and nobody said "
    "sorry.",
    "ok",
)
"""Asked where there are no rows."""
PLAIN = "built-in texts"


@dataclass(frozen=True, slots=True)
class Parity:
    """What the gate found."""

    problems: tuple[str, ...]
    """What is wrong; an export counts where there is nothing."""
    record: Mapping[str, Any]
    """Every number, as JSON values."""


def compare(
    expected: Callable[[Sequence[str]], Probs],
    exported: Student,
    rows: Rows | None,
    *,
    int8: bool,
) -> Parity:
    """Ask both the same.

    Args:
        expected: Probabilities [N, C] of the student itself, before any temperature.
        exported: What was made of it.
        rows: Real ones; None: `PLAIN_TEXTS`.
        int8: Whether it may differ as int8 does.
    """
    rows = _chosen(rows or Rows(PLAIN_TEXTS))
    texts = list(rows.texts)
    lengths = _of_three_lengths(texts, exported)
    probes = [*lengths.values(), *ODD_TEXTS]
    before = expected([*texts, *probes])
    known = dict(zip([*texts, *probes], before, strict=True))
    problems: list[str] = []
    record: dict[str, Any] = {"rows": len(texts), "lengths": {}, "batches": {}}

    def ask(asked: Sequence[str], size: int) -> Probs:
        parts = [_probs(exported, asked[at : at + size]) for at in range(0, len(asked), size)]
        return np.concatenate(parts)

    for name, text in lengths.items():
        difference = _difference(known[text][None], ask([text], 1))
        record["lengths"][name] = {
            "read": len(exported.encode([text])[0].ids),
            "difference": difference,
        }
    worst = [entry["difference"] for entry in record["lengths"].values()]
    for size in BATCH_SIZES:
        # The odd ones among the others, so that short and long texts share a batch.
        mixed = [*probes, *texts[: max(0, 2 * max(BATCH_SIZES) - len(probes))]]
        after = ask(mixed, size)
        difference = _difference(np.stack([known[text] for text in mixed]), after)
        record["batches"][str(size)] = {"texts": len(mixed), "difference": difference}
        worst.append(difference)
        unsure = [
            text for text, one in zip(mixed, after, strict=True) if not np.isfinite(one).all()
        ]
        if unsure:
            problems.append(f"gives no probabilities for {unsure[0][:40]!r} in batches of {size}")
    before, after = before[: len(texts)], ask(texts, max(BATCH_SIZES))
    differences = np.abs(before - after).max(axis=1)
    differs = before.argmax(axis=1) != after.argmax(axis=1)
    places = np.arange(len(texts))
    apart = before.max(axis=1) - before[places, after.argmax(axis=1)]
    ties = differs & (apart <= 2 * FLOAT_DIFFERENCE)
    agreement = 1 - float(differs.mean())
    worst.append(float(differences.max()))
    record |= {
        "agreement": agreement,
        "ties": int(ties.sum()),
        "difference": max(worst),
        "mean_difference": float(differences.mean()),
        **_quality(rows, before, after),
    }
    problems += _problems(record, int8=int8, others=int((differs & ~ties).sum()))
    return Parity(tuple(problems), record | {"passed": not problems, "problems": problems})


def _problems(record: Mapping[str, Any], *, int8: bool, others: int) -> list[str]:
    """What the numbers say against an export."""
    if not int8:
        found = []
        if not record["difference"] <= FLOAT_DIFFERENCE:
            found.append(
                f"probabilities differ by up to {record['difference']:.2g}; expected at most "
                f"{FLOAT_DIFFERENCE:g}"
            )
        if others:
            found.append(f"{others:,} of {record['rows']:,} rows get another answer")
        return found
    found = []
    if record["agreement"] < INT8_AGREEMENT:
        found.append(
            f"{record['agreement']:.2%} of {record['rows']:,} rows get the student's answer; "
            f"expected at least {INT8_AGREEMENT:.0%}"
        )
    for name in ("accuracy", "teacher_agreement"):
        if name in record:
            loss = record[name]["student"] - record[name]["exported"]
            if loss > INT8_LOSS:
                found.append(
                    f"{name.replace('_', ' ')} is {100 * loss:.2f} points lower; expected at most "
                    f"{100 * INT8_LOSS:.1f}"
                )
            break
    return found


def _quality(rows: Rows, before: Probs, after: Probs) -> dict[str, Any]:
    """Accuracy of both where rows have labels, and agreement with the teacher where it was
    asked.
    """
    found: dict[str, Any] = {}
    golds = {"accuracy": rows.labels}
    if rows.teacher_probs is not None:
        golds["teacher_agreement"] = np.asarray(rows.teacher_probs).argmax(axis=1)
    for name, gold in golds.items():
        if gold is not None and (known := gold >= 0).any():
            found[name] = {
                who: float((probs.argmax(axis=1) == gold)[known].mean())
                for who, probs in (("student", before), ("exported", after))
            } | {"rows": int(known.sum())}
    return found


def _chosen(rows: Rows) -> Rows:
    """At most `MOST_ROWS` rows with text in them, evenly spaced."""
    kept = [place for place, text in enumerate(rows.texts) if text.strip()]
    kept = kept[:: -(-len(kept) // MOST_ROWS)]
    return Rows(
        [rows.texts[place] for place in kept],
        None if rows.labels is None else np.asarray(rows.labels)[kept],
        None if rows.teacher_probs is None else np.asarray(rows.teacher_probs)[kept],
    )


def _of_three_lengths(texts: Sequence[str], exported: Student) -> dict[str, str]:
    """A short text, a middling one, and one that is cut."""
    reads = [len(one.ids) for one in exported.encode(texts)]
    order = sorted(range(len(reads)), key=reads.__getitem__)
    words = exported.bundle.max_length + 1  # as many tokens, or words, at the least
    many = " ".join([*texts] * (1 + words // max(1, len(texts)))).split()[:words]
    return {
        "short": texts[order[0]],
        "median": texts[order[len(order) // 2]],
        "truncated": " ".join(many),
    }


def _probs(exported: Student, texts: Sequence[str]) -> Probs:
    """Probabilities before any temperature."""
    from tutelage_runtime.session import softmax

    with np.errstate(invalid="ignore"):
        return softmax(exported.logits(texts)[0])


def _difference(before: Probs, after: Probs) -> float:
    """The largest difference of a probability; 1 where one is no number."""
    found = np.abs(before - after)
    return float(np.where(np.isfinite(found), found, 1.0).max())
