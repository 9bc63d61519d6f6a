"""Corrections of a prompted teacher's label probabilities, learnt from content-free texts, a batch,
or labelled rows.

In: class log-probabilities. Out: a `Calibration`, which rescales and shifts them and normalises
again, in float64. A large model's answer depends on the prompt as well as on the text: it may
favour a label whatever is asked. Each method estimates that preference differently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

from tutelage.errors import DataError, ModelError, ShapeMismatch
from tutelage.runs import atomic_write_text

Kind = Literal["none", "contextual", "batch", "fitted"]
CONTENT_FREE = ("N/A", "[MASK]", "")
"""Texts without content, as in Zhao et al. 2021."""
_MOST_LOG_TEMPERATURE = 5.0
_BIAS_PENALTY = 1e-2


@dataclass(frozen=True)
class Calibration:
    """log p' = log_softmax(log p / temperature + bias)."""

    kind: Kind
    """How it was estimated."""
    bias: tuple[float, ...]
    """Added per class, in nats; sums to 0."""
    temperature: float = 1.0
    """Log-probabilities are divided by this first; above 1 softens. Not the loss temperature."""
    rows: int = 0
    """How many rows it was estimated from."""

    def apply(self, logprobs: np.ndarray) -> np.ndarray:
        """Calibrated log-probabilities, float64 [N, C], each row normalised.

        Raises:
            ShapeMismatch: Another number of classes than it was estimated for.
        """
        if logprobs.shape[-1] != len(self.bias):
            raise ShapeMismatch(
                f"{logprobs.shape[-1]} classes given, but this calibration is for {len(self.bias)}"
            )
        return log_softmax(
            np.asarray(logprobs, dtype=np.float64) / self.temperature + np.asarray(self.bias),
            axis=-1,
        )

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically; numbers keep every bit."""
        fields = {
            "kind": self.kind,
            "bias": list(self.bias),
            "temperature": self.temperature,
            "rows": self.rows,
        }
        atomic_write_text(path, json.dumps(fields, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            ModelError: It is not there, or damaged.
        """
        try:
            fields: Mapping[str, Any] = json.loads(path.read_bytes())
            bias = tuple(float(value) for value in fields["bias"])
            return cls(fields["kind"], bias, float(fields["temperature"]), int(fields["rows"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelError(
                f"{path} cannot be read ({type(error).__name__}: {str(error)[:100]}): calibrate "
                "the teacher again"
            ) from error


def uncalibrated(num_classes: int) -> Calibration:
    """The calibration that changes nothing."""
    return Calibration("none", (0.0,) * num_classes)


def contextual(content_free_logprobs: np.ndarray) -> Calibration:
    """Divide by what the prompt prefers when it is shown texts without content.

    Args:
        content_free_logprobs: Class log-probabilities of M content-free texts, [M, C].

    Returns:
        The calibration that makes their mean probabilities uniform.

    Source: Zhao et al. 2021 (arXiv:2102.09690), section 4, with the diagonal W = diag(p_cf)^-1 and
        b = 0.
    """
    return Calibration(
        "contextual", _against_mean(content_free_logprobs), rows=len(content_free_logprobs)
    )


def batch(logprobs: np.ndarray) -> Calibration:
    """Divide by the mean probability of each class over a batch of texts; no labels are needed.

    It assumes that the classes are about equally frequent in the batch: where they are not, it
    moves the teacher towards a uniform prior, so give it a balanced sample, or use `fitted`.

    Args:
        logprobs: Class log-probabilities of N texts, [N, C].

    Returns:
        The calibration.

    Raises:
        DataError: No rows.

    Source: Zhou et al. 2023 (arXiv:2309.17249), equations 3 and 4. We estimate once, from a fixed
        sample, rather than per batch, so that a text's soft targets do not depend on its
        neighbours.
    """
    if not len(logprobs):
        raise DataError(
            "batch calibration was given no texts; give it a sample of the texts to be labelled, "
            "100 or more"
        )
    return Calibration("batch", _against_mean(logprobs), rows=len(logprobs))


def fitted(logprobs: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit one temperature and a bias per class to labelled rows, by maximum likelihood.

    A small penalty on the bias keeps it finite where a class is rare or absent.

    Args:
        logprobs: Class log-probabilities, [N, C].
        labels: Class indices, [N].

    Returns:
        The calibration with the lowest mean negative log-likelihood.

    Raises:
        DataError: No rows.
    """
    if not len(labels):
        raise DataError(
            "fitted calibration was given no labelled rows; label some (50 or more), or use "
            "calibration: batch"
        )
    logprobs = np.asarray(logprobs, dtype=np.float64)
    num_classes = logprobs.shape[1]
    rows = np.arange(len(labels))

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        inverse, bias = np.exp(-parameters[0]), parameters[1:]
        calibrated = log_softmax(logprobs * inverse + bias, axis=1)
        residual = np.exp(calibrated)
        residual[rows, labels] -= 1.0
        penalty = _BIAS_PENALTY / len(labels)
        value = -calibrated[rows, labels].mean() + penalty * (bias @ bias)
        slope = -(residual * logprobs).sum(1).mean() * inverse
        return float(value), np.concatenate([[slope], residual.mean(0) + 2 * penalty * bias])

    bounds = [(-_MOST_LOG_TEMPERATURE, _MOST_LOG_TEMPERATURE)] + [(None, None)] * num_classes
    solution = minimize(
        objective, np.zeros(num_classes + 1), jac=True, method="L-BFGS-B", bounds=bounds
    )
    bias = solution.x[1:] - solution.x[1:].mean()
    return Calibration("fitted", tuple(map(float, bias)), float(np.exp(solution.x[0])), len(labels))


def fit_temperature(logprobs: np.ndarray, labels: np.ndarray) -> float:
    """The one temperature that minimises the negative log-likelihood of labelled rows; 1.0 if there
    are none.

    Args:
        logprobs: Class log-probabilities of rows that the classifier was not fitted on, [N, C].
        labels: Class indices, [N].

    Returns:
        Temperature, > 0; above 1 where the classifier is too sure of itself.

    Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2.
    """
    if not len(labels):
        return 1.0
    logprobs = np.asarray(logprobs, dtype=np.float64)
    rows = np.arange(len(labels))

    def objective(log_temperature: np.ndarray) -> tuple[float, np.ndarray]:
        inverse = np.exp(-log_temperature[0])
        calibrated = log_softmax(logprobs * inverse, axis=1)
        expected = (np.exp(calibrated) * logprobs).sum(1)
        return float(-calibrated[rows, labels].mean()), np.array(
            [(logprobs[rows, labels] - expected).mean() * inverse]
        )

    bounds = [(-_MOST_LOG_TEMPERATURE, _MOST_LOG_TEMPERATURE)]
    solution = minimize(objective, np.zeros(1), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(np.exp(solution.x[0]))


def _against_mean(logprobs: np.ndarray) -> tuple[float, ...]:
    """Minus the log of the mean probability of each class, centred."""
    logprobs = log_softmax(np.asarray(logprobs, dtype=np.float64), axis=1)
    bias = -(logsumexp(logprobs, axis=0) - np.log(len(logprobs)))
    return tuple(map(float, bias - bias.mean()))
