"""Why a student answers as it does: texts in, and what each part of them added to the answer.

Exact, so only of students whose every score is a sum (`kind: linear`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import RecipeError
from tutelage.recipes.predicting import answer_texts, student_folder
from tutelage.students.classifier.answering import Explained


def explain_texts(
    path: Path, texts: Sequence[str], *, student: str | None = None
) -> list[dict[str, Any]]:
    """What every n-gram of some texts added to the scores of the classes.

    Args:
        path: A student folder or a run folder.
        texts: At least one.
        student: Which student of a run; None: the best.

    Returns:
        For each text `{"text", "label", "probabilities", "logits", "bias", "contributions"}`; the
        last is a list of `{"ngram", "inside_word", "logits"}`, those that part the classes most
        first. By label, bias and contributions sum to the logits.

    Raises:
        DataError: A text is empty or no Unicode text.
        RecipeError: There is no text, no such student, or none that can be explained.
    """
    if not texts:
        raise RecipeError("no text given: give a text to explain")
    at_work, answers = answer_texts(path, texts, student=student)
    classifier = getattr(at_work, "predictor", None)
    if not isinstance(classifier, Explained):
        name = student_folder(path, student).name
        raise RecipeError(
            f"{name} is no sum of parts, so no part of it is exact; expected a student of "
            "kind: linear. Name one with --student, or add one to the recipe"
        )
    explained = []
    for text, answer in zip(texts, answers, strict=True):
        labels = list(answer["probabilities"])

        def by_label(values: Any, labels: list[str] = labels) -> dict[str, float]:
            return {label: float(value) for label, value in zip(labels, values, strict=True)}

        parts = classifier.contributions(text)
        total = classifier.bias + np.sum([np.zeros(len(labels)), *(one.logits for one in parts)], 0)
        explained.append(
            {
                "text": text,
                **answer,
                "logits": by_label(total),
                "bias": by_label(classifier.bias),
                "contributions": [
                    {
                        "ngram": part.ngram,
                        "inside_word": part.inside_word,
                        "logits": by_label(part.logits),
                    }
                    for part in parts
                ],
            }
        )
    return explained


def explanation_lines(explained: dict[str, Any], *, top: int) -> list[str]:
    """One explained text for a terminal: the answer, then what spoke most for and against it.

    What is shown is how much an n-gram moves the score of the answer against the mean of all
    classes.
    """
    label = explained["label"]

    def push(logits: dict[str, float]) -> float:
        return logits[label] - sum(logits.values()) / len(logits)

    def line(value: float, what: str) -> str:
        return f"  {value:+7.3f}  {what}"

    parts = sorted(
        ((push(part["logits"]), part) for part in explained["contributions"]),
        key=lambda one: -abs(one[0]),
    )
    lines = [f"{label} {explained['probabilities'][label]:.3f}\t{explained['text']}"]
    for value, part in parts[:top]:
        shown = f"[{part['ngram']}]" if part["inside_word"] else part["ngram"]
        lines.append(line(value, shown))
    if rest := parts[top:]:
        lines.append(line(sum(value for value, _ in rest), f"({len(rest):,} others)"))
    lines.append(line(push(explained["bias"]), "(whatever the text)"))
    lines.append(line(push(explained["logits"]), f"= {label} against the mean of all classes"))
    return lines
