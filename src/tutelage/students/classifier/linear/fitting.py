"""Weights of n-grams from soft targets: multinomial logistic regression, for one strength of the
penalty after the other, of which validation rows choose one.

The cost of a row and its gradient by the logits are those of `losses.Objective`, as for every
other student; L-BFGS does the rest. With forward KL the problem is convex, so that a fit has no
seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.students.classifier.linear.ngrams import NGrams
from tutelage.students.classifier.linear.spec import Penalty

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from tutelage.data.examples.collate import EncodedSet
    from tutelage.losses import Objective

MOST_ITERATIONS = 200
"""Of L-BFGS, for one strength."""
CORRECTIONS = 6
"""Pairs of vectors that L-BFGS keeps."""
PATIENCE = 1
"""Strengths in a row without a better validation loss after which no weaker one is tried."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What was fitted."""

    strength: float
    """Of the penalty."""
    iterations: int
    """Of L-BFGS until these weights, those for stronger penalties included."""
    train_loss: float
    """Mean cost of a row, without the penalty."""
    validation_loss: float
    """The same of held-out rows."""
    validation_accuracy: float | None
    """Share of the labelled ones answered right; None if none is labelled."""
    weights: NDArray[np.float64]
    """`[V, C]`, by id."""
    bias: NDArray[np.float64]
    """`[C]`."""


def features(ngrams: NGrams, rows: Sequence[Sequence[int]]) -> csr_matrix:
    """Texts as the rows of a sparse matrix [N, V]: how often each n-gram stands in a text, times
    its scale, over the root of the text's number of words.

    Args:
        ngrams: The vocabulary, with scale.
        rows: Ids as `NGrams.ids` gives them.
    """
    from scipy.sparse import csr_matrix

    assert ngrams.scale is not None
    lengths = np.array([len(ids) for ids in rows])
    ids = np.fromiter((one for row in rows for one in row), np.int64, count=int(lengths.sum()))
    ends = np.concatenate([[0], np.cumsum(lengths)])
    shape = (len(rows), len(ngrams))
    single = csr_matrix((ngrams.is_word[ids].astype(np.float64), ids, ends), shape=shape)
    words = np.asarray(single.sum(axis=1)).ravel()
    values = ngrams.scale[ids] / np.repeat(np.sqrt(np.maximum(words, 1)), lengths)
    held = csr_matrix((values, ids, ends), shape=shape)
    held.sum_duplicates()
    held.eliminate_zeros()
    return held


class SoftRows:
    """Rows with what they should be answered, as an objective sees them.

    Args:
        matrix: Features `[N, V]`.
        encoded: Labels and soft targets of the same rows.
        objective: The cost of a row.
    """

    def __init__(self, matrix: csr_matrix, encoded: EncodedSet, objective: Objective) -> None:
        import torch

        self.matrix, self.transposed = matrix, matrix.T.tocsr()
        self.num_ngrams = len(self.transposed.indptr) - 1
        self.labels = np.asarray(encoded.labels)
        self._targets = torch.from_numpy(self.labels)
        soft = encoded.teacher_logprobs
        self._soft = None if soft is None else torch.from_numpy(soft.astype(np.float64))
        self._objective = objective

    def cost(
        self, weights: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """The mean cost of a row, and its gradients by weights and bias."""
        import torch

        logits = torch.from_numpy(self.matrix @ weights + bias).requires_grad_()
        loss = self._objective(logits, self._soft, self._targets).sum() / max(1, len(logits))
        loss.backward()
        assert logits.grad is not None
        gradient = logits.grad.numpy()
        return float(loss.detach()), self.transposed @ gradient, gradient.sum(axis=0)

    def judge(
        self, weights: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> tuple[float, float | None]:
        """The mean cost of a row, and the accuracy on labelled ones."""
        loss, _, _ = self.cost(weights, bias)
        labelled = self.labels >= 0
        if not labelled.any():
            return loss, None
        answers = (self.matrix @ weights + bias).argmax(axis=1)
        return loss, float(np.mean((answers == self.labels)[labelled]))


def fit_path(
    train: SoftRows,
    validation: SoftRows,
    *,
    num_classes: int,
    penalty: Penalty,
    strengths: Sequence[float],
    record: Callable[[dict[str, Any]], None],
) -> tuple[Weights, int]:
    """Fit for each strength, from the strongest on, each from where the one before ended.

    Args:
        train: What is learned from.
        validation: What chooses.
        num_classes: C.
        penalty: `l2` adds half the strength times the sum of squares of all weights to the mean
            cost of a row, `l1` the strength times the sum of their magnitudes; the bias is free.
        strengths: At least one.
        record: Told of each fit.

    Returns:
        The weights with the best validation loss, and all iterations done.
    """
    weights = np.zeros((train.num_ngrams, num_classes))
    bias = np.zeros(num_classes)
    best: Weights | None = None
    iterations = worse = 0
    for strength in sorted(strengths, reverse=True):
        weights, bias, steps = fit(train, weights, bias, penalty=penalty, strength=strength)
        iterations += steps
        train_loss, _ = train.judge(weights, bias)
        loss, accuracy = validation.judge(weights, bias)
        record(
            {
                "step": iterations,
                "strength": strength,
                "train_loss": train_loss,
                "validation_loss": loss,
                "validation_accuracy": accuracy,
                "ngrams": int(np.any(weights, axis=1).sum()),
            }
        )
        if best is None or loss < best.validation_loss:
            worse = 0
            best = Weights(strength, iterations, train_loss, loss, accuracy, weights, bias)
        else:
            worse += 1
            if worse == PATIENCE:
                break
    assert best is not None
    return best, iterations


def fit(
    rows: SoftRows,
    weights: NDArray[np.float64],
    bias: NDArray[np.float64],
    *,
    penalty: Penalty,
    strength: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Weights and bias that cost least, penalty included, and the iterations that took.

    An L1 penalty has a corner at 0, where L-BFGS has no gradient; as a difference of two parts that
    are not negative it has none, and a weight of which both are at their bound is exactly 0.

    Args:
        rows: What is learned from.
        weights: Where to begin, `[V, C]`.
        bias: The same, `[C]`.
        penalty: See `fit_path`.
        strength: Of the penalty.
    """
    from scipy.optimize import Bounds, minimize

    shape, size = weights.shape, weights.size
    begin = [np.maximum(weights, 0), np.maximum(-weights, 0)] if penalty == "l1" else [weights]
    penalised = len(begin) * size

    def unpacked(flat: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        found = flat[:size] - flat[size:penalised] if penalty == "l1" else flat[:size]
        return found.reshape(shape), flat[penalised:]

    def value(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        cost, by_weights, by_bias = rows.cost(*unpacked(flat))
        slope = by_weights.ravel()
        if penalty == "l1":
            cost += strength * float(flat[:penalised].sum())
            slope = np.concatenate([slope + strength, strength - slope])
        else:
            cost += 0.5 * strength * float(flat[:size] @ flat[:size])
            slope = slope + strength * flat[:size]
        return cost, np.concatenate([slope, by_bias])

    least = np.full(penalised + bias.size, -np.inf)
    if penalty == "l1":
        least[:penalised] = 0.0
    done = minimize(
        value,
        np.concatenate([*(part.ravel() for part in begin), bias]),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(least, np.inf) if penalty == "l1" else None,  # type: ignore[arg-type]
        options={
            "maxiter": MOST_ITERATIONS,
            "maxcor": CORRECTIONS,
            "ftol": 1e-8,
            "gtol": 1e-6,
        },
    )
    found, bias = unpacked(done.x)
    return found.copy(), bias.copy(), int(done.nit)
