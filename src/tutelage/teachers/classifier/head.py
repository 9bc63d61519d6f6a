"""A linear classifier on cached features: chosen by cross-validation, calibrated on rows it had not
seen.

In: features [N, D] and labels. Out: a `LinearHeads`, one head fitted on all rows and one per fold.
The fold heads exist so that the soft target of a row can come from a head that never saw the row's
label: a head asked about its own training rows answers with their labels, which teaches a student
nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from tutelage.errors import ModelError, ShapeMismatch
from tutelage.teachers.prompted.calibration import fit_temperature
from tutelage.types import SILENT, Progress

STRENGTHS = (1e4, 3e3, 1e3, 3e2, 1e2, 3e1, 1e1, 1.0)
"""L2 penalties tried, strongest first, so that each fit starts from a simpler one."""
_FOLDS_TO_CHOOSE = 5
_BLOCK_COLUMNS, _BLOCK_ROWS = 64, 8192


@dataclass(frozen=True)
class LinearHeads:
    """Multinomial logistic regressions on raw features; head 0 saw all rows, head 1 + f all but
    fold f.
    """

    weight: np.ndarray
    """float64 [1 + folds, C, D], standardisation folded in."""
    bias: np.ndarray
    """float64 [1 + folds, C]."""
    temperature: float
    """Log-probabilities are divided by it; 1.0 if not calibrated."""
    regularisation: float
    """The L2 penalty used."""
    held_out_logprobs: np.ndarray
    """float64 [N, C], calibrated: each training row by the head that did not see it. Empty without
    folds."""
    fold_of_row: np.ndarray
    """int64 [N]: each training row's fold; empty without folds."""


def linear_logprobs(
    features: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, heads: np.ndarray
) -> np.ndarray:
    """Class log-probabilities before any temperature, float64 [N, C].

    Args:
        features: Raw features.
        weight: Linear heads.
        bias: Their biases.
        heads: Which head answers each row.

    Raises:
        ShapeMismatch: Features of another width than the heads were fitted on.
    """
    if features.shape[1] != weight.shape[2] and len(features):
        raise ShapeMismatch(
            f"features of width {features.shape[1]} given; the head was fitted on {weight.shape[2]}"
        )
    logits_NC = np.zeros((len(features), bias.shape[1]))
    for head in np.unique(heads):
        rows = heads == head
        logits_NC[rows] = features[rows].astype(np.float64) @ weight[head].T + bias[head]
    return log_softmax(logits_NC, axis=1)


def fit_heads(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    groups: Sequence[Hashable],
    folds: int = 5,
    regularisation: float | None = None,
    calibrate: bool = True,
    seed: int = 0,
    progress: Progress = SILENT,
) -> LinearHeads:
    """Fit the head on all rows and on all but each fold.

    Features are standardised with the mean and deviation of the rows a head is fitted on. Without
    `regularisation`, the penalty with the lowest held-out negative log-likelihood is taken; the
    same folds serve cross-fitting, so the fold heads cost nothing more.

    Args:
        features: float32 features.
        labels: Class indices.
        num_classes: C.
        groups: Per row; rows of one group share a fold.
        folds: Fold heads to keep; 0 keeps none.
        regularisation: L2 penalty; None chooses one of `STRENGTHS`.
        calibrate: Fit a temperature on the held-out log-probabilities.
        seed: For the folds.
        progress: Where a bar goes.

    Returns:
        The heads.

    Raises:
        ModelError: A class has no row, or too few groups to be held out.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if (counts == 0).any():
        raise ModelError(
            f"class {int(np.argmin(counts))} has no labelled row, so no head can be fitted; label "
            "some rows of it"
        )
    need_folds = folds > 0 or regularisation is None or calibrate
    fold_of_row = (
        assign_folds(labels, groups, folds or _FOLDS_TO_CHOOSE, seed)
        if need_folds
        else np.zeros(0, np.int64)
    )
    num_folds = int(fold_of_row.max()) + 1 if need_folds else 0
    strengths = STRENGTHS if regularisation is None else (regularisation,)
    held_out = np.zeros((len(strengths), len(labels), num_classes))
    fold_heads: list[list[tuple[np.ndarray, np.ndarray]]] = []
    with progress.bar("Fitting the teacher's head", total=num_folds + 1, unit="fits") as advance:
        for fold in range(num_folds):
            out = fold_of_row == fold
            path = _fit_path(features, labels, np.flatnonzero(~out), strengths, num_classes)
            fold_heads.append(path)
            for index, (weight_CD, bias_C) in enumerate(path):
                held_out[index, out] = log_softmax(
                    features[out].astype(np.float64) @ weight_CD.T + bias_C, axis=1
                )
            advance(1)
        likelihood = (
            held_out[:, np.arange(len(labels)), labels].mean(axis=1) if num_folds else np.zeros(1)
        )
        best = int(likelihood.argmax())
        everywhere = np.arange(len(labels))
        weight_CD, bias_C = _fit_path(
            features, labels, everywhere, strengths[: best + 1], num_classes
        )[-1]
        advance(1)
    temperature = fit_temperature(held_out[best], labels) if calibrate else 1.0
    chosen = [(weight_CD, bias_C)] + ([path[best] for path in fold_heads] if folds else [])
    calibrated = (
        log_softmax(held_out[best] / temperature, axis=1)
        if num_folds
        else np.zeros((0, num_classes))
    )
    return LinearHeads(
        weight=np.stack([one for one, _ in chosen]),
        bias=np.stack([one for _, one in chosen]),
        temperature=temperature,
        regularisation=float(strengths[best]),
        held_out_logprobs=calibrated,
        fold_of_row=fold_of_row if folds else np.zeros(0, np.int64),
    )


def _standardised(
    features: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some rows of the features with mean 0 and deviation 1, float32 `[N, D]`, and both, float64
    `[D]`.

    Block by block: features may fill half of the memory, and float64 copies of them would not fit.
    """
    width = features.shape[1]
    mean_D, deviation_D = np.zeros(width), np.zeros(width)
    for start in range(0, width, _BLOCK_COLUMNS):
        block = np.ascontiguousarray(features[rows, start : start + _BLOCK_COLUMNS])
        mean_D[start : start + _BLOCK_COLUMNS] = block.mean(axis=0, dtype=np.float64)
        deviation_D[start : start + _BLOCK_COLUMNS] = block.std(axis=0, dtype=np.float64)
    deviation_D = np.where(deviation_D < 1e-6, 1.0, deviation_D)
    standard_ND = np.empty((len(rows), width), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS]
        standard_ND[start : start + _BLOCK_ROWS] = (features[block] - mean_D) / deviation_D
    return standard_ND, mean_D, deviation_D


def _fit_path(
    features: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    strengths: Sequence[float],
    num_classes: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Heads on raw features of some rows for each penalty in turn, each starting from the one
    before.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    standard_ND, mean_D, deviation_D = _standardised(features, rows)
    model = LogisticRegression(max_iter=300, tol=1e-4, warm_start=True)
    heads = []
    for strength in strengths:
        model.set_params(C=1.0 / strength)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # 300 steps from a warm start are near enough
            model.fit(standard_ND, labels[rows])
        weight_CD, bias_C = (
            np.asarray(model.coef_, np.float64),
            np.asarray(model.intercept_, np.float64),
        )
        if (
            len(model.classes_) == 2
        ):  # scikit-learn keeps one row for two classes: half of it each way is the same head
            weight_CD, bias_C = (
                np.concatenate([-weight_CD, weight_CD]) / 2,
                np.concatenate([-bias_C, bias_C]) / 2,
            )
        assert len(weight_CD) == num_classes
        raw_CD = weight_CD / deviation_D
        heads.append((raw_CD, bias_C - raw_CD @ mean_D))
    return heads


def assign_folds(
    labels: np.ndarray, groups: Sequence[Hashable], folds: int, seed: int
) -> np.ndarray:
    """Fold of each row, int64 [N]: stratified by class, groups whole, fewer folds where a class has
    fewer groups.

    Args:
        labels: Class indices.
        groups: Per row; rows of one group share a fold.
        folds: At most this many.
        seed: Any integer.

    Raises:
        ModelError: A class has its rows in one group, or wholly in one fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    numbers: dict[Hashable, int] = {}
    group_N = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    fewest = min(len(np.unique(group_N[labels == label])) for label in np.unique(labels))
    folds = min(folds, fewest)
    if folds < 2:
        label = next(int(c) for c in np.unique(labels) if len(np.unique(group_N[labels == c])) < 2)
        raise ModelError(
            f"class {label} has labelled rows in one group only, so none can be held out; label "
            "more rows of it, or "
            "use cross_fit: 0, calibrate: false and a regularisation"
        )
    fold_N = np.zeros(len(labels), dtype=np.int64)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed % 2**32)
    for fold, (_, out) in enumerate(splitter.split(np.zeros(len(labels)), labels, group_N)):
        fold_N[out] = fold
    for fold in range(folds):
        if len(np.unique(labels[fold_N != fold])) < len(np.unique(labels)):
            raise ModelError(
                "a class lies wholly in one fold, since its groups are few and large; give more "
                "groups or cross_fit: 0"
            )
    return fold_N
