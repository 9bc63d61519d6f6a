"""Everything that a killed run needs in order to go on bit for bit, and its way into a checkpoint
and back.

In: model, optimizer, moving average. Out: named tensors and JSON values, and the identity that
tells whether a checkpoint belongs to the run at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from math import inf, isfinite, nan
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.runs import fingerprint
from tutelage.train.optimizer import optimizer_tensors, restore_optimizer


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
            [local(average) for average in self._averages],
            [local(weight.detach()) for weight in self._weights],
            1 - decay,
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


@dataclass
class Counters:
    """The numbers of a run so far."""

    step: int = 0
    """Optimizer steps done."""
    rows: int = 0
    """Rows (or trained tokens) seen since the last record."""
    best_step: int = 0
    """Steps after which validation was best."""
    best_validation_loss: float = inf
    """The lowest validation loss so far."""
    epochs_without_better: int = 0
    """Validations since then."""
    stopped: bool = False
    """Patience has run out."""
    first_loss: float = 0.0
    """Loss of the first step, where it was looked at."""
    seconds: float = 0.0
    """Wall time of the work so far, that of calls which were interrupted up to their last
    checkpoint."""


@dataclass
class TrainingState:
    """A model in training with all that moves along with it.

    `model` is the bare one; `accelerator` says which process this is. `best` holds the weights that
    validated best, the first ones before any validation.
    """

    model: nn.Module
    optimizer: Any
    average: MovingAverage
    accelerator: Any
    steps_per_epoch: int
    counters: Counters = field(default_factory=Counters)
    best: dict[str, Tensor] = field(default_factory=dict)
    # Summed over the batches of this process since the last record; a 0 until the first of them.
    _costs: Tensor = field(init=False)
    # Summed since the last look: not finite as soon as one of them was not.
    _norms: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Start with nothing seen."""
        self._costs = torch.zeros((), device=self.accelerator.device)
        self._norms = torch.zeros((), device=self.accelerator.device)
        self.keep_as_best()

    @property
    def epochs_done(self) -> float:
        """Epochs, the one at hand in part."""
        return self.counters.step / self.steps_per_epoch

    def add_costs(self, sums: Tensor) -> None:
        """Add what a batch cost, `[S]`; nothing waits for the values."""
        self._costs = self._costs + sums.float()

    def add_step(self, *, rows: int, gradient_norm: Tensor | None) -> None:
        """Note that the gradient of a step of so many rows is there."""
        if gradient_norm is not None:
            self._norms += gradient_norm
        self.counters.rows += rows

    def step_done(self) -> None:
        """Note an optimizer step; the average follows the weights."""
        self.average.update()
        self.counters.step += 1

    def costs(self) -> list[float]:
        """The sums since the last record, over all processes; nan if a gradient was not finite."""
        costs = self._costs
        if self.accelerator.num_processes > 1:
            costs = self.accelerator.reduce(costs, reduction="sum")
            self._costs = costs if self.accelerator.is_main_process else torch.zeros_like(costs)
        finite = isfinite(float(self._norms))
        self._norms.zero_()
        return [value if finite else nan for value in costs.tolist()]

    def forget_costs(self) -> None:
        """Start the next sums."""
        self._costs = torch.zeros((), device=self.accelerator.device)
        self.counters.rows = 0

    def judge(self, validation_loss: float, *, patience: int | None) -> None:
        """Keep the weights that the model holds now if none validated better before, else lose
        patience.
        """
        counters = self.counters
        if validation_loss < counters.best_validation_loss:
            counters.best_step, counters.best_validation_loss = counters.step, validation_loss
            counters.epochs_without_better = 0
            self.keep_as_best()
        else:
            counters.epochs_without_better += 1
        counters.stopped = patience is not None and counters.epochs_without_better >= patience

    def keep_as_best(self) -> None:
        """Remember the weights that the model holds now."""
        self.best = {name: value.clone() for name, value in self.model.state_dict().items()}

    def tensors(self, random_states: Tensor) -> dict[str, Tensor]:
        """Everything that is a tensor, by name.

        Args:
            random_states: One row for each process, from `random_state`.
        """
        return {
            **{f"model.{name}": value for name, value in self.model.state_dict().items()},
            **{
                f"optimizer.{name}": value
                for name, value in optimizer_tensors(self.optimizer, self.model).items()
            },
            **{f"average.{name}": value for name, value in self.average.tensors().items()},
            **{f"best.{name}": value for name, value in self.best.items()},
            "costs": self._costs,
            "random_states": random_states,
        }

    def values(self) -> dict[str, Any]:
        """Everything that is not a tensor, as JSON knows it (no infinity: null)."""
        values = asdict(self.counters)
        return {
            name: None if isinstance(value, float) and not isfinite(value) else value
            for name, value in values.items()
        }

    def restore(
        self, tensors: Mapping[str, Tensor], values: Mapping[str, Any], *, process: int = 0
    ) -> None:
        """Put back what `tensors` and `values` gave, random state included.

        Args:
            tensors: By name.
            values: The counters.
            process: The number of this process; the first one goes on with the costs summed so far.
                Where the run had fewer processes, others keep the random state that they have.
        """
        self.model.load_state_dict(_part(tensors, "model."))
        restore_optimizer(self.optimizer, self.model, _part(tensors, "optimizer."))
        self.average.restore(_part(tensors, "average."))
        self.best = _part(tensors, "best.")
        if process == 0:
            self._costs = tensors["costs"].to(self.accelerator.device)
        if process < len(tensors["random_states"]):  # of a run of fewer processes there are fewer
            set_random_state(tensors["random_states"][process], self.accelerator.device)
        for known in fields(self.counters):
            if known.name in values:
                value = values[known.name]
                setattr(self.counters, known.name, inf if value is None else value)


def run_identity(kind: str, model: nn.Module, *others: object) -> str:
    """Name all that decides how a run goes: a checkpoint of another identity is not gone on from.

    Args:
        kind: A word for the kind of run.
        model: Before its first step: shape, dropout rates and initial weights count.
        others: What is learned from and validated on, settings, objective, ids and so on.
    """
    weights = {
        name: value.detach().cpu().float().numpy() for name, value in model.state_dict().items()
    }
    return fingerprint(kind, str(model), weights, *others)


def random_state(device: torch.device) -> Tensor:
    """The state of the generators that dropout draws from, as bytes: torch's own, then the
    accelerator's.
    """
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states)


def set_random_state(state: Tensor, device: torch.device) -> None:
    """Put back what `random_state` gave."""
    own = torch.get_rng_state().numel()
    torch.set_rng_state(state[:own].clone())
    if device.type == "cuda" and len(state) > own:  # a checkpoint of a CPU has none for it
        torch.cuda.set_rng_state(state[own:].clone(), device)


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: all of it, unless its rows are shared out."""
    found: Any = tensor
    return found.to_local() if hasattr(found, "to_local") else tensor


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
