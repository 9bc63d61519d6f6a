"""From one value a position to the number that is minimised: the only place where a loss is
averaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def reduce(
    values: Float[Tensor, "*B"],
    weights: Float[Tensor, "*B"] | None = None,
    *,
    total: float | Tensor,
) -> Float[Tensor, ""]:
    """Sum of weighted values divided by the total of the whole optimizer step.

    The divisor is the *global* number of trained positions (over all accumulated batches and all
    processes), not that of this batch: then accumulation 1 x 8 and 4 x 2 give the same gradient,
    and short batches do not count double.

    Args:
        values: Nats per position.
        weights: Weight of each position, or a mask; 0 leaves it out, whatever its value. None
            counts every position once.
        total: Trained positions (or their weights) of the whole step, >= 0. 0 gives 0 with a
            gradient of 0.

    Returns:
        A scalar.
    """
    if weights is not None:
        # A position left out may hold inf or nan, and 0 * inf is not 0: it is cut out before and
        # not only multiplied.
        values = values.masked_fill(weights == 0, 0.0) * weights
    if isinstance(total, Tensor):
        return values.sum() / total.masked_fill(total == 0, 1.0)
    return values.sum() / (total or 1.0)
