"""Principal components: vectors in, the same vectors in fewer dimensions out."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.models.computing import one_thread


def principal_components(
    vectors: Tensor,
    width: int,
    *,
    standard_deviation: float,
    power: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Vectors centred and projected onto their first `width` principal components, in float64
    inside.

    Args:
        vectors: [N, H], finite, `width` <= H.
        width: Components to keep.
        standard_deviation: Of all entries of the result.
        power: Each component is divided by its own standard deviation to this power, in 0 to 1.
        weights: How much each vector counts, [N], > 0; None counts all alike.

    Returns:
        float32 [N, width]; each component's largest entry by magnitude is positive. Zero where all
        vectors are equal.

    Raises:
        ValueError: `power` is not in 0 to 1.

    Example:
        >>> principal_components(torch.tensor([[0.0, 1.0], [0.0, 3.0]]), 1,
        standard_deviation=1.0).flatten() tensor([ 1., -1.])
    """
    if not 0 <= power <= 1:
        raise ValueError(
            f"power is {power}: give 0 (components keep their spread) to 1 (all the same)"
        )
    with one_thread():  # sums in one order: a killed run may go on with other threads
        return _projected(vectors, width, standard_deviation, power, weights)


def _projected(
    vectors: Tensor, width: int, standard_deviation: float, power: float, weights: Tensor | None
) -> Tensor:
    shares = torch.ones(len(vectors)).double() if weights is None else weights.double()
    shares = (shares / shares.sum())[:, None]
    centred = vectors.double() - (shares * vectors.double()).sum(0)
    variances, directions = torch.linalg.eigh((shares * centred).T @ centred)
    variances, directions = variances.flip(0)[:width], directions.flip(1)[:, :width]
    floor = variances[0].clamp_min(torch.finfo(torch.float64).tiny) * 1e-9
    projected = (centred @ directions) * torch.where(variances > floor, variances, floor) ** (
        -power / 2
    )
    largest = projected.gather(0, projected.abs().argmax(0, keepdim=True))
    projected = torch.where(largest < 0, -projected, projected)
    spread = (
        (shares * projected.square())
        .sum(0)
        .mean()
        .sqrt()
        .clamp_min(torch.finfo(torch.float64).tiny)
    )
    return (projected / spread * standard_deviation).float()
