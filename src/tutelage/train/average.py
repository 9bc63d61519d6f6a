"""An exponential moving average of a model's weights, which is what is then validated and saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """The average of the weights over the last steps; without a decay it does nothing.

    After n updates the decay is the smaller of `decay` and (1 + n) / (10 + n), so that the random
    start is forgotten soon and short runs are averaged too.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        """Start from the weights as they are; a decay of None switches it off."""
        self._decay = decay
        self._updates = 0
        weights = (
            {}
            if decay is None
            else {n: p for n, p in model.named_parameters() if p.is_floating_point()}
        )
        self._names = list(weights)
        # Parameters, not their storage: a recurrent network on a GPU may move its weights to other
        # memory.
        self._weights = list(weights.values())
        self._averages = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the weights as they are."""
        if self._decay is None:
            return
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(
            self._averages, [weight.detach() for weight in self._weights], 1 - decay
        )

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Inside, the model holds the average; afterwards its own weights again."""
        own = [weight.detach().clone() for weight in self._weights]
        self._copy(self._averages)
        try:
            yield
        finally:
            self._copy(own)

    def tensors(self) -> dict[str, Tensor]:
        """The average by the names of the weights, and the number of updates."""
        if self._decay is None:
            return {}
        return {
            **dict(zip(self._names, self._averages, strict=True)),
            "updates": torch.tensor(self._updates),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        if self._decay is None:
            return
        self._updates = int(tensors["updates"])
        for name, average in zip(self._names, self._averages, strict=True):
            average.copy_(tensors[name])

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.copy_(value)
