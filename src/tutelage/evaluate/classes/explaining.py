"""Why a classifier answers as it does: texts in, and how far each word moved the score of each
class.

Whoever answers texts can be explained by what changes when a word is left out; a network also by
gradients, and a sum of parts exactly. What is explained is a `Subject`: a student or a teacher,
with as much as it has to offer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import ModelError
from tutelage.models.contributions import Contributions, without, word_spans
from tutelage.students.classifier.answering import Classifier, Differentiable, Explained
from tutelage.teachers.teacher import ClassProbabilities, Deployable
from tutelage.types import Example

Method = Literal["exact", "gradients", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)
LEAST_PROBABILITY = 1e-12
"""What is less likely counts as this, so that it has a logarithm."""
TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class Subject:
    """A classifier whose answers are to be explained."""

    name: str
    """For messages."""
    labels: Sequence[str]
    """C class names."""
    probs: Callable[[Sequence[str]], NDArray[np.floating]]
    """Probabilities of texts, [N, C]."""
    exact: Callable[[str], Contributions] | None = None
    """Its sum; None where its answers are none."""
    integrated: Callable[[str], Contributions] | None = None
    """Its integrated gradients; None where there are none."""


def student_subject(name: str, student: Classifier) -> Subject:
    """A student, with the best that it has to offer."""
    return Subject(
        name,
        student.labels,
        student.probs,
        exact=student.by_word if isinstance(student, Explained) else None,
        integrated=student.integrated if isinstance(student, Differentiable) else None,
    )


def teacher_subject(teacher: ClassProbabilities) -> Subject:
    """A teacher as it answers new texts, with the best that it has to offer."""
    asked = teacher.for_new_texts() if isinstance(teacher, Deployable) else teacher
    return Subject(
        "teacher",
        asked.labels,
        lambda texts: asked.label([Example(text=text) for text in texts]),
        integrated=asked.integrated if isinstance(asked, Differentiable) else None,
    )


def method_for(subject: Subject, wanted: Method | None = None) -> Method:
    """How a subject is explained: as it is wanted, else exactly, else by gradients, else by
    occlusion.

    Args:
        subject: Who is explained.
        wanted: The method that somebody asked for; None: the best there is.

    Raises:
        ModelError: It cannot be explained so.
    """
    if wanted == "exact" and subject.exact is None:
        raise ModelError(
            f"{subject.name} is no sum of parts, so no explanation of it is exact; expected a "
            "student of kind: linear, or static with hidden: 0. Take --method "
            f"{method_for(subject)}"
        )
    if wanted == "gradients" and subject.integrated is None:
        raise ModelError(
            f"{subject.name} has no gradients to follow here; expected a network with float32 "
            f"weights and a fast tokenizer. Take --method {method_for(subject)}"
        )
    if wanted is not None:
        return wanted
    if subject.exact is not None:
        return "exact"
    has_captum = find_spec("captum") is not None
    return "gradients" if subject.integrated is not None and has_captum else "occlusion"


def explain(subject: Subject, texts: Sequence[str], *, method: Method) -> Iterator[Contributions]:
    """What each word of each text moved the scores by, in order, as it is found.

    Args:
        subject: Who is explained.
        texts: Texts with at least one word.
        method: One that `method_for` gave.

    Raises:
        MissingExtra: Gradients are asked for, and captum is not installed.
    """
    match method:
        case "exact":
            assert subject.exact is not None
            yield from map(subject.exact, texts)
        case "gradients":
            assert subject.integrated is not None
            yield from map(subject.integrated, texts)
        case "occlusion":
            for text in texts:
                yield _occluded(subject, text)


def _occluded(subject: Subject, text: str) -> Contributions:
    """What changes when each word alone is left out; the scores are log-probabilities less their
    mean over classes, and words do not add up to the whole.
    """
    spans = word_spans(text)
    variants = [text, "", *(without(text, spans, {index}) for index in range(len(spans)))]
    scores = centred_logprobs(ask(subject, variants))
    return Contributions(spans, scores[0] - scores[2:], scores[0], scores[1])


def ask(subject: Subject, texts: Sequence[str]) -> NDArray[np.float64]:
    """Probabilities of any number of texts, [N, C]."""
    parts = [
        np.asarray(subject.probs(texts[start : start + TEXTS_AT_ONCE]), dtype=np.float64)
        for start in range(0, len(texts), TEXTS_AT_ONCE)
    ]
    return np.concatenate(parts)


def centred_logprobs(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits up to what all classes share: log-probabilities less their mean, [N, C]."""
    logs = np.log(np.maximum(probs, LEAST_PROBABILITY))
    return logs - logs.mean(axis=1, keepdims=True)


def as_record(
    text: str, contributions: Contributions, labels: Sequence[str], method: Method
) -> dict[str, Any]:
    """One explained text as JSON values.

    Returns:
        `{"method", "words": [{"word", "start", "end", "logits": {label: logit}}], "logits",
        "baseline", "residual"}`, words in the order of the text, and `steps` of gradients. By
        label, words, baseline and residual sum to the logits.
    """

    def by_label(values: NDArray[np.float64]) -> dict[str, float]:
        return {label: float(value) for label, value in zip(labels, values, strict=True)}

    record: dict[str, Any] = {
        "method": method,
        "words": [
            {"word": text[begin:end], "start": begin, "end": end, "logits": by_label(values)}
            for (begin, end), values in zip(contributions.spans, contributions.words, strict=True)
        ],
        "logits": by_label(contributions.logits),
        "baseline": by_label(contributions.baseline),
        "residual": by_label(contributions.residual),
    }
    return record if contributions.steps is None else record | {"steps": contributions.steps}
