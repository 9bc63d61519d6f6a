"""Whether a text is unlike those a student was trained on: its features in, a distance out.

The gate is made by `tutelage certify` from training rows, its threshold from validation rows, and
lies in `novelty.npz` beside the certificate. Only numpy is needed.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 1024
"""Rows whose distances are computed together, so that memory stays small."""


@dataclass(frozen=True, slots=True, eq=False)
class Novelty:
    """The mean distance to the nearest reference rows, all of length 1.

    Source: Sun, Ming, Zhu, Li 2022 (arXiv:2204.06507): distances to neighbours between normalised
        features. They take the k-th; the mean of k varies less.
    """

    reference: NDArray[np.float32]
    """[R, D] features of training rows, each of length 1."""
    neighbours: int
    """k, how many of the nearest count; at most R."""
    threshold: float
    """A text farther than this is new."""

    def distances(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """How far each text lies from what is known: 1 less its mean cosine with the nearest.

        Args:
            features: [N, D], as `Answers.features`.

        Returns:
            [N], from 0 to 2; infinite where a feature is no number.

        Raises:
            ValueError: They have another width than the reference.
        """
        if features.ndim != 2 or features.shape[1] != self.reference.shape[1]:
            raise ValueError(
                f"features of shape {features.shape} were given, and the gate knows vectors of "
                f"{self.reference.shape[1]}: use the certificate of this very student"
            )
        found = np.empty(len(features), dtype=np.float32)
        for start in range(0, len(features), AT_ONCE):
            alike = unit_length(features[start : start + AT_ONCE]) @ self.reference.T
            kept = -np.partition(-alike, self.neighbours - 1, axis=1)[:, : self.neighbours]
            found[start : start + AT_ONCE] = 1 - kept.mean(axis=1)
        return np.where(np.isfinite(found), found, np.float32(np.inf))

    def novel(self, features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether each text is new, [N], of features [N, D]."""
        return self.distances(features) > self.threshold


def unit_length(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows of length 1, [N, D] float32; rows of zeros stay."""
    rows = np.asarray(features, dtype=np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))


def novelty_bytes(gate: Novelty) -> bytes:
    """A gate as `novelty.npz` holds it."""
    file = io.BytesIO()
    np.savez(
        file,
        reference=gate.reference.astype(np.float32),
        neighbours=np.int64(gate.neighbours),
        threshold=np.float64(gate.threshold),
    )
    return file.getvalue()


def read_novelty(content: bytes) -> Novelty:
    """A gate from what `novelty_bytes` gave.

    Raises:
        ValueError: It holds no gate.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(one.file_size for one in packed.infolist()) > len(content):
                raise ValueError("it unfolds to more than its size")
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            reference = np.asarray(found["reference"], dtype=np.float32)
            neighbours, threshold = int(found["neighbours"]), float(found["threshold"])
    except Exception as error:  # of zip, of its methods and of arrays, with no class in common
        said = f"{type(error).__name__}: {error}"[:300]
        raise ValueError(f"no novelty gate ({said})") from None
    if reference.ndim != 2 or not 1 <= neighbours <= len(reference) or np.isnan(threshold):
        raise ValueError(f"no novelty gate (references {reference.shape}, {neighbours} neighbours)")
    return Novelty(reference, neighbours, threshold)
