"""Which answers of a student may stand alone: `certificate.json` and, beside it, `novelty.npz`.

`tutelage certify` finds thresholds and writes both; here they are only applied, with numpy. A
certificate holds for one student, named by the version of its content, and is refused where any of
its bytes is not what was written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage_runtime.novelty import Novelty, read_novelty

FORMAT = 1
CERTIFICATE = "certificate.json"
NOVELTY = "novelty.npz"
EVERY_CLASS = "*"
"""The key of a threshold that is the same for all classes."""
ALWAYS = -1.0
"""A threshold that every score is above."""
_LARGEST = 1 << 26
_LEAST = 1e-7
_MOST_SAID = 300


class CertificateError(Exception):
    """A certificate is none, was changed, or is of another student."""


@dataclass(frozen=True, slots=True)
class Score:
    """How sure an answer is, from the student's probabilities.

    Without weights it is the probability of the answer. With weights it is the probability, by a
    logistic model fitted on validation rows, that the student agrees.
    """

    weights: tuple[float, ...] = ()
    """Of `evidence`, an intercept last; none: the probability itself."""

    def of(self, probs: NDArray[np.floating]) -> NDArray[np.float64]:
        """Scores [N] from 0 to 1 of probabilities [N, C]; nan where these are no numbers."""
        if not self.weights:
            return np.asarray(probs, dtype=np.float64).max(axis=1)
        *weights, intercept = self.weights
        total = evidence(probs) @ np.array(weights) + intercept
        return 1 / (1 + np.exp(-np.clip(total, -60, 60)))


def evidence(probs: NDArray[np.floating]) -> NDArray[np.float64]:
    """What tells a sure answer, [N, 3]: the log-odds of the likeliest class, its distance in nats
    to the next, and the entropy in nats.

    Args:
        probs: [N, C], C at least 2.
    """
    sound = np.clip(np.asarray(probs, dtype=np.float64), _LEAST, 1 - _LEAST)
    highest = np.partition(sound, -2, axis=1)[:, -2:]
    next_best, best = highest[:, 0], highest[:, 1]
    entropy = -(sound * np.log(sound)).sum(axis=1)
    return np.stack([np.log(best / (1 - best)), np.log(best / next_best), entropy], axis=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was promised of a student, and how it is kept."""

    student: str
    """Version of the student, as `Bundle.version`."""
    labels: tuple[str, ...]
    """C class names in the order of the probabilities."""
    against: Literal["teacher", "labels"]
    """With whom the student agrees."""
    over: Literal["all", "answered"]
    """Of what the promised share is: of all requests, or of those that the student answers."""
    disagreement: float
    """The largest share of disagreements that is promised."""
    confidence: float
    """With what probability, over draws of the calibration rows, the promise is kept."""
    rows: int
    """Calibration rows."""
    thresholds: Mapping[str, float | None]
    """By label, or for every class under "*"; None: never answered. A score must be above it."""
    coverage: float
    """Share of the calibration rows that the student would answer."""
    disagreed: int
    """Calibration rows that it would answer and disagree on."""
    bound: float
    """Upper bound of the share that is promised, at `confidence`."""
    score: Score = field(default_factory=Score)
    """How sure an answer is."""
    novelty: Novelty | None = None
    """The gate: what it finds new is not answered; None: there is none."""
    audit: Mapping[str, Any] = field(default_factory=dict)
    """What an audit of it tests, see `audit.Audit`."""
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """All that the file says."""

    def sure(
        self, probs: NDArray[np.floating], features: NDArray[np.floating] | None = None
    ) -> NDArray[np.bool_]:
        """Which answers may stand alone, [N].

        Args:
            probs: [N, C] of the student.
            features: [N, D] of the same answers; None only where the certificate has no gate.

        Raises:
            ValueError: The shapes are not those of this student, or features are missing.
        """
        if probs.ndim != 2 or probs.shape[1] != len(self.labels):
            raise ValueError(
                f"probabilities of shape {probs.shape} were given, and this certificate is of "
                f"{len(self.labels)} labels: use the certificate of this very student"
            )
        if not len(probs):
            return np.zeros(0, dtype=bool)
        sure = self.score.of(probs) > self._limits()[probs.argmax(axis=1)]
        if self.novelty is None:
            return sure
        if features is None:
            raise ValueError("this certificate has a novelty gate: give the features too")
        return sure & ~self.novelty.novel(features)

    def _limits(self) -> NDArray[np.float64]:
        """The threshold of each class, [C]; infinite where it is never answered."""
        common = self.thresholds.get(EVERY_CLASS)
        found = [self.thresholds.get(label, common) for label in self.labels]
        return np.array([math.inf if limit is None else limit for limit in found])


def certificate_sum(values: Mapping[str, Any]) -> str:
    """SHA-256 of all that a certificate says but its own sum."""
    told = {key: value for key, value in values.items() if key != "sum"}
    text = json.dumps(told, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_certificate(
    path: Path | str, *, student: str | None = None, labels: Sequence[str] | None = None
) -> Certificate:
    """A certificate from its folder, or from certificate.json in it.

    Args:
        path: As `tutelage certify` wrote it.
        student: Version of the student that is to be answered with; None: whichever.
        labels: Its labels in order; None: whichever.

    Raises:
        CertificateError: It is none, not what was written, or of another student.
    """
    path = Path(path)
    path = path / CERTIFICATE if path.is_dir() else path
    advice = "certify the student again: tutelage certify RUN"
    values = json_of(path, advice)
    if (found := values.get("format")) != FORMAT:
        raise CertificateError(
            f"{path} is of format {repr(found)[:60]}, expected {FORMAT}: {advice}"
        )
    try:
        is_whole = values["sum"] == certificate_sum(values)
    except (KeyError, ValueError, RecursionError):
        is_whole = False
    if not is_whole:
        raise CertificateError(f"{path} is not what was written (its sum differs): {advice}")
    try:
        certificate = _certificate(values, _gate(path.parent, values["novelty"], advice))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        said = f"{type(error).__name__}: {error}"[:_MOST_SAID]
        raise CertificateError(f"{path} cannot be read ({said}): {advice}") from None
    if student is not None and certificate.student != student:
        raise CertificateError(
            f"{path} is of the student {certificate.student}, and this one is {student}: {advice}"
        )
    if labels is not None and certificate.labels != tuple(labels):
        raise CertificateError(f"{path} is of other labels than this student's: {advice}")
    return certificate


def json_of(path: Path, advice: str) -> dict[str, Any]:
    """The object in a certificate.json.

    Raises:
        CertificateError: There is none.
    """
    if not path.is_file():
        raise CertificateError(f"there is no {path}: {advice}")
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        values = json.loads(path.read_text("utf-8"))
        if not isinstance(values, dict):
            raise TypeError("no object")
    except (ValueError, TypeError, RecursionError) as error:
        raise CertificateError(f"{path} is no certificate ({error}): {advice}") from None
    return values


def _gate(folder: Path, told: Mapping[str, Any] | None, advice: str) -> Novelty | None:
    if told is None:
        return None
    path = folder / NOVELTY
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != told["sha256"]:
        raise CertificateError(f"{path} is not what was written, or is not there: {advice}")
    return read_novelty(content)


def _certificate(values: Mapping[str, Any], gate: Novelty | None) -> Certificate:
    if values["against"] not in ("teacher", "labels") or values["over"] not in ("all", "answered"):
        raise ValueError(f"against {values['against']!r} over {values['over']!r}")
    thresholds = {
        str(label): None if limit is None else float(limit)
        for label, limit in values["thresholds"].items()
    }
    weights = tuple(float(weight) for weight in values["score"]["weights"])
    if len(weights) not in (0, 4) or not all(map(math.isfinite, weights)):
        raise ValueError(f"{len(weights)} weights of the score; expected none or 4 numbers")
    if len(values["labels"]) < 2:
        raise ValueError(f"{len(values['labels'])} labels; expected two or more")
    audit, disagreement = dict(values["audit"]), float(values["disagreement"])
    shares = float(audit.get("share", 0)), float(audit.get("alpha", 0.01))
    if not (0 < disagreement < 1 and 0 <= shares[0] <= 1 and 0 < shares[1] < 1):
        raise ValueError(f"disagreement {disagreement}, share and alpha of audits {shares}")
    return Certificate(
        student=str(values["student"]),
        labels=tuple(map(str, values["labels"])),
        against=values["against"],
        over=values["over"],
        disagreement=disagreement,
        confidence=float(values["confidence"]),
        rows=int(values["rows"]),
        thresholds=thresholds,
        coverage=float(values["coverage"]),
        disagreed=int(values["disagreed"]),
        bound=float(values["bound"]),
        score=Score(weights),
        novelty=gate,
        audit=audit,
        values=dict(values),
    )
